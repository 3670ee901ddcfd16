// Where a picture is cut: windows that overlap by two halos hold, up to the middle of the overlap, the very pixels that
// the network gives for the whole picture (sr_keras/tiling.py does the same).

const CORE = 256; // LR pixels that are kept of a window at either side, at most
const WHOLE = 512 * 512; // LR pixels up to which a network that can't be cut gets the picture at once

/**
 * Returns the windows of a picture from the top down, all of one size: `{ top, bottom, left, right }` in LR pixels is
 * what the network sees, `keep` of the same form what is kept of it. Throws `RangeError` for a picture that is too large
 * to go through a network that can't be cut (`halo` null).
 */
export function windows(height, width, { halo, alignment = 1 }) {
  if (halo === null && height * width > WHOLE) {
    throw new RangeError(
      `This network looks at the whole picture at once, up to ${WHOLE} pixels; this one has ${height * width}: cut it.`,
    );
  }
  const rows = halo === null ? [whole(height)] : spans(height, halo, alignment);
  const columns = halo === null ? [whole(width)] : spans(width, halo, alignment);
  return rows.flatMap((row) => columns.map((column) => ({
    top: row.start, bottom: row.end, left: column.start, right: column.end,
    keep: { top: row.first, bottom: row.last, left: column.first, right: column.last },
  })));
}

function whole(length) {
  return { start: 0, end: length, first: 0, last: length };
}

// Windows start at multiples of `alignment` and are as long as the picture modulo it: strides with padding "same" pad
// by the length, at the start too.
function spans(length, halo, alignment) {
  const overlap = 2 * halo + alignment - 1;
  const count = Math.ceil((length - overlap) / CORE);
  if (count <= 1) return [whole(length)];
  const share = Math.ceil((length + overlap * (count - 1)) / count);
  const size = Math.min(share + (length - share) % alignment, length);
  const starts = Array.from({ length: count }, (_, k) =>
    Math.floor((k * (length - size)) / (count - 1) / alignment) * alignment);
  const cuts = starts.slice(1).map((start, k) => Math.floor((starts[k] + size + start) / 2));
  return starts.map((start, k) => ({
    start, end: start + size, first: k ? cuts[k - 1] : 0, last: k < count - 1 ? cuts[k] : length,
  }));
}
