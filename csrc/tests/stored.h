// Arrays as a device holds them, for tests of its kernels.
#pragma once
#include <cstring>
#include <vector>

#include "cuda/storage.h"
#include "kernels/bfloat16.h"

namespace distilmt::test {

using cuda::Storage;

constexpr Storage kStorages[] = {Storage::float32, Storage::float16, Storage::bfloat16};

// Half a unit in the last place, relative.
inline double rounding(Storage storage) {
  return storage == Storage::float32 ? 6e-8 : storage == Storage::float16 ? 4.9e-4 : 3.95e-3;
}

class Stored {
 public:
  Stored(Storage storage, const std::vector<float>& x) : storage_(storage), bytes_(x.size() * cuda::bytes(storage)) {
    for (size_t i = 0; i < x.size(); ++i) {
      if (storage == Storage::float32) put(i, x[i]);
      if (storage == Storage::float16) put(i, static_cast<_Float16>(x[i]));
      if (storage == Storage::bfloat16) put(i, bfloat16_bits(x[i]));
    }
  }
  Stored(Storage storage, size_t count) : Stored(storage, std::vector<float>(count, NAN)) {}

  void* data() { return bytes_.data(); }
  std::vector<float> numbers() const {
    std::vector<float> x(bytes_.size() / cuda::bytes(storage_));
    for (size_t i = 0; i < x.size(); ++i) {
      if (storage_ == Storage::float32) x[i] = get<float>(i);
      if (storage_ == Storage::float16) x[i] = static_cast<float>(get<_Float16>(i));
      if (storage_ == Storage::bfloat16) {
        const uint32_t bits = uint32_t{get<uint16_t>(i)} << 16;
        std::memcpy(&x[i], &bits, sizeof bits);
      }
    }
    return x;
  }

 private:
  template <class T>
  void put(size_t i, T x) {
    std::memcpy(bytes_.data() + i * sizeof x, &x, sizeof x);
  }
  template <class T>
  T get(size_t i) const {
    T x;
    std::memcpy(&x, bytes_.data() + i * sizeof x, sizeof x);
    return x;
  }

  Storage storage_;
  std::vector<unsigned char> bytes_;  // aligned for a pack of 16 bytes, as operator new aligns
};

}  // namespace distilmt::test
