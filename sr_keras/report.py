"""Every HTML page that we write: one file without network or neighbours, with a before/after slider per picture."""

import base64
import contextlib
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from PIL import Image

from sr_keras.errors import InputError
from sr_keras.files import PARTIAL, writing

# Lossy WebP halves the chroma's resolution: at quality 92 its error is 2.5 to 8.9 levels RMS on four photographs of
# CID22, where bicubic and the original differ by 5.5 to 14.9. JPEG at full chroma errs by 1.4 to 3.0, lossless by none.
_LOSSLESS_PIXELS = 512 * 512
_JPEG_QUALITY = 95
_WEBP_SIDE = 16_383  # the format holds no longer one


@dataclass(frozen=True)
class Comparison:
    """One slider: two uint8 pictures `[H, W, 1, 3 or 4]` of one shape, and what is written around them."""

    name: str
    before: np.ndarray
    after: np.ndarray
    before_label: str
    after_label: str
    facts: Sequence[tuple[str, str]] = ()


class Page:
    """A page that grows on disk beside its target as pictures come, so that a thousand need no more memory than one.

    To be used in `with`: the target appears on a clean exit, and on an exception nothing is left. Raises `InputError`
    on a full disk or a place that can't be written; what stood at the target stays.
    """

    def __init__(self, path: Path, title: str, facts: Sequence[tuple[str, str]] = ()) -> None:
        self._path = path
        self._beside = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
        self._opening = _opening(title, facts)
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        if self._path.is_dir():
            raise InputError(f"{self._path}: is a folder; give the page a file name, such as {self._path}/report.html.")
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._beside, "wb")
        try:
            self._write(self._opening)
        except BaseException:
            self._discard()
            raise
        return self

    def add(self, comparison: Comparison) -> None:
        """Appends a slider, below the earlier ones. Raises `ValueError` for pictures that can't be compared."""
        self._write(_figure(comparison))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Appends a table, shown above the pictures whenever it comes; a name in its first column leads to its slider.

        Columns whose cells all begin with a digit (or are "" or "-") are aligned to the right.
        """
        self._write(_table(header, rows))

    def part(self, title: str, text: str, header: Sequence[str] = (), rows: Sequence[Sequence[str]] = ()) -> None:
        """Appends a heading, a paragraph and a table, above the pictures too; without `rows` there is no table."""
        table = _table(header, rows, label=title) if rows else ""
        self._write(f'<section class="part"><h2>{escape(title)}</h2><p>{escape(text)}</p>{table}</section>\n')

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write(f"</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n")
                with writing(self._path):
                    self._file.flush()
                    os.fsync(self._file.fileno())
                    self._file.close()
                    os.replace(self._beside, self._path)
        finally:
            self._discard()

    def _write(self, text: str) -> None:
        with writing(self._path):  # a file name that is no UTF-8 holds lone surrogates
            self._file.write(text.encode("utf-8", "backslashreplace"))

    def _discard(self) -> None:
        with contextlib.suppress(OSError):  # closing flushes, which fails again on the full disk that was told
            self._file.close()
        self._beside.unlink(missing_ok=True)


def _opening(title: str, facts: Sequence[tuple[str, str]]) -> str:
    script = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
script-src 'sha256-{script}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<header><h1>{escape(title)}</h1>{_facts(facts)}</header>
<p class="hint">Drag the line, or focus it and press the arrow keys. Zoom with the buttons, Ctrl + wheel or + and −, \
then drag the picture to pan (Shift + arrows); at 1× a picture pixel is a screen pixel.</p>
"""


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in facts)
    return f"<dl>{items}</dl>" if items else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], label: str = "Summary") -> str:
    def number(cell: str) -> bool:
        return cell[:1].isdigit() or cell in ("", "-")

    aligned = [' class="number"' if all(number(row[k]) for row in rows) else "" for k in range(len(header))]

    head = "".join(f"<th{how}>{escape(name)}</th>" for name, how in zip(header, aligned, strict=True))
    body = []
    for row in rows:
        cells = zip(header, aligned, row, strict=True)
        line = "".join(f'<td{how} data-column="{escape(name)}">{escape(cell)}</td>' for name, how, cell in cells)
        body.append(f"<tr>{line}</tr>\n")
    return (
        f'<section class="table" tabindex="0" role="region" aria-label="{escape(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{''.join(body)}</tbody></table></section>\n"
    )


