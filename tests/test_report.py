"""Report: the text of a page, how its file appears, and how a real Chromium shows and handles it."""

import base64
import errno
import io
import os
import re
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from sr_keras import image
from sr_keras.errors import InputError
from sr_keras.report import Comparison, Page

RED, BLUE = (220, 20, 30), (20, 40, 220)
EVIL = "<script>alert(1)</script>\"'&.png"


def flat(colour, height=300, width=400):
    return np.full((height, width, len(colour)), colour, np.uint8)


def comparison(name="photo.png", before=None, after=None, **more):
    before = flat(RED) if before is None else before
    after = flat(BLUE) if after is None else after
    return Comparison(name, before, after, "bicubic", "model", **more)


def write(path, *comparisons, title="Report", facts=(), rows=()):
    with Page(path, title, facts) as page:
        for each in comparisons:
            page.add(each)
        if rows:
            page.table(("file", "seconds", "status"), rows)
    return path.read_text(encoding="utf-8")


def pictures(text):
    found = re.findall(r'src="data:image/(\w+);base64,([^"]+)"', text)
    return [(kind, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))) for kind, data in found]


# The file


def test_text_is_escaped_everywhere(tmp_path):
    given = comparison(EVIL, facts=[(EVIL, EVIL)])
    evil = Comparison(EVIL, given.before, given.after, EVIL, EVIL, given.facts)
    with Page(tmp_path / "out.html", EVIL, [(EVIL, EVIL)]) as page:
        page.add(evil)
        page.table((EVIL, EVIL), [(EVIL, EVIL)])
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 1
    assert EVIL not in text and "alert(1)&lt;/script&gt;&quot;&#x27;&amp;" in text


def test_nothing_outside_the_file_is_named(tmp_path):
    text = write(tmp_path / "out.html", comparison(), rows=[("photo.png", "0.8", "done")])
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r'"data:image[^"]*"', "", text))
    assert all(source.startswith("data:") for source in re.findall(r'(?:src|href)="([^"]*)"', text))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_small_pictures_are_embedded_without_loss(channels, tmp_path):
    before, after = np.random.default_rng(0).integers(1, 256, (2, 33, 47, channels), np.uint8)
    for (_, shown), pixels in zip(
        pictures(write(tmp_path / "out.html", comparison(before=before, after=after))), (before, after), strict=True
    ):
        kept = shown[:, :, :1] if channels == 1 else shown
        np.testing.assert_array_equal(kept, pixels)


def test_large_photographs_keep_the_difference_that_is_shown(tmp_path):
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8))
    after = np.asarray(coarse.resize((800, 600), Image.Resampling.BICUBIC))
    before = np.asarray(coarse.resize((800, 600), Image.Resampling.BILINEAR))
    (kind, left), (_, right) = pictures(write(tmp_path / "out.html", comparison(before=before, after=after)))
    truth, shown = (a.astype(float) - b for a, b in ((after, before), (right, left)))
    assert kind == "jpeg"
    assert np.sqrt(np.mean((shown - truth) ** 2)) < 0.25 * np.sqrt(np.mean(truth**2))


def test_a_side_that_webp_cannot_hold_is_embedded(tmp_path):
    strip = flat(RED, 2, 17_000)
    text = write(tmp_path / "out.html", comparison(before=strip, after=strip))
    assert [(kind, shown.shape) for kind, shown in pictures(text)] == [("png", (2, 17_000, 3))] * 2


@pytest.mark.parametrize("after", [flat(BLUE, 300, 401), flat(BLUE).astype(np.float32), flat((1, 2))])
def test_pictures_that_cannot_be_compared_are_refused(after, tmp_path):
    with pytest.raises(ValueError, match="must be uint8"), Page(tmp_path / "out.html", "Report") as page:
        page.add(comparison(after=after))
    assert list(tmp_path.iterdir()) == []


def test_the_page_appears_on_a_clean_exit_only(tmp_path):
    with Page(tmp_path / "deep" / "out.html", "Report") as page:
        page.add(comparison())
        assert not (tmp_path / "deep" / "out.html").exists()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out.html"]


def test_an_exception_leaves_what_stood_there(tmp_path):
    (tmp_path / "out.html").write_text("earlier")
    with pytest.raises(KeyboardInterrupt), Page(tmp_path / "out.html", "Report") as page:
        page.add(comparison())
        raise KeyboardInterrupt
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]


