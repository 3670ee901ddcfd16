"""The page of export/consumers/web in a real Chromium: its pictures are those of ONNX Runtime, and nothing leaves."""

import base64
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import CHECKOUT
from PIL import Image

from sr_keras import Upscaler, embedded, export, recipe
from sr_keras.exporters import onnx

WEB = CHECKOUT / "export" / "consumers" / "web"
SCALE, HALO = 2, 3
UNREACHED = re.compile(
    r"E(NOTFOUND|AI_AGAIN|TIMEDOUT|CONN\w+|NETUNREACH|HOSTUNREACH|403|407)|ERR_SOCKET_TIMEOUT|network"
)
BROKEN_GPU = """
export const env = { wasm: {} };
export class Tensor {}
export const InferenceSession = { create: async () => ({
  inputMetadata: [{ shape: ["N", "H", "W", 3] }], run: async () => { throw new Error("the device is lost"); },
}) };
"""


@pytest.fixture(scope="module")
def runtime():
    """ONNX Runtime Web's files, as `npm ci` and copy.js put them into ort/; installed once for each lock file."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node and npm on PATH")
    inputs = [WEB / name for name in ("package.json", "package-lock.json", "copy.js")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()[:16]
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sr_keras" / f"web-{digest}"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".web-") as name:
            for path in inputs:
                shutil.copy(path, name)
            command = ["npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=20000"]
            done = subprocess.run(command, cwd=name, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode and UNREACHED.search(done.stderr):
                pytest.skip(f"npm can't reach its registry: {done.stderr.strip().splitlines()[-1]}")
            assert done.returncode == 0, done.stderr
            Path(name, "ort").rename(kept)
    return kept


def network(channels):
    """Large weights and biases: a window that is cut too narrowly shows in every channel."""
    keras.utils.set_random_seed(5)
    lr = x = keras.Input((None, None, channels))
    for filters in (8, 8, channels * SCALE**2):
        x = keras.layers.Conv2D(filters, 3, padding="same", bias_initializer="random_normal", activation="tanh")(x)
    x = keras.ops.depth_to_space(0.3 * x, SCALE) + keras.layers.UpSampling2D(SCALE)(lr)
    return keras.Model(lr, x)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports a network of so many channels, as `python -m sr_keras.export` does; returns the folder."""
    plan = recipe.Recipe.model_validate({"artifacts": [{"name": "onnx", "tolerance": 1e-3}]})

    @functools.cache
    def exported(channels):
        folder = tmp_path_factory.mktemp("exported")
        network(channels).save(folder / "net.keras")
        export.export(folder / "net.keras", plan, folder / "model")
        assert json.loads((folder / "model" / "manifest.json").read_text())["halo"] == HALO
        return folder / "model"

    return exported


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder as `python -m http.server` does, and notes what is asked for."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
        self.asked = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, *_):
        """A tab that closes resets what it is still loading."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        self.server.asked.append(self.path)


class Visit:
    """A tab with the page, and the workers that it starts."""

    def __init__(self, browser, folder, query="", **screen):
        self.browser, self.server = browser, Server(folder)
        self.tab, self.workers, self.seen = browser.open("about:blank", **screen), [], len(browser.events)
        self.tab.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True)
        self.tab.call("Page.navigate", url=self.server.address + query)
        self.until("document.querySelector('#facts') && !document.querySelector('#loading')?.textContent.includes('…')")

    def until(self, expression):
        deadline = time.monotonic() + 30
        while not (value := self.tab.evaluate(expression)):
            self._greet()
            assert time.monotonic() < deadline, self.tab.evaluate("document.body.innerText")
            time.sleep(0.01)
        return value

    def _greet(self):
        """Lets workers go on that wait to be watched."""
        events, self.seen = self.browser.events[self.seen :], len(self.browser.events)
        for event in events:
            if event["method"] == "Target.attachedToTarget" and event.get("sessionId") == self.tab.session:
                session = event["params"]["sessionId"]
                self.workers.append(session)
                self.browser.call("Network.enable", session)
                self.browser.call("Runtime.runIfWaitingForDebugger", session)

    def choose(self, path):
        root = self.tab.call("DOM.getDocument")["root"]["nodeId"]
        node = self.tab.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        self.tab.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def drop(self, path, kind):
        data, name = json.dumps(base64.b64encode(path.read_bytes()).decode()), json.dumps(path.name)
        self.tab.evaluate(f"""{{
          const data = new DataTransfer(), bytes = Uint8Array.from(atob({data}), (c) => c.charCodeAt(0));
          data.items.add(new File([bytes], {name}, {{ type: {json.dumps(kind)} }}));
          document.body.dispatchEvent(new DragEvent("drop", {{ dataTransfer: data, bubbles: true, cancelable: true }}));
        }}""")

    def phase(self, wanted):
        self.until(f"document.body.dataset.phase === '{wanted}'")

    def error(self):
        self.phase("failed")
        return self.tab.evaluate("document.querySelector('[role=alert]').textContent")

    def facts(self):
        return self.tab.evaluate("document.querySelector('#facts').textContent")

    def download(self, folder):
        """Clicks the link, and returns the file that the browser has saved."""
        self.phase("done")
        self.tab.settle()
        self.browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        name = self.tab.evaluate("document.querySelector('#download').download")
        self.tab.click("#download")
        deadline = time.monotonic() + 20
        while not (folder / name).is_file():
            assert time.monotonic() < deadline, f"no {name} was downloaded"
            time.sleep(0.02)
        return folder / name

    def requests(self):
        sessions = {self.tab.session, *self.workers}
        sent = [e for e in self.browser.events if e["method"] == "Network.requestWillBeSent"]
        return [e["params"]["request"]["url"] for e in sent if e.get("sessionId") in sessions]

    def complaints(self):
        own = ("about:", "data:", "blob:", self.server.address)
        return [text for text in self.tab.complaints(own) if text != "No available adapters."]

    def close(self):
        self.tab.close()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def visit(browser, runtime, exported, tmp_path):
    """Opens the page with a network; afterwards asks whether it complained or any request left its server."""
    visits = []

    def visit(channels=3, query="", gpu=None, **screen):
        folder = tmp_path / f"site{len(visits)}"
        shutil.copytree(WEB, folder, ignore=shutil.ignore_patterns("node_modules", "ort", "model"))
        shutil.copytree(runtime, folder / "ort", copy_function=os.symlink)
        if gpu is not None:
            (folder / "ort" / "ort.webgpu.min.mjs").unlink()
            (folder / "ort" / "ort.webgpu.min.mjs").write_text(gpu)
        if channels:
            (folder / "model").symlink_to(exported(channels))
        visits.append(Visit(browser, folder, query, **screen))
        return visits[-1]

    yield visit
    for each in visits:
        assert all(url.startswith((each.server.address, "blob:", "data:")) for url in each.requests())
        each.close()


@pytest.fixture(scope="module")
def photo():
    return np.ascontiguousarray(embedded.photographs("valid").picture(0)[:300, :420])  # 2 windows by 2


def write(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def truth(folder, pixels):
    """What ONNX Runtime makes of the whole picture at once."""
    sr = onnx.load(folder / "model.onnx")(pixels[None].astype(np.float32) / np.float32(255))[0]
    return np.floor(255 * np.clip(sr, 0, 1) + 0.5).astype(np.uint8)


def assert_same(path, expected):
    found = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1
    assert np.mean(found == expected) > 0.999


def test_a_chosen_picture_becomes_what_onnx_runtime_makes_of_it_whole(visit, exported, photo, tmp_path):
    page = visit()
    page.choose(write(tmp_path / "my photo.png", photo))
    path = page.download(tmp_path)
    assert path.name == "my photo_x2.png"
    assert_same(path, truth(exported(3), photo))
    assert page.complaints() == []


def test_a_dropped_picture_is_turned_upright(visit, exported, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    page = visit()
    page.drop(write(tmp_path / "turned.png", photo, exif=exif), "image/png")
    assert_same(page.download(tmp_path), truth(exported(3), np.ascontiguousarray(np.rot90(photo, -1))))


def test_a_worker_does_it_and_no_request_can_leave(visit, photo, tmp_path):
    page, elsewhere = visit(), Server(tmp_path)
    page.choose(write(tmp_path / "photo.png", photo))
    page.phase("done")
    (worker,) = page.workers
    fetched = [e for e in page.browser.events if e.get("sessionId") == worker and e["method"].startswith("Network.")]
    assert any("model.onnx" in str(event) for event in fetched)
    attempt = f"fetch('{elsewhere.address}').then(() => 'sent', () => 'stopped')"
    for session in (page.tab.session, worker):
        answer = page.browser.call("Runtime.evaluate", session, expression=attempt, awaitPromise=True)
        assert answer["result"]["value"] == "stopped"
    assert elsewhere.asked == []
    elsewhere.shutdown()


def test_the_result_is_shown_pixel_for_pixel(visit, exported, photo, tmp_path):
    page = visit(width=1000, height=1000)
    page.choose(write(tmp_path / "photo.png", photo))
    page.phase("done")
    page.tab.click("[data-level='1']")
    page.tab.evaluate("document.querySelector('.line').focus({ preventScroll: true })")
    page.tab.press("Home")
    page.tab.settle()
    left, top, *_ = (int(number) for number in page.tab.box("canvas"))
    screen = page.tab.screenshot(tmp_path / "screen.png").astype(int)
    part = truth(exported(3), photo)[100:500, 100:700]  # without the label and the knob
    places = [np.s_[y + 100 : y + 500, x + 100 : x + 700] for y in (top, top + 1) for x in (left, left + 1)]
    assert min(np.abs(screen[place] - part).max() for place in places) <= 1


def test_a_network_on_luminance_gives_the_colours_of_upscale(visit, exported, photo, tmp_path):
    page = visit(channels=1)
    page.choose(write(tmp_path / "photo.png", photo))
    assert_same(page.download(tmp_path), Upscaler(exported(1) / "model.onnx")(photo).astype(int))


def test_transparent_pixels_leave_no_fringe(visit, exported, photo, tmp_path):
    y, x = np.indices(photo.shape[:2])
    alpha = np.clip(128 - 160 * (np.hypot(y - 150, x - 210) - 100), 0, 255).astype(np.uint8)
    given = np.dstack([photo, alpha])
    expected = Upscaler(exported(3) / "model.onnx", alpha="bicubic")(given).astype(float)
    page = visit()
    page.choose(write(tmp_path / "disc.png", given))
    found = np.asarray(Image.open(page.download(tmp_path))).astype(float)
    assert np.abs(found[..., 3] - expected[..., 3]).max() <= 1
    seen = [picture[..., :3] * picture[..., 3:] / 255 for picture in (found, expected)]
    assert np.abs(seen[0] - seen[1]).max() <= 4  # a canvas keeps colours multiplied by alpha, in 8 bits


def test_what_the_gpu_fails_at_webassembly_goes_on_with(visit, exported, photo, tmp_path):
    page = visit(query="?runtime=webgpu", gpu=BROKEN_GPU)
    assert "WebGPU" in page.facts()
    page.choose(write(tmp_path / "photo.png", photo))
    assert_same(page.download(tmp_path), truth(exported(3), photo))
    assert "WebAssembly, 1 thread" in page.facts()


def test_without_a_gpu_webassembly_runs(visit):
    assert "WebAssembly" in visit(query="?runtime=webgpu").facts()


def test_a_cancelled_picture_is_gone_and_the_next_one_comes(visit, exported, photo, tmp_path):
    page = visit()
    page.choose(write(tmp_path / "large.png", np.tile(photo, (5, 5, 1))))
    page.until("document.querySelector('progress').value > 0")
    page.tab.evaluate("document.querySelector('#cancel').click()")
    assert page.tab.evaluate("document.querySelector('figure').hidden")
    page.choose(write(tmp_path / "photo.png", photo))
    assert_same(page.download(tmp_path), truth(exported(3), photo))
    assert page.complaints() == []


def test_a_text_file_is_refused_in_one_line_and_the_next_picture_comes(visit, photo, tmp_path):
    page = visit()
    (tmp_path / "notes.txt").write_text("no picture")
    page.drop(tmp_path / "notes.txt", "text/plain")
    assert page.error() == "notes.txt is no picture that this browser can open; use PNG, JPEG or WebP."
    page.choose(write(tmp_path / "photo.png", photo[:20, :30]))
    page.phase("done")
    assert page.tab.evaluate("document.querySelector('[role=alert]').hidden")


def test_a_picture_that_no_canvas_holds_is_refused(visit, tmp_path):
    page = visit()
    page.choose(write(tmp_path / "strip.png", np.zeros((1, 17_000, 3), np.uint8)))
    assert re.match(r"strip\.png would become 34000×2, more than this browser can hold", page.error())


def test_a_missing_network_says_what_to_do(visit):
    assert visit(channels=None).error().startswith("model/manifest.json is missing: copy an export folder to model/")


def test_the_keyboard_moves_the_line(visit, photo, tmp_path):
    page = visit()
    page.choose(write(tmp_path / "photo.png", photo[:40, :60]))
    page.phase("done")
    page.tab.evaluate("document.querySelector('.line').focus()")
    seen = []
    for key in ("ArrowRight", "PageUp", "End", "Home"):
        page.tab.press(key)
        seen.append(page.tab.evaluate("document.querySelector('.line').ariaValueNow"))
    assert seen == ["52", "62", "100", "0"]


@pytest.mark.parametrize("size", [(300, 420), (20, 900)])
def test_a_phone_scrolls_downwards_only(visit, photo, size, tmp_path):
    page = visit(width=320, height=640, ratio=2)
    page.choose(write(tmp_path / f"{'a_name_without_a_space' * 4}.png", np.resize(photo, (*size, 3))))
    page.phase("done")
    assert page.tab.evaluate("document.documentElement.scrollWidth") == 320


def test_windows_are_aligned_cover_all_and_see_a_halo(visit):
    page = visit(channels=None)
    cases = [
        (n, halo, step) for n in (1, 2, 255, 256, 257, 300, 513, 600, 1031) for halo in (0, 3, 40) for step in (1, 2, 4)
    ]
    found = page.tab.evaluate(f"""import("./plan.js").then(({{ windows }}) => {json.dumps(cases)}.map(
      ([length, halo, alignment]) => windows(length, 1, {{ halo, alignment }})))""")
    for (length, halo, step), plan in zip(cases, found, strict=True):
        assert [each["keep"]["top"] for each in plan] == [0, *(each["keep"]["bottom"] for each in plan[:-1])]
        assert plan[-1]["keep"]["bottom"] == length
        for each in plan:
            assert each["top"] % step == (length - each["bottom"]) % step == 0
            assert each["top"] == 0 or each["keep"]["top"] - each["top"] >= halo
            assert each["bottom"] == length or each["bottom"] - each["keep"]["bottom"] >= halo
            assert 0 < each["bottom"] - each["top"] <= 256 + 2 * (halo + step)
