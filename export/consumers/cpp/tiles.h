// How a picture is cut into windows that give the whole picture's pixels, along one axis, in LR pixels.
#pragma once

#include <optional>
#include <vector>

// What manifest.json says of the network: an output pixel looks no further than `halo` (none: at the whole picture),
// and windows start at multiples of `alignment`.
struct Reach {
  std::optional<int> halo;
  int alignment = 1;
};

// A window from `start` on; from `first` to before `last` its pixels are kept.
struct Span {
  int start, first, last;
};

// Windows of one length over a picture that is mirrored up to `padded` where it is shorter than that.
struct Axis {
  int window, padded;
  std::vector<Span> spans;
};

// Plans an axis of `length` pixels. `fixed` is the only window the network takes, 0 if any: then windows are about
// `most` long. Throws std::runtime_error where the network can't be cut that small.
Axis plan(int length, int fixed, int most, const Reach& reach);

// The pixel that stands at `index` of a picture of `length` pixels mirrored at its end, its last pixel repeated.
int mirrored(int index, int length);
