// What manifest.json, written by `python -m sr_keras.export` beside the model, says of the network.
#pragma once

#include <filesystem>

#include "tiles.h"

struct Manifest {
  int scale, channels;
  Reach reach;
};

// Reads the manifest beside `model`. Throws std::runtime_error if it is missing, broken or of another export, or if
// the model is not as long as it says: LiteRT crashes on a file that was cut off.
Manifest read_manifest(const std::filesystem::path& model);
