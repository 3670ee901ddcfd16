#include "picture.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <fstream>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#ifdef WITH_PNG
#include <png.h>
#endif
#ifdef WITH_JPEG
#include <csetjmp>
#include <jpeglib.h>
#endif

namespace {

namespace fs = std::filesystem;

std::runtime_error fault(const fs::path& path, const std::string& text) {
  return std::runtime_error(path.string() + ": " + text);
}

// A header number of a PPM: after white space and comments that run from # to the end of the line.
int ppm_number(std::istream& file) {
  while (std::isspace(file.peek()) || file.peek() == '#') {
    if (file.get() == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  int number = 0;
  file >> number;
  return number;
}

Picture read_ppm(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  file.ignore(2);
  int width = ppm_number(file), height = ppm_number(file), most = ppm_number(file);
  file.get();
  constexpr int kMost = 1 << 20;  // a broken header could ask for more memory than there is
  if (!file || width < 1 || height < 1 || width > kMost || height > kMost)
    throw fault(path, "is a broken PPM; save it anew");
  if (most != 255) throw fault(path, "must be a PPM of 8 bits, got " + std::to_string(most) + " as its white");
  // The rows are read one by one, so that a header with huge numbers does not take memory the file has no pixels for.
  Picture picture;
  picture.height = height;
  picture.width = width;
  std::vector<char> row(size_t(width) * 3);
  for (int y = 0; y < height; ++y) {
    if (!file.read(row.data(), row.size())) throw fault(path, "ends in the middle; copy it again");
    picture.pixels.insert(picture.pixels.end(), row.begin(), row.end());
  }
  return picture;
}

void write_ppm(const Picture& picture, const fs::path& draft) {
  std::ofstream file(draft, std::ios::binary);
  file << "P6\n" << picture.width << " " << picture.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(picture.pixels.data()), picture.pixels.size());
  file.close();
  if (!file) throw std::runtime_error("can't be written; is the folder there, and the disk not full?");
}

#ifdef WITH_PNG
Picture read_png(const fs::path& path) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_file(&image, path.string().c_str())) throw fault(path, image.message);
  auto opened = std::unique_ptr<png_image, void (*)(png_image*)>(&image, png_image_free);
  image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;  // else libpng takes 16 bit pixels for linear light
  image.format = PNG_FORMAT_RGBA;            // screenshots have an alpha channel and are opaque all the same
  std::vector<uint8_t> rgba(PNG_IMAGE_SIZE(image));
  if (!png_image_finish_read(&image, nullptr, rgba.data(), 0, nullptr)) throw fault(path, image.message);
  Picture picture(image.height, image.width);
  for (size_t i = 0; i < rgba.size() / 4; ++i) {
    if (rgba[4 * i + 3] != 255)
      throw fault(path, "is transparent, which an RGB network can't carry; save it without transparency");
    std::copy_n(&rgba[4 * i], 3, &picture.pixels[3 * i]);
  }
  return picture;
}

void write_png(const Picture& picture, const fs::path& draft) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.height = picture.height;
  image.width = picture.width;
  image.format = PNG_FORMAT_RGB;
  if (!png_image_write_to_file(&image, draft.string().c_str(), 0, picture.pixels.data(), 0, nullptr))
    throw std::runtime_error(std::string("can't be written (") + image.message + ")");
}
#endif

#ifdef WITH_JPEG
struct JpegErrors {
  jpeg_error_mgr manager;  // first, since libjpeg hands back a pointer to it
  jmp_buf jump;
  char text[JMSG_LENGTH_MAX];
};

[[noreturn]] void jpeg_fault(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  info->err->format_message(info, errors->text);
  longjmp(errors->jump, 1);
}

// Between setjmp and longjmp no object may be made, so the caller brings the picture and the file.
bool decode_jpeg(std::FILE* file, Picture& picture, JpegErrors& errors) {
  jpeg_decompress_struct info;
  info.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = jpeg_fault;
  errors.manager.emit_message = [](j_common_ptr info, int level) { info->err->num_warnings += level < 0; };
  if (setjmp(errors.jump)) {
    jpeg_destroy_decompress(&info);
    return false;
  }
  jpeg_create_decompress(&info);
  jpeg_stdio_src(&info, file);
  jpeg_read_header(&info, TRUE);
  info.out_color_space = JCS_RGB;
  jpeg_start_decompress(&info);
  picture.height = info.output_height;
  picture.width = info.output_width;
  picture.pixels.resize(size_t(info.output_height) * info.output_width * 3);
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = picture.at(info.output_scanline, 0);
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  bool whole = errors.manager.num_warnings == 0;  // libjpeg fills a file that ends early with grey and only warns
  if (!whole) std::snprintf(errors.text, sizeof errors.text, "is damaged or ends in the middle");
  jpeg_destroy_decompress(&info);
  return whole;
}

Picture read_jpeg(const fs::path& path) {
  auto file = std::unique_ptr<std::FILE, int (*)(std::FILE*)>(std::fopen(path.string().c_str(), "rb"), std::fclose);
  Picture picture;
  JpegErrors errors{};
  if (!file || !decode_jpeg(file.get(), picture, errors)) throw fault(path, errors.text);
  return picture;
}
#endif

std::string ending(const fs::path& path) {
  std::string text = path.extension().string();
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

Picture read_picture(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  char start[4] = {};
  if (!file.read(start, sizeof start)) throw fault(path, "can't be read as a picture; is it there, and no folder?");
  std::string magic(start, 4);
  if (magic.compare(0, 2, "P6") == 0) return read_ppm(path);
#ifdef WITH_PNG
  if (magic == "\x89PNG") return read_png(path);
#endif
#ifdef WITH_JPEG
  if (magic.compare(0, 3, "\xff\xd8\xff") == 0) return read_jpeg(path);
#endif
  throw fault(path, "is none of the kinds this build reads (" READS "); convert it first");
}

void refuse_unwritable(const fs::path& path) {
  fs::path folder = fs::absolute(path).parent_path();
  if (!fs::is_directory(folder)) throw fault(path, "there is no folder " + folder.string() + "; make it first");
  std::string kind = ending(path);
#ifdef WITH_PNG
  if (kind == ".png") return;
#endif
  if (kind != ".ppm") throw fault(path, "ends in none of the kinds this build writes (" WRITES "); name it so");
}

void write_picture(const Picture& picture, const fs::path& path) {
  refuse_unwritable(path);
  fs::path draft = path;
  draft += "." + std::to_string(getpid()) + ".part";  // no file of the user's
  try {
#ifdef WITH_PNG
    ending(path) == ".png" ? write_png(picture, draft) : write_ppm(picture, draft);
#else
    write_ppm(picture, draft);
#endif
    fs::rename(draft, path);
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove(draft, ignored);
    throw fault(path, error.what());
  }
}