def _figure(comparison: Comparison) -> str:
    before, after = comparison.before, comparison.after
    for pixels in (before, after):
        fits = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4) and pixels.size > 0
        if not fits or pixels.shape != before.shape:
            came = " and ".join(f"{p.dtype} {list(p.shape)}" for p in (before, after))
            raise ValueError(f"both pictures must be uint8 [H, W, 1, 3 or 4] of one shape, got {came}.")
    height, width = before.shape[:2]
    name, left, right = escape(comparison.name), escape(comparison.before_label), escape(comparison.after_label)
    buttons = "".join(
        f'<button type="button" data-level="{level}" aria-pressed="{str(level == 0).lower()}">{text}</button>'
        for level, text in ((0, "Fit"), (1, "1×"), (2, "2×"), (4, "4×"))
    )
    return f"""<figure>
<figcaption><h2>{name}</h2></figcaption>
<div class="view" data-width="{width}" data-height="{height}" style="--width:{width};--height:{height}">
<div class="side before"><img draggable="false" alt="{name}, {left}" src="{_data(before)}"><span>{left}</span></div>
<div class="side after"><img draggable="false" alt="{name}, {right}" src="{_data(after)}"><span>{right}</span></div>
<div class="line" role="slider" tabindex="0" aria-label="{name}: {left} to the left, {right} to the right" \
aria-valuemin="0" aria-valuemax="100" aria-valuenow="50"><i></i></div>
</div>
<div class="foot">{_facts(comparison.facts)}<div class="zoom" role="group" aria-label="Zoom"><output></output>\
<div>{buttons}</div></div></div>
</figure>
"""


def _data(pixels: np.ndarray) -> str:
    height, width, channels = pixels.shape
    picture = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if channels == 1 else pixels))
    stream = io.BytesIO()
    if max(height, width) > _WEBP_SIDE:
        kind = "png"
        picture.save(stream, "PNG", compress_level=4)
    elif channels == 4 or height * width <= _LOSSLESS_PIXELS:
        kind = "webp"
        picture.save(stream, "WEBP", lossless=True, quality=20, method=1)
    else:
        kind = "jpeg"
        picture.save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


