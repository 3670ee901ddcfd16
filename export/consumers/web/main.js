// The page: takes a picture, sends it through the worker window by window, shows and offers the result.

import { Comparison } from "./compare.js";
import { Engine, Stopped } from "./engine.js";
import { windows } from "./plan.js";

const MOST_SIDE = 32767, MOST_PIXELS = 2 ** 28; // beyond either no browser's canvas goes
const runtime = new URLSearchParams(location.search).get("runtime") ?? "auto";
const find = (selector) => document.querySelector(selector);
const figure = find("figure"), canvas = find("canvas"), before = find(".before img"), download = find("#download");
const comparison = new Comparison(figure);
let engine, network, running = 0;

start();
find("#file").addEventListener("change", ({ target }) => {
  if (target.files.length) take(target.files[0]);
  target.value = ""; // so that the same file may be chosen again
});
document.addEventListener("paste", ({ clipboardData }) => {
  if (clipboardData.files.length) take(clipboardData.files[0]);
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
}
document.addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) take(file);
  else fail(new Error("What was dropped is no file; save the picture first, or copy and paste it."));
});
find("#cancel").addEventListener("click", () => {
  cancel();
  find("#file").focus({ preventScroll: true });
});

/** Starts a worker and lets it load the network. */
function start() {
  engine = new Engine();
  network = engine.call("load", { runtime });
  network.then(tell, (error) => {
    find("#loading")?.replaceChildren("not loaded");
    fail(error);
  });
}

function tell({ model, scale, parameters, runtime }) {
  const size = `${parameters.toLocaleString("en")} parameters`;
  const facts = { Network: `${model}, ${size}`, Scale: `${scale}×`, "Runs on": runtime };
  find("#facts").replaceChildren(...Object.entries(facts).map(([key, value]) => {
    const [line, term, description] = ["div", "dt", "dd"].map((name) => document.createElement(name));
    term.textContent = key;
    description.textContent = value;
    line.append(term, description);
    return line;
  }));
}

function cancel() {
  running += 1;
  engine.stop();
  figure.hidden = true;
  document.body.dataset.phase = "ready";
  start();
}

async function take(file) {
  if (document.body.dataset.phase === "working") cancel();
  const turn = ++running;
  find("#error").hidden = true;
  document.body.dataset.phase = "working";
  try {
    await upscale(file, () => turn === running);
  } catch (error) {
    if (turn !== running || error instanceof Stopped) return;
    figure.hidden = true;
    fail(error);
  }
}

function fail(error) {
  document.body.dataset.phase = "failed";
  find("#error").textContent = error.message;
  find("#error").hidden = false;
}

/** Enlarges the picture in `file` into the canvas; `current` says whether it is still wanted. */
async function upscale(file, current) {
  const facts = await network, { scale } = facts;
  const { height, width, reach } = await engine.call("open", { file });
  if (!current()) return;
  const plan = windows(height, width, { ...facts, halo: widened(facts, reach) });
  const context = cleared(height * scale, width * scale, file.name);
  show(file, height, width, scale);
  const begun = performance.now();
  for (const [k, window] of plan.entries()) {
    progress(k, plan.length, begun);
    const { pixels, runtime } = await engine.call("window", window);
    if (!current()) return;
    if (runtime !== facts.runtime) tell(Object.assign(facts, { runtime }));
    const { top, bottom, left, right } = window.keep;
    const size = [(right - left) * scale, (bottom - top) * scale];
    context.putImageData(new ImageData(pixels, ...size), left * scale, top * scale);
  }
  const seconds = (performance.now() - begun) / 1000;
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  if (!current()) return;
  if (!blob) throw tooLarge(file.name, height * scale, width * scale);
  offer(blob, file.name, scale, seconds);
}

// What looks further than the network: transparency by FILL, and the chroma beside luminance by 2 pixels.
function widened({ halo, channels }, reach) {
  return halo === null ? null : Math.max(halo, channels === 1 ? 2 : 0) + reach;
}

function cleared(height, width, name) {
  if (Math.max(height, width) > MOST_SIDE || height * width > MOST_PIXELS) throw tooLarge(name, height, width);
  Object.assign(canvas, { height, width });
  const context = canvas.getContext("2d", { willReadFrequently: true }); // which is what making the PNG does
  context.fillRect(width - 1, height - 1, 1, 1);
  let held = false;
  try {
    held = context.getImageData(width - 1, height - 1, 1, 1).data[3] === 255; // a canvas that is too large stays empty
  } catch { /* or throws */ }
  if (!held) throw tooLarge(name, height, width);
  context.clearRect(0, 0, width, height);
  return context;
}

function tooLarge(name, height, width) {
  Object.assign(canvas, { height: 0, width: 0 });
  const size = `${width}×${height}`, instead = "cut it, or use python -m sr_keras.upscale";
  return new Error(`${name} would become ${size}, more than this browser can hold; ${instead}.`);
}

function show(file, height, width, scale) {
  URL.revokeObjectURL(before.src);
  before.src = URL.createObjectURL(file);
  before.alt = `${file.name}, enlarged by the browser`;
  canvas.setAttribute("aria-label", `${file.name}, enlarged by the network`);
  find("#name").textContent = file.name;
  find("#sizes").textContent = `${width}×${height} → ${width * scale}×${height * scale}`;
  figure.hidden = false;
  comparison.start(width * scale, height * scale);
  figure.scrollIntoView();
}

function progress(done, total, begun) {
  find("progress").value = done / total;
  const seconds = ((performance.now() - begun) / 1000 / done) * (total - done);
  const left = seconds < 60 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
  find("#left").textContent = `Window ${done + 1} of ${total}${done && total > 2 ? `, ${left} left` : ""}`;
}

function offer(blob, name, scale, seconds) {
  URL.revokeObjectURL(download.href);
  download.href = URL.createObjectURL(blob);
  download.download = `${name.replace(/\.[^.]+$/, "")}_x${scale}.png`;
  const size = blob.size < 1e6 ? `${Math.ceil(blob.size / 1e3)} kB` : `${(blob.size / 1e6).toFixed(1)} MB`;
  find("#took").textContent = `${size}, made in ${seconds.toFixed(1)} s`;
  document.body.dataset.phase = "done";
  comparison.finish();
}