@pytest.mark.parametrize("place", ["a_file/out.html", "a_folder"])
def test_a_place_that_cannot_be_written_is_one_line(place, tmp_path):
    (tmp_path / "a_file").write_text("")
    (tmp_path / "a_folder").mkdir()
    with pytest.raises(InputError, match=place) as caught, Page(tmp_path / place, "Report"):
        pass
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_file", "a_folder"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="out.html: can't be written .*; free some space"):
        write(tmp_path / "out.html", comparison())
    assert list(tmp_path.iterdir()) == []


def test_a_file_name_that_is_no_utf8_passes(tmp_path):
    assert r"caf\udce9.png" in write(tmp_path / "out.html", comparison(os.fsdecode(b"caf\xe9.png")))


def test_memory_does_not_grow_with_the_pictures(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    tracemalloc.start()
    with Page(tmp_path / "out.html", "Report") as page:
        page.add(comparison(before=noise, after=noise))
        tracemalloc.reset_peak()
        start = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            page.add(comparison(before=noise, after=noise))
        grown = tracemalloc.get_traced_memory()[0] - start
    tracemalloc.stop()
    assert (tmp_path / "out.html").stat().st_size > 5_000_000
    assert grown < 200_000


# In Chromium


@pytest.fixture
def show(browser, tmp_path):
    """Writes a page, opens it, and afterwards asks whether it complained or asked the network for anything."""
    tabs = []

    def show(*comparisons, rows=(), **screen):
        write(tmp_path / "out.html", *(comparisons or [comparison()]), rows=rows)
        tabs.append(browser.open(tmp_path / "out.html", **screen))
        return tabs[-1]

    yield show
    for tab in tabs:
        assert tab.complaints() == []
        tab.close()


def value(tab):
    return float(tab.evaluate("document.querySelector('.line').getAttribute('aria-valuenow')"))


def shares(tab):
    """Returns which part of the view's row, below the labels and off the knob, is red and which is blue."""
    left, top, width, height = (round(number) for number in tab.box(".view"))
    row = tab.screenshot()[top + height // 4, left : left + width].astype(int)
    return tuple(float(np.mean(np.abs(row - colour).sum(axis=1) < 30)) for colour in (RED, BLUE))


def along(tab, share, high=0.25):
    left, top, width, height = tab.box(".view")
    return left + share * width, top + high * height


def middle(tab, share=0.75, side=60):
    """Returns the pixels around a point at half height, by default the middle of the right half of the view."""
    x, y = (round(number) for number in along(tab, share, 0.5))
    return tab.screenshot()[y - side : y + side, x - side : x + side]


def test_the_page_starts_half_before_and_half_after(show):
    tab = show()
    assert value(tab) == 50
    assert shares(tab) == pytest.approx((0.5, 0.5), abs=0.02)


def test_the_mouse_drags_the_line(show):
    tab = show()
    tab.drag(tab.centre(".line"), along(tab, 0.8, 0.5))
    assert value(tab) == pytest.approx(80, abs=1)
    assert shares(tab) == pytest.approx((0.8, 0.2), abs=0.02)
    tab.drag(along(tab, 0.8), (2, 5))
    assert shares(tab)[1] > 0.95


def test_a_drag_that_starts_beside_the_line_takes_it_along(show):
    tab = show()
    tab.drag(along(tab, 0.1), along(tab, 0.3))
    assert value(tab) == pytest.approx(30, abs=1)


def test_the_line_follows_no_mouse_that_is_up(show):
    tab = show()
    tab.drag(along(tab, 0.5), along(tab, 0.6))
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=along(tab, 0.9)[0], y=along(tab, 0.9)[1])
    assert value(tab) == pytest.approx(60, abs=1)


def test_the_keyboard_moves_the_line(show):
    tab = show()
    tab.click(".view")
    seen = []
    for key in ("End", "Home", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "PageUp", "PageDown"):
        tab.press(key)
        seen.append(value(tab))
    assert seen == [100, 0, 0, 2, 4, 2, 12, 2]
    assert shares(tab)[1] > 0.9


def test_the_keyboard_reaches_the_line_and_its_focus_shows(show):
    tab = show()
    without = tab.screenshot()
    tab.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert tab.evaluate("document.activeElement.getAttribute('role')") == "slider"
    left, top, width, height = (round(number) for number in tab.box(".line i"))
    ring = np.s_[top - 4 : top + height + 4, left - 4 : left + width + 4]
    assert (tab.screenshot()[ring] != without[ring]).any(axis=2).sum() > 200


def test_a_finger_drags_the_line(show):
    tab = show(width=400, height=800, ratio=2)
    tab.swipe(along(tab, 0.5), along(tab, 0.2))
    assert value(tab) == pytest.approx(20, abs=1)


def test_a_tap_puts_the_line_there(show):
    tab = show(width=400, height=800, ratio=2)
    tab.swipe(along(tab, 0.9), along(tab, 0.9), steps=0)
    assert value(tab) == pytest.approx(90, abs=1)


def test_a_finger_that_scrolls_leaves_the_line(show):
    tab = show(*[comparison()] * 2, width=400, height=600, ratio=2)
    x, y = along(tab, 0.3, 0.5)
    tab.swipe((x, y), (x, y - 200), steps=20)
    tab.settle()
    assert tab.evaluate("scrollY") > 50
    assert value(tab) == 50


def test_zoom_shows_whole_pixels_and_goes_back(show):
    board = np.repeat(np.indices((300, 400)).sum(axis=0)[:, :, None] % 2 * 255, 3, axis=2).astype(np.uint8)
    tab = show(comparison(before=board, after=board))
    counts = []
    for level in (1, 4, 0):
        tab.click(f"[data-level='{level}']")
        area = middle(tab, 0.65)[:, :, 0].astype(int)
        assert set(np.unique(area)) == {0, 255}
        counts.append(int(np.mean(np.diff(area, axis=1) != 0) * 100 + 0.5))
    assert counts == [100, 25, 50]  # fit is 2x: 400 pixels in a window of 960


def test_the_mouse_pans_what_is_zoomed_and_leaves_the_line(show):
    ramp = np.repeat(np.linspace(0, 255, 400).astype(np.uint8)[None, :, None], 300, axis=0)
    tab = show(comparison(before=ramp, after=ramp))
    tab.click("[data-level='4']")
    earlier = middle(tab).mean()
    tab.drag(along(tab, 0.9, 0.8), along(tab, 0.7, 0.8))
    assert middle(tab).mean() - earlier == pytest.approx(0.2 * 800 / 1600 * 255, abs=2)
    assert value(tab) == 50
    tab.drag(along(tab, 0.5), along(tab, 0.3))
    assert value(tab) == pytest.approx(30, abs=1)
    for _ in range(3):
        tab.drag(along(tab, 0.1, 0.8), along(tab, 0.9, 0.8))
    assert middle(tab).mean() == pytest.approx(255 * 0.75 / 2, abs=2)  # the left edge stays at the view's edge


def test_a_finger_pans_what_is_zoomed_and_not_the_page(show):
    ramp = np.repeat(np.linspace(0, 255, 300).astype(np.uint8)[:, None, None], 400, axis=1)
    tab = show(*[comparison(before=ramp, after=ramp)] * 3, width=400, height=700)
    tab.click("[data-level='4']")
    earlier = middle(tab, side=20).mean()
    tab.swipe(along(tab, 0.8, 0.9), along(tab, 0.8, 0.2), steps=20)
    assert middle(tab, side=20).mean() > earlier + 10
    assert (value(tab), tab.evaluate("scrollY")) == (50, 0)


def test_the_wheel_zooms_around_the_pointer_with_ctrl_only(show):
    spot = flat(BLUE)
    spot[225:, 300:] = RED
    tab = show(comparison(after=spot))
    x, y = along(tab, 0.75, 0.75)
    tab.mouse("mouseWheel", x, y, deltaX=0, deltaY=-120, modifiers=2)
    assert tab.evaluate("document.querySelector('output').value") == "400 %"
    around = tab.screenshot()[round(y) - 20 : round(y) + 20, round(x) - 20 : round(x) + 20].astype(int)
    assert np.abs(around[-5, -5] - RED).sum() < 30 and np.abs(around[5, 5] - BLUE).sum() < 30
    tab.mouse("mouseWheel", x, y, deltaX=0, deltaY=120, modifiers=2)
    tab.mouse("mouseWheel", x, y, deltaX=0, deltaY=120)
    tab.settle()
    assert tab.evaluate("document.querySelector('output').value") == "200 %"


def test_the_keyboard_zooms_and_pans(show):
    ramp = np.repeat(np.linspace(0, 255, 400).astype(np.uint8)[None, :, None], 300, axis=0)
    tab = show(comparison(before=ramp, after=ramp))
    tab.evaluate("document.querySelector('.line').focus()")
    tab.press("+")
    earlier = middle(tab).mean()
    tab.press("ArrowRight", modifiers=8)
    assert middle(tab).mean() > earlier + 5
    assert value(tab) == 50
    tab.press("-")
    assert tab.evaluate("document.querySelector('output').value") == "200 %"


def test_both_sides_cover_each_other_where_they_are_transparent(show):
    clear = flat((0, 0, 0, 0))
    tab = show(comparison(before=flat((*RED, 255)), after=clear))
    assert shares(tab) == pytest.approx((0.5, 0), abs=0.02)
    assert len(np.unique(middle(tab).reshape(-1, 3), axis=0)) == 2  # the checkerboard


def test_a_side_that_is_not_shown_has_no_label(show):
    tab = show()
    tab.click("[data-level='1']")  # so that the labels lie beside the picture
    left, top, width, height = (round(number) for number in tab.box(".before span"))
    label = np.s_[top : top + height, left : left + width]
    assert len(np.unique(tab.screenshot()[label])) > 5
    tab.drag(tab.centre(".line"), (2, 5))
    tab.drag(along(tab, 0.5), along(tab, 0))
    assert len(np.unique(tab.screenshot()[label].reshape(-1, 3), axis=0)) == 1


def test_dark_and_light_follow_the_system(show):
    tab = show(dark=True)
    assert tab.screenshot()[5, 5].max() < 60
    tab.resize(dark=False)
    assert tab.screenshot()[5, 5].min() > 200


@pytest.mark.parametrize(("width", "height"), [(1600, 900), (90, 1400), (1400, 40)])
def test_a_narrow_window_scrolls_downwards_only(width, height, show):
    long = "a_name_without_a_space" * 8 + ".png"
    given = comparison(long, flat(RED, height, width), flat(BLUE, height, width), facts=[("shown", long)])
    tab = show(given, rows=[(long, "0.8", long)], width=360, height=640, ratio=2)
    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    wider = "[...document.querySelectorAll('main *')].filter((part) => part.scrollWidth > part.clientWidth + 1)"
    block = "!part.closest('.view') && getComputedStyle(part).display !== 'inline'"
    assert tab.evaluate(f"{wider}.filter((part) => {block}).map((part) => part.outerHTML.slice(0, 80))") == []


def test_the_table_stands_on_top_and_leads_to_the_pictures(show):
    names = ["a.png", EVIL, "c.png"]
    tab = show(*map(comparison, names), rows=[(name, "0.8", "done") for name in names])
    assert tab.box(".table")[1] < tab.box("figure")[1]
    tab.click("tr:nth-child(2) a")
    tab.settle()
    assert tab.evaluate("document.querySelector(':target h2').textContent") == EVIL
    assert 0 <= tab.box(":target")[1] < 200


def test_markup_in_a_name_does_nothing(show):
    name = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>.png"
    tab = show(comparison(name), rows=[(name, "1", name)])
    assert tab.evaluate("document.title") == "Report"
    assert tab.evaluate("document.querySelector('h2').textContent") == name


def test_a_real_photograph_is_shown_pixel_for_pixel(show, data_root):
    photo = image.read(data_root / "eval" / "Set5" / "HR" / "butterfly.png")
    tab = show(comparison(before=photo, after=photo), width=961)  # an odd width: the view lies at half a pixel
    tab.click("[data-level='1']")
    left, top, width, height = tab.box(".after img")
    right, bottom = int(left + width), int(top + height)
    screen = tab.screenshot()
    corner = photo[-60:, -90:]  # without the line, the knob and the labels
    assert (height, width) == photo.shape[:2]
    assert any(
        np.array_equal(screen[y - 60 : y, x - 90 : x], corner) for y in (bottom, bottom + 1) for x in (right, right + 1)
    )
