#include "engine/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "common/platform.h"

namespace distilmt {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

int64_t bytes_per_value(const TensorEntry& e) {
  static const std::unordered_map<std::string, int64_t> kBytes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"I16", 2}, {"U16", 2}, {"F16", 2}, {"BF16", 2},
      {"I32", 4},  {"U32", 4}, {"F32", 4}, {"I64", 8}, {"U64", 8}, {"F64", 8}};
  const auto found = kBytes.find(e.dtype);
  require(found != kBytes.end(), "tensor " + e.name + ": dtype " + e.dtype + " is unknown");
  return found->second;
}

void check(const TensorEntry& e, int64_t file_bytes) {
  int64_t bytes = bytes_per_value(e);
  for (int64_t size : e.shape) {
    require(size >= 0 && !__builtin_mul_overflow(bytes, size, &bytes),
            "tensor " + e.name + ": shape " + text(e.shape) + " is impossible");
  }
  require(e.begin >= 0 && e.end >= e.begin && e.end - e.begin == bytes,
          "tensor " + e.name + ": shape " + text(e.shape) + " of " + e.dtype + " needs " + std::to_string(bytes) +
              " bytes, but the header gives it bytes " + std::to_string(e.begin) + " to " + std::to_string(e.end));
  require(e.end <= file_bytes, "tensor " + e.name + ": ends at byte " + std::to_string(e.end) +
                                   ", but the file has only " + std::to_string(file_bytes));
}

}  // namespace

std::string text(const Shape& shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + "]";
}

float from_half(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float value = 0;
  if (exponent == 31)
    value = fraction ? NAN : INFINITY;
  else if (exponent == 0)
    value = std::ldexp(static_cast<float>(fraction), -24);
  else
    value = std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return bits & 0x8000 ? -value : value;
}

float from_bfloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

TensorFile::TensorFile(const std::string& path, const std::vector<TensorEntry>& entries)
    : file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  require(file_ >= 0, std::string("cannot be opened: ") + std::strerror(errno));
  try {
    struct stat facts;
    require(fstat(file_, &facts) == 0, std::string("cannot be examined: ") + std::strerror(errno));
    for (const TensorEntry& e : entries) {
      check(e, facts.st_size);
      require(entries_.emplace(e.name, e).second, "tensor " + e.name + ": is there twice");
    }
  } catch (...) {
    close(file_);
    throw;
  }
}

TensorFile::~TensorFile() { close(file_); }

std::vector<float> TensorFile::read(const std::string& name, const Shape& shape) const {
  const auto found = entries_.find(name);
  require(found != entries_.end(), "tensor " + name + ": missing, expected shape " + text(shape));
  const TensorEntry& e = found->second;
  require(e.shape == shape, "tensor " + name + ": expected shape " + text(shape) + ", got " + text(e.shape));
  const bool full = e.dtype == "F32";
  require(full || e.dtype == "F16" || e.dtype == "BF16",
          "tensor " + name + ": expected dtype F32, F16 or BF16, got " + e.dtype);

  const int64_t bytes = e.end - e.begin;
  std::vector<float> values(bytes / (full ? 4 : 2));
  // Half-precision values are read into the upper half of their own buffer and widened from the front.
  char* buffer = reinterpret_cast<char*>(values.data()) + (full ? 0 : bytes);
  for (int64_t done = 0; done < bytes;) {
    const ssize_t got = pread(file_, buffer + done, bytes - done, e.begin + done);
    if (got < 0 && errno == EINTR) continue;
    require(got > 0, "tensor " + name + ": " + (got < 0 ? std::strerror(errno) : "the file became shorter"));
    done += got;
  }
  if (full) return values;
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, buffer + 2 * i, 2);
    values[i] = e.dtype == "F16" ? from_half(bits) : from_bfloat16(bits);
  }
  return values;
}

}  // namespace distilmt
