#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstring>

#include "engine/safetensors.h"
#include "tests/test.h"

using namespace distilmt;

namespace {

// A file with these bytes, removed at the end.
struct File {
  explicit File(const std::vector<char>& bytes) {
    const int file = mkstemp(path);
    CHECK(file >= 0 && write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    close(file);
  }
  ~File() { unlink(path); }
  char path[40] = "/tmp/distilmt-test-XXXXXX";
};

template <class T>
std::vector<char> bytes_of(const std::vector<T>& values) {
  std::vector<char> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace

TEST(half_precision_is_exact) {
  CHECK(from_half(0x3C00) == 1.0f && from_half(0xC000) == -2.0f && from_half(0x7BFF) == 65504.0f);
  CHECK(from_half(0x0001) == std::ldexp(1.0f, -24) && from_half(0x03FF) == std::ldexp(1023.0f, -24));
  CHECK(from_half(0x0400) == std::ldexp(1.0f, -14) && from_half(0x8000) == 0.0f && std::signbit(from_half(0x8000)));
  CHECK(std::isinf(from_half(0x7C00)) && std::isnan(from_half(0x7E00)) && from_half(0xFC00) < 0);
  CHECK(from_bfloat16(0x3F80) == 1.0f && from_bfloat16(0xC040) == -3.0f);
}

TEST(tensors_are_read_and_widened) {
  std::vector<char> bytes = bytes_of<float>({1.5f, -2.0f, 3.0f, 0.25f});
  for (const auto& more : {bytes_of<uint16_t>({0x3C00, 0xC000, 0x3800}), bytes_of<uint16_t>({0x3F80, 0xC040})})
    bytes.insert(bytes.end(), more.begin(), more.end());
  const File file(bytes);
  const TensorFile tensors(
      file.path,
      {{"a", "F32", {2, 2}, 0, 16}, {"b", "F16", {3}, 16, 22}, {"c", "BF16", {2}, 22, 26}, {"d", "F32", {0}, 4, 4}});
  CHECK((tensors.read("a", {2, 2}) == std::vector<float>{1.5f, -2.0f, 3.0f, 0.25f}));
  CHECK((tensors.read("b", {3}) == std::vector<float>{1.0f, -2.0f, 0.5f}));
  CHECK((tensors.read("c", {2}) == std::vector<float>{1.0f, -3.0f}));
  CHECK(tensors.read("d", {0}).empty());
  CHECK(tensors.contains("a") && !tensors.contains("e"));
  CHECK_THROWS(tensors.read("e", {1}), "tensor e: missing, expected shape [1]");
  CHECK_THROWS(tensors.read("a", {4}), "tensor a: expected shape [4], got [2, 2]");
}

TEST(tensors_hostile_headers_are_refused) {
  const File file(std::vector<char>(16));
  auto open = [&](const TensorEntry& entry) { TensorFile(file.path, {entry}); };
  auto refuse = [&](const TensorEntry& entry, const char* part) {
    std::string message;
    try {
      open(entry);
    } catch (const std::exception& e) {
      message = e.what();
    }
    CHECK(message.find(part) != std::string::npos);
  };
  open({"x", "F32", {4}, 0, 16});
  refuse({"x", "F32", {5}, 0, 20}, "the file has only 16");
  refuse({"x", "F32", {4}, 8, 24}, "the file has only 16");
  refuse({"x", "F32", {5}, 0, 16}, "needs 20 bytes");
  refuse({"x", "F32", {int64_t{1} << 61}, 0, 16}, "impossible");
  refuse({"x", "F32", {int64_t{1} << 31, int64_t{1} << 31, 2}, 0, 16}, "impossible");
  refuse({"x", "F32", {-4}, 0, 16}, "impossible");
  refuse({"x", "F32", {4}, -16, 0}, "needs 16 bytes");
  refuse({"x", "F32", {4}, 16, 0}, "needs 16 bytes");
  refuse({"x", "Q4", {4}, 0, 16}, "dtype Q4 is unknown");
  CHECK_THROWS(TensorFile(file.path, {{"x", "F32", {1}, 0, 4}, {"x", "F32", {1}, 4, 8}}), "there twice");
  CHECK_THROWS(TensorFile("/nowhere/at/all", {}), "cannot be opened");
}

TEST(tensors_a_file_that_shrinks_is_an_error) {
  const File file(std::vector<char>(16));
  const TensorFile tensors(file.path, {{"x", "F32", {4}, 0, 16}});
  CHECK(truncate(file.path, 6) == 0);
  CHECK_THROWS(tensors.read("x", {4}), "the file became shorter");
}