_STYLE = """
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --ink: #1c2128; --soft: #5c6570; --edge: #dfe3e8;
  --chip: #f0f2f5; --accent: #1660cf; --check: #d5d9de; --ground: #fff;
  --pressed: #fff; }
@media (prefers-color-scheme: dark) { :root { --page: #111418; --card: #1a1f25; --ink: #e6e9ed; --soft: #9aa4b0;
  --edge: #2c333c; --chip: #252c34; --accent: #7db4ff; --check: #30363d; --ground: #22272d;
  --pressed: #3d4752; } }
* { box-sizing: border-box; margin: 0; }
body { background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { display: flex; flex-direction: column; gap: 24px; max-width: 1240px; margin: auto;
  padding: clamp(16px, 4vw, 48px) clamp(12px, 3vw, 32px); }
main > * { min-width: 0; }
header { order: -2; display: grid; gap: 14px; }
h1, h2 { line-height: 1.25; overflow-wrap: anywhere; letter-spacing: -.01em; }
h1 { font-size: clamp(1.5rem, 4vw, 2rem); font-weight: 650; }
h2 { font-size: 1.05rem; font-weight: 600; }
dl { display: flex; flex-wrap: wrap; gap: 6px; font-size: .85rem; }
dl div { display: flex; gap: .5em; min-width: 0; padding: 3px 10px; border-radius: 8px; background: var(--chip); }
header dl div { background: var(--card); box-shadow: inset 0 0 0 1px var(--edge); }
dt { color: var(--soft); }
dd { overflow-wrap: anywhere; min-width: 0; font-variant-numeric: tabular-nums; }
.hint { color: var(--soft); font-size: .875rem; max-width: 104ch; }
.hint:not(:has(~ figure)) { display: none; }
.part { order: -1; display: grid; gap: 10px; }
.part > * { min-width: 0; }
.part p { color: var(--soft); max-width: 104ch; }
.part .table { order: 0; }
.part td { white-space: normal; }
.part td:first-child { min-width: 27ch; }
.table { order: -1; overflow: auto; max-height: 60vh; }
.table, figure { background: var(--card); border-radius: 14px; box-shadow: 0 0 0 1px var(--edge), 0 2px 8px #0000000a; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 9px 16px; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--edge); }
tr:last-child td { border-bottom: 0; }
th { position: sticky; top: 0; background: var(--card); box-shadow: inset 0 -1px var(--edge); border: 0;
  color: var(--soft); font-weight: 500; }
td:first-child { min-width: 16ch; white-space: normal; overflow-wrap: anywhere; }
.number { text-align: right; }
@media (max-width: 640px) {
  thead { display: none; }
  tr { display: flex; flex-wrap: wrap; gap: 2px 14px; padding: 10px 14px; }
  tr:not(:last-child) { border-bottom: 1px solid var(--edge); }
  td { padding: 0; border: 0; white-space: normal; overflow-wrap: anywhere; }
  td:first-child { flex-basis: 100%; font-size: 1rem; }
  td:not(:first-child)::before { content: attr(data-column) " "; color: var(--soft); }
}
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
figure { display: grid; gap: 12px; padding: clamp(12px, 2vw, 20px); scroll-margin-top: 16px;
  content-visibility: auto; contain-intrinsic-size: auto 720px; }
figure > * { min-width: 0; }
.view { position: relative; overflow: hidden; justify-self: center; touch-action: pan-y pinch-zoom; cursor: ew-resize;
  user-select: none; -webkit-user-select: none; border-radius: 8px; background: var(--chip); --split: 50%;
  width: min(100%, var(--width) * 1px, 80vh * var(--width) / var(--height));
  aspect-ratio: var(--width) / var(--height); }
.view.pans { touch-action: pinch-zoom; cursor: grab; }
.side { position: absolute; inset: 0; }
.before { clip-path: inset(0 calc(100% - var(--split)) 0 0); }
.after { clip-path: inset(0 0 0 var(--split)); }
.side img { position: absolute; width: var(--w, 100%); height: var(--h, 100%); max-width: none; transform-origin: 0 0;
  transform: translate(var(--x, 0), var(--y, 0)) scale(var(--scale, 1)); image-rendering: var(--rendering, auto);
  background: repeating-conic-gradient(var(--check) 0 25%, var(--ground) 0 50%) 0 0 /
    calc(20px / var(--scale, 1)) calc(20px / var(--scale, 1)); }
.side span { position: absolute; top: 10px; left: 10px; max-width: calc(50% - 34px); padding: 2px 10px;
  border-radius: 99px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; pointer-events: none;
  background: #000000a6; color: #fff; font-size: .8rem; }
.after span { left: auto; right: 10px; }
.line { position: absolute; top: 0; bottom: 0; left: var(--split); width: 44px; margin-left: -22px; outline: 0;
  cursor: ew-resize; }
.line::before { content: ""; position: absolute; inset: 0 21px; background: #fff; box-shadow: 0 0 3px #000000b3; }
.line i { position: absolute; top: 50%; left: 2px; width: 40px; height: 40px; margin-top: -20px; border-radius: 50%;
  background: #fff; box-shadow: 0 1px 6px #00000080; }
.line i::before, .line i::after { content: ""; position: absolute; top: 15px; left: 11px; width: 10px; height: 10px;
  border: solid #3b424b; border-width: 0 0 2px 2px; transform: rotate(45deg) scale(.8); }
.line i::after { left: 19px; transform: rotate(225deg) scale(.8); }
.line:focus-visible i { outline: 3px solid #1660cf; outline-offset: 0; box-shadow: 0 0 0 6px #fff; }
.foot { display: flex; flex-wrap: wrap; gap: 10px 16px; align-items: center; justify-content: space-between; }
.zoom { display: flex; gap: 12px; align-items: center; margin-left: auto; }
output { color: var(--soft); font-size: .85rem; font-variant-numeric: tabular-nums; }
.zoom div { display: flex; padding: 3px; border-radius: 10px; background: var(--chip); }
button { min-width: 44px; height: 34px; border: 0; border-radius: 8px; background: none; color: var(--soft);
  font: inherit; font-size: .875rem; cursor: pointer; }
button:hover { color: var(--ink); }
button[aria-pressed=true] { background: var(--pressed); color: var(--ink); box-shadow: 0 1px 3px #00000033; }
:is(a, button, .table):focus-visible { outline: 3px solid var(--accent); outline-offset: -2px; }
"""

