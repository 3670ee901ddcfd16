// A .tflite file in LiteRT, on the CPU (XNNPACK): windows of LR pixels in, SR pixels out.
#pragma once

#include <array>
#include <filesystem>
#include <memory>

#include "picture.h"

class Model {
 public:
  // Throws std::runtime_error for a file that is no RGB super-resolution network.
  Model(const std::filesystem::path& path, int threads);
  ~Model();

  // The only window that the network takes, 0 and 0 if any.
  int height() const;
  int width() const;

  // How many times as large SR is, known from the first window on.
  int scale() const;

  // Upscales one window. Throws std::runtime_error.
  const Picture& operator()(const Picture& lr);

 private:
  struct Session;
  std::unique_ptr<Session> session_;
};
