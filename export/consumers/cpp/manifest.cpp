#include "manifest.h"

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

using Members = std::map<std::string, std::string>;  // the raw JSON of an object's values

// Splits one level of JSON and skips what is nested in it: all that is needed are a few numbers and names.
class Scanner {
 public:
  explicit Scanner(const std::string& text) : text_(text) {}

  Members object() {
    Members members;
    expect('{');
    if (take('}')) return members;
    do {
      std::string key = string();
      expect(':');
      members[key] = value();
    } while (take(','));
    expect('}');
    return members;
  }

  std::vector<std::string> array() {
    std::vector<std::string> elements;
    expect('[');
    if (take(']')) return elements;
    do elements.push_back(value());
    while (take(','));
    expect(']');
    return elements;
  }

 private:
  char peek() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    if (at_ == text_.size()) throw std::runtime_error("ends in the middle");
    return text_[at_];
  }

  bool take(char wanted) { return peek() == wanted && ++at_; }

  void expect(char wanted) {
    if (!take(wanted)) throw std::runtime_error(std::string("is no JSON: ") + wanted + " expected");
  }

  std::string string() {
    expect('"');
    size_t start = at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    if (at_ >= text_.size()) throw std::runtime_error("ends in the middle");
    return text_.substr(start, at_++ - start);
  }

  std::string value() {
    peek();
    size_t start = at_, end = at_;
    for (int depth = 0;;) {
      char c = peek();
      bool closes = c == '}' || c == ']';
      if (depth == 0 && (c == ',' || closes)) return text_.substr(start, end - start);
      if (c == '"') {
        string();
      } else {
        depth += (c == '{' || c == '[') - closes;
        ++at_;
      }
      end = at_;
    }
  }

  const std::string& text_;
  size_t at_ = 0;
};

const std::string& member(const Members& members, const std::string& key) {
  auto found = members.find(key);
  if (found == members.end()) throw std::runtime_error("has no \"" + key + "\"");
  return found->second;
}

long long integer(const Members& members, const std::string& key, long long least, long long most) {
  const std::string& text = member(members, key);
  char* end = nullptr;
  long long number = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end || number < least || number > most)
    throw std::runtime_error("\"" + key + "\" must be a whole number from " + std::to_string(least) + " to " +
                             std::to_string(most) + ", got " + text.substr(0, 40));
  return number;
}

Members artifact(const Members& manifest, const std::string& file) {
  for (const std::string& text : Scanner(member(manifest, "artifacts")).array()) {
    Members entry = Scanner(text).object();
    if (member(entry, "file") == '"' + file + '"') return entry;
  }
  throw std::runtime_error("does not name " + file);
}

Manifest understand(const std::string& text, const fs::path& model) {
  constexpr int kMost = 1 << 20;  // far beyond any network, and no sum of these overflows
  Members members = Scanner(text).object();
  Manifest manifest{int(integer(members, "scale", 1, 64)), int(integer(members, "channels", 1, kMost)), {}};
  if (member(members, "halo") != "null") manifest.reach.halo = int(integer(members, "halo", 0, kMost));
  if (members.count("alignment")) manifest.reach.alignment = int(integer(members, "alignment", 1, kMost));
  long long told = integer(artifact(members, model.filename().string()), "bytes", 0, 1LL << 40);
  auto bytes = static_cast<long long>(fs::file_size(model));
  if (bytes != told)
    throw std::runtime_error("tells " + std::to_string(told) + " bytes of " + model.filename().string() +
                             ", which has " + std::to_string(bytes));
  return manifest;
}

}  // namespace

Manifest read_manifest(const fs::path& model) {
  fs::path path = model.parent_path() / "manifest.json";
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file) throw std::runtime_error(path.string() + ": can't be read; copy it here from the model's export");
  try {
    return understand(content.str(), model);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(path.string() + ": " + error.what() + "; copy both files anew from one export");
  }
}
