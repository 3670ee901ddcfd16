#include "model.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "litert.h"

namespace {

namespace fs = std::filesystem;

void check(LiteRtStatus status, const char* what) {
  if (status != 0)
    throw std::runtime_error(std::string("LiteRT could not ") + what + " (status " + std::to_string(status) + ")");
}

// Frees what the C API made, at the end of its life.
template <typename Handle, void (*destroy)(Handle)>
struct Owned {
  Handle handle = nullptr;
  ~Owned() { reset(); }
  void reset() {
    if (handle) destroy(handle);
    handle = nullptr;
  }
};

// A tensor of the model: its type, and which pixel (0..255) stands for which whole number, or the reverse.
struct Tensor {
  LiteRtRankedTensorType type{};
  float scale = 0;
  int zero_point = 0;

  bool whole() const { return type.element_type == kLiteRtElementTypeUInt8; }
  int dimension(int axis) const { return type.layout.dimensions[axis]; }
};

Tensor describe(LiteRtTensor handle) {
  Tensor tensor;
  check(LiteRtGetRankedTensorType(handle, &tensor.type), "read a tensor's shape");
  int kind = 0;
  check(LiteRtGetQuantizationTypeId(handle, &kind), "read a tensor's quantisation");
  if (kind == kLiteRtQuantizationPerTensor) {
    LiteRtQuantizationPerTensor quantization{};
    check(LiteRtGetPerTensorQuantization(handle, &quantization), "read a tensor's quantisation");
    tensor.scale = quantization.scale;
    tensor.zero_point = int(quantization.zero_point);
  }
  return tensor;
}

void refuse_foreign(const Tensor& lr, const Tensor& sr) {
  if (lr.type.layout.rank != 4 || lr.dimension(0) != 1 || sr.type.layout.rank != 4)
    throw std::runtime_error("must take and give one picture [1, H, W, C]; export it with python -m sr_keras.export");
  if (lr.dimension(3) != 3)
    throw std::runtime_error("works on " + std::to_string(lr.dimension(3)) +
                             " channel(s), the luminance alone; use an RGB network");
  for (const Tensor& tensor : {lr, sr}) {
    bool known = tensor.type.element_type == kLiteRtElementTypeFloat32 || (tensor.whole() && tensor.scale > 0);
    if (!known) throw std::runtime_error("must take and give float32 or uint8 pixels; export it anew");
  }
}

uint8_t pixel(float value) {  // a NaN becomes black, as no comparison holds for it
  return uint8_t(std::lrint(255 * (value > 0 ? (value < 1 ? value : 1) : 0)));
}

}  // namespace

struct Model::Session {
  Owned<LiteRtEnvironment, LiteRtDestroyEnvironment> environment;
  Owned<LiteRtModel, LiteRtDestroyModel> model;
  Owned<LiteRtCompiledModel, LiteRtDestroyCompiledModel> compiled;
  Owned<LiteRtTensorBuffer, LiteRtDestroyTensorBuffer> lr_buffer, sr_buffer;
  Tensor lr, sr;
  bool fixed = false;
  int scale = 0, threads = 1;
  std::array<uint8_t, 256> from_pixel{}, to_pixel{};
  Picture result;

  void open(const fs::path& path);
  void read_signature();
  void compile();
  void fit(int height, int width);
  void refuse_odd_result(int height, int width);
  void make_buffers();
  void write(const Picture& picture);
  void read();
};

void Model::Session::open(const fs::path& path) {
  LiteRtEnvOption options[2] = {};  // without the first, LiteRT looks for GPU libraries and complains of none
  options[0].tag = kLiteRtEnvOptionTagAutoRegisterAccelerators;
  options[0].value.int_value = kLiteRtHwAcceleratorCpu;
  options[1].tag = kLiteRtEnvOptionTagMinLoggerSeverity;
  options[1].value.int_value = kLiteRtLogSeverityError;
  for (auto& option : options) option.value.type = kLiteRtAnyTypeInt;
  check(LiteRtCreateEnvironment(2, options, &environment.handle), "start");
  if (LiteRtCreateModelFromFile(environment.handle, path.string().c_str(), &model.handle) != 0)
    throw std::runtime_error("is no TFLite file that LiteRT opens; give a model_*.tflite of python -m sr_keras.export");
}

void Model::Session::read_signature() {
  LiteRtSignature signature = nullptr;
  LiteRtTensor input = nullptr, output = nullptr;
  size_t inputs = 0, outputs = 0;
  check(LiteRtGetModelSignature(model.handle, 0, &signature), "read the signature");
  check(LiteRtGetNumSignatureInputs(signature, &inputs), "count the inputs");
  check(LiteRtGetNumSignatureOutputs(signature, &outputs), "count the outputs");
  if (inputs != 1 || outputs != 1)
    throw std::runtime_error("must have one input and one output, has " + std::to_string(inputs) + " and " +
                             std::to_string(outputs) + "; export it with python -m sr_keras.export");
  check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &input), "find the input");
  check(LiteRtGetSignatureOutputTensorByIndex(signature, 0, &output), "find the output");
  lr = describe(input);
  sr = describe(output);
  refuse_foreign(lr, sr);
  fixed = lr.dimension(1) > 0 && lr.dimension(2) > 0;
  for (int i = 0; i < 256; ++i) {
    if (lr.whole()) from_pixel[i] = uint8_t(std::lrint(std::fmin(i / 255.0f / lr.scale + lr.zero_point, 255.0f)));
    if (sr.whole()) to_pixel[i] = pixel((i - sr.zero_point) * sr.scale);
  }
}

