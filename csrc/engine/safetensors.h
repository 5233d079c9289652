// Tensors of a `model.safetensors` file as float32. Python reads the header and proves the file's layout
// (python/distilmt/marian/weights.py); what memory safety needs is checked here: types, checked products, bytes inside
// the file.
//
// Tensors are read with pread, not mapped: a file that shrinks while it is read is then an error and not a SIGBUS, and
// the weights are repacked anyway. Format: https://github.com/huggingface/safetensors#format
#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace distilmt {

using Shape = std::vector<int64_t>;
std::string text(const Shape& shape);  // "[6000, 256]"

struct TensorEntry {
  std::string name;
  std::string dtype;  // F32, F16 and BF16 can be read; others may be in the file
  Shape shape;
  int64_t begin = 0, end = 0;  // bytes from the start of the file
};

class TensorFile {
 public:
  // Throws std::runtime_error when an entry contradicts itself or the file; so do the functions below.
  TensorFile(const std::string& path, const std::vector<TensorEntry>& entries);
  ~TensorFile();
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  bool contains(const std::string& name) const { return entries_.count(name) != 0; }
  // Throws when the tensor is missing, has another shape, or a type that is none of F32, F16 and BF16.
  std::vector<float> read(const std::string& name, const Shape& shape) const;

 private:
  int file_;
  std::unordered_map<std::string, TensorEntry> entries_;
};

// value of an IEEE half-precision number; exact.
float from_half(uint16_t bits);
// value of a bfloat16: the upper half of a float32; exact.
float from_bfloat16(uint16_t bits);

}  // namespace distilmt