# Lengths are CSS pixels; `fit` and `level` are screen pixels per picture pixel, `cx` and `cy` the point of the picture
# (0 to 1) in the middle of the view.
_SCRIPT = """
"use strict";
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function compare(figure) {
  const view = figure.querySelector(".view"), line = figure.querySelector(".line");
  const output = figure.querySelector("output"), buttons = figure.querySelectorAll("button");
  const [before, after] = [...figure.querySelectorAll(".side span")].map((label) => label.textContent);
  const width = +view.dataset.width, height = +view.dataset.height;
  let level = 0, fit = 1, split = 50, cx = 0.5, cy = 0.5, drag = null, wheel = 0;
  const scale = () => (level || fit) / devicePixelRatio;

  function layout() {
    const room = figure.querySelector("figcaption").clientWidth;
    fit = Math.min(room / width, Math.max(innerHeight * 0.8, 240) / height) * devicePixelRatio;
    if (fit > 1) fit = Math.min(Math.floor(fit), 8);
    view.style.width = Math.min(room, Math.max(width * fit / devicePixelRatio, 200)) + "px";
    view.style.height = Math.max(height * fit / devicePixelRatio, 100) + "px";
    draw();
  }

  function draw() {
    const w = width * scale(), h = height * scale(), wide = view.clientWidth, high = view.clientHeight;
    const within = (centre, share) => clamp(centre, Math.min(0.5, share / 2), Math.max(0.5, 1 - share / 2));
    // A transform begins on a whole screen pixel and keeps 256/3; left and width are cut to 1/64 and resample at 1x.
    const whole = (value) => Math.round(value * devicePixelRatio) / devicePixelRatio + "px";
    cx = within(cx, wide / w);
    cy = within(cy, high / h);
    const style = {
      x: whole(wide / 2 - cx * w), y: whole(high / 2 - cy * h), scale: scale(), w: width + "px", h: height + "px",
      split: split + "%", rendering: (level || fit) < 1 ? "auto" : "pixelated",
    };
    for (const name in style) view.style.setProperty("--" + name, style[name]);
    view.classList.toggle("pans", w > wide + 1 || h > high + 1);
    const shown = Math.round(split);
    line.setAttribute("aria-valuenow", shown);
    line.setAttribute("aria-valuetext", `${shown} % ${before}, ${100 - shown} % ${after}`);
    output.value = Math.round((level || fit) * 100) + " %";
    for (const button of buttons) button.setAttribute("aria-pressed", +button.dataset.level === level);
  }

  function zoom(next, x = view.clientWidth / 2, y = view.clientHeight / 2) {
    const earlier = 1 / scale();
    level = next;
    cx += (x - view.clientWidth / 2) * (earlier - 1 / scale()) / width;
    cy += (y - view.clientHeight / 2) * (earlier - 1 / scale()) / height;
    draw();
  }

  function step(way, x, y) {
    const further = [fit, 1, 2, 4].filter((value) => way * (value - (level || fit)) > 0.01);
    if (further.length) zoom(((value) => value === fit ? 0 : value)(Math[way > 0 ? "min" : "max"](...further)), x, y);
  }

  function move(to) {
    split = clamp(to, 0, 100);
    draw();
  }

  function pan(x, y) {
    cx -= x / (width * scale());
    cy -= y / (height * scale());
    draw();
  }

  const place = (event) => event.clientX - view.getBoundingClientRect().left;
  const slide = (event) => move((place(event) - drag.grab) / view.clientWidth * 100);

  view.addEventListener("pointerdown", (event) => {
    if (event.button || !event.isPrimary) return;
    const held = line.contains(event.target);
    drag = {
      pans: !held && view.classList.contains("pans"), x: event.clientX, y: event.clientY,
      grab: held ? place(event) - split / 100 * view.clientWidth : 0,
      slides: event.pointerType === "mouse",  // a finger may be about to scroll the page
    };
    view.setPointerCapture(event.pointerId);
    if (!drag.pans && drag.slides) slide(event);
  });
  view.addEventListener("mousedown", (event) => {
    event.preventDefault();
    line.focus({ preventScroll: true });
  });
  view.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const x = event.clientX - drag.x, y = event.clientY - drag.y;
    if (!drag.pans) {
      drag.slides ||= Math.abs(x) > Math.max(Math.abs(y), 3);
      if (drag.slides) slide(event);
      return;
    }
    pan(x, y);
    [drag.x, drag.y] = [event.clientX, event.clientY];
  });
  view.addEventListener("pointerup", (event) => {
    if (drag && !drag.pans) slide(event);
    drag = null;
  });
  view.addEventListener("pointercancel", () => { drag = null; });
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    wheel += event.deltaY;  // a pinch on a touchpad is a hundred small turns
    if (Math.abs(wheel) < 50) return;
    step(-Math.sign(wheel), place(event), event.clientY - view.getBoundingClientRect().top);
    wheel = 0;
  }, { passive: false });
  line.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const by = { PageDown: -10, PageUp: 10, Home: -100, End: 100 }[event.key];
    if (arrow && event.shiftKey) pan(arrow[0] * -view.clientWidth / 8, arrow[1] * -view.clientHeight / 8);
    else if (arrow) move(split + 2 * (arrow[0] - arrow[1]));
    else if (by) move(split + by);
    else if ("+=".includes(event.key)) step(1);
    else if (event.key === "-") step(-1);
    else if (event.key === "0") zoom(0);
    else return;
    event.preventDefault();
  });
  for (const button of buttons) button.addEventListener("click", () => zoom(+button.dataset.level));
  new ResizeObserver(layout).observe(figure.querySelector("figcaption"));
}

const places = new Map();
for (const [index, figure] of document.querySelectorAll("figure").entries()) {
  figure.id = "picture-" + (index + 1);
  const name = figure.querySelector("h2").textContent;
  places.set(name, [...(places.get(name) || []), figure.id]);
  compare(figure);
}
for (const cell of document.querySelectorAll("td:first-child")) {
  const id = (places.get(cell.textContent) || []).shift();
  if (!id) continue;
  const link = document.createElement("a");
  link.href = "#" + id;
  link.append(...cell.childNodes);
  cell.append(link);
}
"""