// Waits for the first window, so that whatever is wrong before is all that is said: XNNPACK greets on stderr.
void Model::Session::compile() {
  Owned<LiteRtOptions, LiteRtDestroyOptions> options;
  LiteRtOpaqueOptions cpu = nullptr;
  check(LiteRtCreateOptions(&options.handle), "make options");
  check(LiteRtSetOptionsHardwareAccelerators(options.handle, kLiteRtHwAcceleratorCpu), "choose the CPU");
  std::string text = "num_threads = " + std::to_string(threads) + "\n";  // XNNPACK's options travel as TOML
  auto* payload = static_cast<char*>(std::malloc(text.size() + 1));
  std::memcpy(payload, text.c_str(), text.size() + 1);
  check(LiteRtCreateOpaqueOptions("xnnpack", payload, std::free, &cpu), "make CPU options");
  check(LiteRtAddOpaqueOptions(options.handle, cpu), "set the threads");
  check(LiteRtCreateCompiledModel(environment.handle, model.handle, options.handle, &compiled.handle),
        "prepare the network");
}

// Brings tensors and buffers to a window's size. Windows of one picture are alike, so this happens once.
void Model::Session::fit(int height, int width) {
  if (!compiled.handle) compile();
  bool same = lr.dimension(1) == height && lr.dimension(2) == width;
  if (same && lr_buffer.handle) return;
  if (!same) {
    const int shape[4] = {1, height, width, 3};
    check(LiteRtCompiledModelResizeInputTensor(compiled.handle, 0, 0, shape, 4), "resize the network");
    check(LiteRtGetCompiledModelOutputTensorLayouts(compiled.handle, 0, 1, &sr.type.layout, true),
          "resize the network");
    lr.type.layout.dimensions[1] = height;
    lr.type.layout.dimensions[2] = width;
  }
  refuse_odd_result(height, width);
  make_buffers();
  result = Picture(sr.dimension(1), sr.dimension(2));
}

// Only now: in a file of any size the shape of SR may be unknown throughout, even where it is always 1 or 3.
void Model::Session::refuse_odd_result(int height, int width) {
  scale = sr.dimension(1) / height;
  bool whole = scale > 0 && sr.dimension(1) == scale * height && sr.dimension(2) == scale * width;
  if (!whole || sr.dimension(0) != 1 || sr.dimension(3) != 3)
    throw std::runtime_error("the network gives " + std::to_string(sr.dimension(1)) + "x" +
                             std::to_string(sr.dimension(2)) + "x" + std::to_string(sr.dimension(3)) + " for " +
                             std::to_string(height) + "x" + std::to_string(width) +
                             "x3, no whole multiple; give a super-resolution network");
}

void Model::Session::make_buffers() {
  lr_buffer.reset();
  sr_buffer.reset();
  LiteRtTensorBufferRequirements needs = nullptr;
  check(LiteRtGetCompiledModelInputBufferRequirements(compiled.handle, 0, 0, &needs), "size the input");
  check(LiteRtCreateManagedTensorBufferFromRequirements(environment.handle, &lr.type, needs, &lr_buffer.handle),
        "make the input");
  check(LiteRtGetCompiledModelOutputBufferRequirements(compiled.handle, 0, 0, &needs), "size the output");
  check(LiteRtCreateManagedTensorBufferFromRequirements(environment.handle, &sr.type, needs, &sr_buffer.handle),
        "make the output");
}

// The memory of a buffer while it may be touched, checked to hold what is copied.
struct Locked {
  LiteRtTensorBuffer buffer;
  void* memory = nullptr;

  Locked(LiteRtTensorBuffer buffer, int mode, size_t bytes) : buffer(buffer) {
    size_t held = 0;
    check(LiteRtGetTensorBufferPackedSize(buffer, &held), "size a buffer");
    if (held < bytes) throw std::runtime_error("LiteRT made a buffer that is too small");
    check(LiteRtLockTensorBuffer(buffer, &memory, mode), "open a buffer");
  }
  ~Locked() { LiteRtUnlockTensorBuffer(buffer); }
};

void Model::Session::write(const Picture& picture) {
  const auto& pixels = picture.pixels;
  Locked lock(lr_buffer.handle, kLiteRtTensorBufferLockModeWrite, pixels.size() * (lr.whole() ? 1 : sizeof(float)));
  auto* bytes = static_cast<uint8_t*>(lock.memory);
  auto* floats = static_cast<float*>(lock.memory);
  for (size_t i = 0; i < pixels.size(); ++i) {
    if (lr.whole())
      bytes[i] = from_pixel[pixels[i]];
    else
      floats[i] = pixels[i] / 255.0f;
  }
}

void Model::Session::read() {
  auto& pixels = result.pixels;
  Locked lock(sr_buffer.handle, kLiteRtTensorBufferLockModeRead, pixels.size() * (sr.whole() ? 1 : sizeof(float)));
  const auto* bytes = static_cast<const uint8_t*>(lock.memory);
  const auto* floats = static_cast<const float*>(lock.memory);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = sr.whole() ? to_pixel[bytes[i]] : pixel(floats[i]);
}

Model::Model(const fs::path& path, int threads) : session_(std::make_unique<Session>()) {
  try {
    session_->open(path);
    session_->read_signature();
    session_->threads = threads;
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(path.string() + ": " + error.what());
  }
}

Model::~Model() = default;

int Model::height() const { return session_->fixed ? session_->lr.dimension(1) : 0; }

int Model::width() const { return session_->fixed ? session_->lr.dimension(2) : 0; }

int Model::scale() const { return session_->scale; }

const Picture& Model::operator()(const Picture& lr) {
  session_->fit(lr.height, lr.width);
  session_->write(lr);
  check(LiteRtRunCompiledModel(session_->compiled.handle, 0, 1, &session_->lr_buffer.handle, 1,
                               &session_->sr_buffer.handle),
        "run the network");
  session_->read();
  return session_->result;
}
