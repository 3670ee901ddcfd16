// upscale MODEL IN OUT: enlarges a picture with a .tflite file of `python -m sr_keras.export`, window by window.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "manifest.h"
#include "model.h"
#include "picture.h"
#include "tiles.h"

namespace {

namespace fs = std::filesystem;

constexpr const char* kUsage =
    "usage: upscale [--threads N] [--tile N] MODEL IN OUT\n"
    "  MODEL      a model_*.tflite of `python -m sr_keras.export`, with its manifest.json beside it\n"
    "  IN         a picture: " READS "\n"
    "  OUT        where the enlarged picture goes: " WRITES "\n"
    "  --threads  of the CPU, default: all\n"
    "  --tile     side of a window in LR pixels where the file leaves it free, default: 256\n";

struct Arguments {
  int threads = std::max(int(std::thread::hardware_concurrency()), 1);
  int tile = 256;
  std::vector<fs::path> paths;
};

int positive(const std::string& name, const char* text) {
  int number = 0;
  const char* end = text + std::strlen(text);
  auto read = std::from_chars(text, end, number);
  if (read.ec != std::errc() || read.ptr != end || number < 1)
    throw std::runtime_error(name + " takes a whole number from 1 on, got " + text);
  return number;
}

Arguments parse(int count, char** words) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    std::string word = words[i];
    if (word == "--threads" || word == "--tile") {
      if (++i == count) throw std::runtime_error(word + " takes a whole number; give one");
      (word == "--tile" ? arguments.tile : arguments.threads) = positive(word, words[i]);
    } else if (word.size() > 1 && word[0] == '-') {
      throw std::runtime_error(word + ": there is no such option; see upscale --help");
    } else {
      arguments.paths.push_back(word);
    }
  }
  if (arguments.paths.size() != 3)
    throw std::runtime_error("MODEL, IN and OUT are needed, got " + std::to_string(arguments.paths.size()) +
                             " of them; see upscale --help");
  return arguments;
}

void refuse_wrong_kind(const fs::path& model) {
  if (model.extension() != ".tflite")
    throw std::runtime_error(model.string() + ": must be a .tflite file; ONNX and others need a runtime of their own");
  if (!fs::is_regular_file(model)) throw std::runtime_error(model.string() + ": there is no such file");
}

// Cuts a window out of the picture, mirroring what lies beyond its end.
Picture cut(const Picture& picture, int top, int left, int height, int width) {
  Picture window(height, width);
  for (int y = 0; y < height; ++y) {
    int from = mirrored(top + y, picture.height);
    for (int x = 0; x < width; ++x)
      std::memcpy(window.at(y, x), picture.at(from, mirrored(left + x, picture.width)), 3);
  }
  return window;
}

void paste(Picture& picture, const Picture& window, const Span& row, const Span& column, int scale) {
  size_t bytes = size_t(column.last - column.first) * scale * 3;
  for (int y = row.first * scale; y < row.last * scale; ++y)
    std::memcpy(picture.at(y, column.first * scale),
                window.at(y - row.start * scale, (column.first - column.start) * scale), bytes);
}

Picture enlarge(const Picture& lr, Model& model, const Manifest& manifest, int tile) {
  Axis rows = plan(lr.height, model.height(), tile, manifest.reach);
  Axis columns = plan(lr.width, model.width(), tile, manifest.reach);
  if (std::max(lr.height, lr.width) > std::numeric_limits<int>::max() / 3 / manifest.scale)
    throw std::runtime_error("the picture is too large");
  Picture sr(lr.height * manifest.scale, lr.width * manifest.scale);
  for (const Span& row : rows.spans)
    for (const Span& column : columns.spans) {
      const Picture& window = model(cut(lr, row.start, column.start, rows.window, columns.window));
      if (model.scale() != manifest.scale)
        throw std::runtime_error("manifest.json tells scale " + std::to_string(manifest.scale) + ", but the file is x" +
                                 std::to_string(model.scale()) + "; export the model again");
      paste(sr, window, row, column, manifest.scale);
    }
  return sr;
}

void run(const Arguments& arguments) {
  const fs::path &path = arguments.paths[0], &in = arguments.paths[1], &out = arguments.paths[2];
  refuse_wrong_kind(path);
  refuse_unwritable(out);
  Manifest manifest = read_manifest(path);
  if (manifest.channels != 3)
    throw std::runtime_error(path.string() + ": works on the luminance alone; use an RGB network");
  Picture lr = read_picture(in);
  Model model(path, arguments.threads);
  write_picture(enlarge(lr, model, manifest, arguments.tile), out);
}

}  // namespace

int main(int count, char** words) {
  try {
    if (count == 2 && (!std::strcmp(words[1], "--help") || !std::strcmp(words[1], "-h"))) return std::puts(kUsage) < 0;
    run(parse(count, words));
    return 0;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "upscale: the memory does not hold the picture and its enlargement; give a smaller one\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "upscale: %s\n", error.what());
  }
  return 1;
}
