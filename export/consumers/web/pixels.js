// Between a canvas' RGBA bytes and the network's float32 planes: [0, 1], RGB or luminance, and transparency apart.
// The rules are sr_keras' own: image.py (rounding, YCbCr), resize.py (bicubic), windows.py (transparency).

export const FILL = 8; // LR pixels over which colours are carried into what is transparent
const FAINT = 8; // levels of alpha below which a pixel's own colour counts less and less

// ITU-R BT.601, studio range, for RGB in [0, 1], and its inverse.
const OFFSET = [16 / 255, 128 / 255, 128 / 255];
const YCBCR = [[65.481, 128.553, 24.966], [-37.797, -74.203, 112], [112, -93.786, -18.214]].map((row) =>
  row.map((value) => value / 255));
const RGB = inverse(YCBCR);

/**
 * Enlarges a window: `rgba` are the bytes of `height` by `width` pixels, `run(planes, channels)` the network on
 * interleaved float32. Returns float planes of the enlarged window: `colour` interleaved RGB, and `alpha` or null.
 */
export async function enlarge({ data: rgba, height, width }, { scale, channels, transparent }, run) {
  const count = height * width;
  let colour = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) for (let c = 0; c < 3; c++) colour[3 * i + c] = rgba[4 * i + c] / 255;
  let alpha = null;
  if (transparent) {
    const plane = Float32Array.from({ length: count }, (_, i) => rgba[4 * i + 3] / 255);
    colour = filled(colour, plane, height, width);
    alpha = bicubic(plane, height, width, scale);
  }
  return { colour: await (channels === 3 ? run(colour) : onLuminance(colour, height, width, scale, run)), alpha };
}

/** Returns the RGBA bytes of the part `{ top, bottom, left, right }` of an enlarged window, rounded half up. */
export function bytes({ colour, alpha }, width, { top, bottom, left, right }) {
  const out = new Uint8ClampedArray(4 * (bottom - top) * (right - left));
  let at = 0;
  for (let y = top; y < bottom; y++) {
    for (let i = y * width + left; i < y * width + right; i++) {
      for (let c = 0; c < 3; c++) out[at++] = level(colour[3 * i + c]);
      out[at++] = alpha ? level(alpha[i]) : 255;
    }
  }
  return out;
}

// A clamped array clips by itself, but rounds halves to even.
function level(value) {
  return Math.floor(255 * value + 0.5);
}

async function onLuminance(rgb, height, width, scale, run) {
  const count = height * width;
  const [luma, blue, red] = YCBCR.map((row, k) =>
    Float32Array.from({ length: count }, (_, i) =>
      row[0] * rgb[3 * i] + row[1] * rgb[3 * i + 1] + row[2] * rgb[3 * i + 2] + OFFSET[k]));
  const large = [await run(luma), bicubic(blue, height, width, scale), bicubic(red, height, width, scale)];
  const out = new Float32Array(3 * count * scale ** 2);
  for (let i = 0; i < count * scale ** 2; i++) {
    const [y, cb, cr] = large.map((plane, k) => plane[i] - OFFSET[k]);
    for (let c = 0; c < 3; c++) out[3 * i + c] = RGB[c][0] * y + RGB[c][1] * cb + RGB[c][2] * cr;
  }
  return out;
}

/** Enlarges one plane by Keys' cubic kernel with a = -0.5, the border clamped; values may leave [0, 1]. */
export function bicubic(plane, height, width, scale) {
  const across = taps(width, scale), down = taps(height, scale);
  const wide = new Float32Array(height * width * scale);
  for (let y = 0; y < height; y++) {
    across.forEach((tap, x) => {
      wide[y * width * scale + x] = tap.reduce((sum, [from, weight]) => sum + weight * plane[y * width + from], 0);
    });
  }
  const out = new Float32Array(height * width * scale ** 2), row = width * scale;
  down.forEach((tap, y) => {
    for (const [from, weight] of tap) for (let x = 0; x < row; x++) out[y * row + x] += weight * wide[from * row + x];
  });
  return out;
}

function taps(length, scale) {
  return Array.from({ length: length * scale }, (_, place) => {
    const centre = (place + 0.5) / scale - 0.5, first = Math.floor(centre) - 1;
    return [0, 1, 2, 3].map((k) => [clamp(first + k, 0, length - 1), cubic(Math.abs(centre - first - k))]);
  });
}

function cubic(x) {
  return x <= 1 ? (1.5 * x - 2.5) * x * x + 1 : ((-0.5 * x + 2.5) * x - 4) * x + 2;
}

// Colours that nobody sees are replaced by those beside them: else the network would sharpen the edge between a logo
// and the black that a canvas holds where it is transparent.
function filled(colour, alpha, height, width) {
  if (alpha.every((value) => value === 1)) return colour;
  const weight = blurred(alpha, height, width), out = new Float32Array(colour.length);
  for (let c = 0; c < 3; c++) {
    const near = blurred(alpha.map((value, i) => value * colour[3 * i + c]), height, width);
    for (let i = 0; i < alpha.length; i++) {
      const own = colour[3 * i + c], trust = Math.min((alpha[i] * 255) / FAINT, 1);
      out[3 * i + c] = clamp(trust * own + (1 - trust) * (weight[i] > 1e-6 ? near[i] / weight[i] : own), 0, 1);
    }
  }
  return out;
}

// A Gaussian of 2.5 pixels, cut off at FILL; beyond the border is nothing.
function blurred(plane, height, width) {
  const kernel = Array.from({ length: FILL + 1 }, (_, k) => Math.exp(-0.5 * (k / 2.5) ** 2));
  const along = (from, step, length, places) => {
    const out = new Float32Array(from.length);
    for (let i = 0; i < from.length; i++) {
      const place = places(i), last = Math.min(place + FILL, length - 1);
      for (let j = Math.max(place - FILL, 0); j <= last; j++) {
        out[i] += kernel[Math.abs(j - place)] * from[i + (j - place) * step];
      }
    }
    return out;
  };
  return along(along(plane, 1, width, (i) => i % width), width, height, (i) => Math.floor(i / width));
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

function inverse([[a, b, c], [d, e, f], [g, h, i]]) {
  const cofactors = [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ];
  const determinant = a * cofactors[0][0] + b * cofactors[1][0] + c * cofactors[2][0];
  return cofactors.map((row) => row.map((value) => value / determinant));
}
