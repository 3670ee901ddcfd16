#include "tiles.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace {

// The shortest window of which an aligned piece is left between two halos.
int least(const Reach& reach) { return 2 * reach.halo.value_or(0) + reach.alignment; }

// The length of windows of a network that takes any: the picture's modulo the alignment, so that the last one, which
// ends with the picture, starts aligned.
int free_window(int length, int most, const Reach& reach) {
  int longest = std::max(most, least(reach) + reach.alignment - 1);
  if (!reach.halo || longest >= length) return length;
  return longest - (longest - length % reach.alignment) % reach.alignment;
}

int padded_length(int length, int window, int alignment) {
  int beyond = std::max(length - window, 0);
  return window + (beyond + alignment - 1) / alignment * alignment;
}

void refuse_too_small(int length, int window, const Reach& reach) {
  if (!reach.halo)
    throw std::runtime_error("the network looks at the whole picture, so the picture's " + std::to_string(length) +
                             " pixels can't be cut into windows of " + std::to_string(window) +
                             "; take a file without a fixed size, such as model_float16.tflite");
  if (window < least(reach))
    throw std::runtime_error("windows of " + std::to_string(window) + " pixels leave nothing between two halos of " +
                             std::to_string(*reach.halo) + "; export a size of " + std::to_string(least(reach)) +
                             " or more");
}

}  // namespace

Axis plan(int length, int fixed, int most, const Reach& reach) {
  int window = fixed ? fixed : free_window(length, most, reach);
  int padded = padded_length(length, window, reach.alignment);
  Axis axis{window, padded, {}};
  if (padded == window) {
    axis.spans.push_back({0, 0, length});
    return axis;
  }
  refuse_too_small(length, window, reach);
  int step = (window - 2 * *reach.halo) / reach.alignment * reach.alignment;
  for (int start = 0, first = 0;;) {
    int next = std::min(start + step, padded - window);
    // Windows overlap by two halos at least, so the middle of the overlap is a halo away from either's end.
    int last = start == next ? length : (next + start + window) / 2;
    axis.spans.push_back({start, first, last});
    if (start == next) return axis;
    start = next;
    first = last;
  }
}

int mirrored(int index, int length) {
  int place = index % (2 * length);
  return place < length ? place : 2 * length - 1 - place;
}
