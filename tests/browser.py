"""A real Chromium for tests: the DevTools protocol over its pipe (NUL-separated JSON), without a library."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 20  # seconds for one answer


class Browser:
    """A headless Chromium with a profile of its own in `folder`; to be used in `with`, or closed."""

    def __init__(self, folder: Path) -> None:
        if BINARY is None:
            raise FileNotFoundError("no chromium, chromium-browser or google-chrome on PATH")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4; ours must not lie there when they are copied.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out)]
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        arguments += ["--disable-extensions", "--disable-background-networking", "--remote-debugging-pipe"]
        nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        pipes = [(os.POSIX_SPAWN_DUP2, end, fd) for end, fd in zip(ends, (3, 4), strict=True)]
        self._pid = os.posix_spawn(
            BINARY,
            [BINARY, *arguments, f"--user-data-dir={folder}", "about:blank"],
            os.environ | {"HOME": str(folder)},
            file_actions=nowhere + pipes,
            setpgroup=0,
        )
        for end in (theirs_in, theirs_out, *ends):
            os.close(end)
        self._rest, self._number, self.events = b"", 0, []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict:
        """Sends a command and returns its result; what else arrives meanwhile is kept in `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while (answer := self._receive()).get("id") != self._number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _receive(self) -> dict:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium said nothing for {PATIENCE} seconds")
            if not (data := os.read(self._in, 1 << 20)):
                raise ConnectionError("Chromium ended")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, place: Path | str, **screen: Any) -> "Tab":
        """Opens a file or an address in a new tab and waits until it is loaded; `screen` goes to `Tab.resize`."""
        return Tab(self, place, **screen)

    def close(self) -> None:
        """Ends the browser and everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._in)
        os.close(self._out)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Tab:
    """One page in the browser, driven by real input events; places are in CSS pixels of the viewport."""

    def __init__(self, browser: Browser, place: Path | str, **screen: Any) -> None:
        self._browser = browser
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(**screen)
        self.call("Page.navigate", url=place if isinstance(place, str) else place.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events()):
            browser.events.append(browser._receive())
        self.settle()

    def call(self, method: str, **parameters: Any) -> dict:
        return self._browser.call(method, self.session, **parameters)

    def events(self) -> list[dict]:
        return [event for event in self._browser.events if event.get("sessionId") == self.session]

    def resize(self, width: int = 960, height: int = 900, *, ratio: float = 1, dark: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=ratio,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def settle(self) -> None:
        """Waits until two frames are drawn: observers have run by then."""
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", expression))
        return answer["result"].get("value")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Returns the left, top, width and height of an element in the viewport."""
        part = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        return tuple(self.evaluate(f"((b) => [b.left, b.top, b.width, b.height])({part})"))

    def centre(self, selector: str) -> tuple[float, float]:
        left, top, width, height = self.box(selector)
        return left + width / 2, top + height / 2

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        held = {} if kind == "mouseWheel" else {"button": "left", "buttons": 1, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held, **more)

    def drag(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        self.mouse("mousePressed", *start)
        self.mouse("mouseMoved", (start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2)
        self.mouse("mouseMoved", *stop)
        self.mouse("mouseReleased", *stop)

    def click(self, selector: str) -> None:
        place = self.centre(selector)
        self.mouse("mousePressed", *place)
        self.mouse("mouseReleased", *place)

    def swipe(self, start: tuple[float, float], stop: tuple[float, float], steps: int = 8) -> None:
        """Draws a finger over the screen."""
        for k in range(steps + 1):
            x, y = (a + (b - a) * k / max(steps, 1) for a, b in zip(start, stop, strict=True))
            self.call(
                "Input.dispatchTouchEvent", type="touchMove" if k else "touchStart", touchPoints=[{"x": x, "y": y}]
            )
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str, modifiers: int = 0) -> None:
        """Presses a key by its DOM name; modifiers: 1 Alt, 2 Ctrl, 4 Meta, 8 Shift."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, modifiers=modifiers, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, modifiers=modifiers)

    def screenshot(self, path: Path | None = None) -> np.ndarray:
        """Returns the viewport as uint8 `[H, W, 3]` RGB, and writes it as PNG to `path`."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png", optimizeForSpeed=True)["data"])
        if path is not None:
            path.write_bytes(data)
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]

    def complaints(self, own: tuple[str, ...] = ("file:", "data:")) -> list[str]:
        """Returns exceptions, errors and warnings of the page, and every request that left its `own` places."""
        found = []
        for event in self.events():
            method, given = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(str(given["exceptionDetails"]))
            elif method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
                found.append(given["entry"]["text"])
            elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
                found.append(str(given["args"]))
            elif method == "Network.requestWillBeSent" and not given["request"]["url"].startswith(own):
                found.append(f"asked for {given['request']['url']}")
        return found

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)
