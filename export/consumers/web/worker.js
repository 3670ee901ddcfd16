// The worker: decodes the picture, runs the network window by window; the page stays free. It answers one message after
// the other: { id, verb, given } with { id, result } or { id, error }.

import { Network, Refusal, line } from "./network.js";
import { FILL, bytes, enlarge } from "./pixels.js";

const BAND = 256; // rows that are looked at at once
const verbs = { load, open, window: windowed };
let network, picture, transparent;

self.addEventListener("message", async ({ data: { id, verb, given } }) => {
  try {
    const result = await verbs[verb](given);
    self.postMessage({ id, result }, result.pixels ? [result.pixels.buffer] : []);
  } catch (error) {
    const known = error instanceof Refusal;
    self.postMessage({ id, error: known ? error.message : `The network could not be run (${line(error)}).` });
  }
});

async function load({ runtime }) {
  if (!canvasIsTrue()) {
    throw new Refusal(
      "This browser alters the pixels that a page reads, against fingerprinting; allow this page to read its canvas.",
    );
  }
  network = await Network.open(runtime);
  const { model, scale, channels, halo, alignment, parameters } = network.manifest;
  return { model, scale, channels, halo, alignment, parameters, runtime: network.runtime };
}

/** Decodes a file; the browser turns it as its EXIF says, and its canvas is in sRGB. */
async function open({ file }) {
  picture?.close();
  picture = null;
  try {
    picture = await createImageBitmap(file);
  } catch {
    throw new Refusal(`${file.name} is no picture that this browser can open; use PNG, JPEG or WebP.`);
  }
  transparent = file.type !== "image/jpeg" && isTransparent();
  return { height: picture.height, width: picture.width, reach: transparent ? FILL : 0 };
}

/** Enlarges what is seen through a window, and returns the bytes of what is kept of it. */
async function windowed({ top, bottom, left, right, keep }) {
  const seen = pixels(left, top, right - left, bottom - top), { scale, channels } = network.manifest;
  const large = await enlarge(seen, { scale, channels, transparent }, (planes) =>
    network.run(planes, seen.height, seen.width));
  const part = {
    top: (keep.top - top) * scale, bottom: (keep.bottom - top) * scale,
    left: (keep.left - left) * scale, right: (keep.right - left) * scale,
  };
  return { pixels: bytes(large, seen.width * scale, part), runtime: network.runtime };
}

function pixels(left, top, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, -left, -top);
  return context.getImageData(0, 0, width, height);
}

function isTransparent() {
  for (let top = 0; top < picture.height; top += BAND) {
    const { data } = pixels(0, top, picture.width, Math.min(BAND, picture.height - top));
    for (let i = 3; i < data.length; i += 4) if (data[i] !== 255) return true;
  }
  return false;
}

function canvasIsTrue() {
  const context = new OffscreenCanvas(32, 32).getContext("2d", { willReadFrequently: true });
  const written = context.createImageData(32, 32);
  written.data.forEach((_, i) => { written.data[i] = i % 4 === 3 ? 255 : (i * 97) % 256; });
  context.putImageData(written, 0, 0);
  return context.getImageData(0, 0, 32, 32).data.every((value, i) => value === written.data[i]);
}
