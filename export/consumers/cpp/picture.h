// Pictures as 8 bit RGB, and the files they come from: PPM always, PNG and JPEG where the build found their libraries.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

struct Picture {
  int height = 0, width = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3]

  Picture() = default;
  Picture(int height, int width) : height(height), width(width), pixels(size_t(height) * width * 3) {}

  uint8_t* at(int y, int x) { return &pixels[(size_t(y) * width + x) * 3]; }
  const uint8_t* at(int y, int x) const { return &pixels[(size_t(y) * width + x) * 3]; }
};

// Reads .ppm, .png or .jpg, told by its first bytes. Throws std::runtime_error.
Picture read_picture(const std::filesystem::path& path);

// Throws std::runtime_error unless `write_picture` can write that kind of file, so that nobody waits in vain.
void refuse_unwritable(const std::filesystem::path& path);

// Writes .png or .ppm: a draft beside it first, so that `path` is the whole picture or what it was before.
void write_picture(const Picture& picture, const std::filesystem::path& path);
