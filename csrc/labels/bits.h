// Numbers of few bits, one behind the other: the first in the lowest bits of the first byte.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

namespace distilmt {

// Digits of a number in base 2; 0 has none.
inline int bit_length(uint64_t value) {
  int bits = 0;
  for (; value > 0; value >>= 1) ++bits;
  return bits;
}

class BitWriter {
 public:
  void put(uint64_t value, int bits) {  // bits <= 32
    held_ |= value << count_;
    for (count_ += bits; count_ >= 8; count_ -= 8, held_ >>= 8) bytes_.push_back(static_cast<char>(held_ & 255));
  }
  // The bytes so far, the last one filled up with zero bits.
  std::string& finish() {
    if (count_ > 0) put(0, 8 - count_);
    return bytes_;
  }

 private:
  std::string bytes_;
  uint64_t held_ = 0;
  int count_ = 0;
};

class BitReader {
 public:
  BitReader(const uint8_t* data, size_t size) : next_(data), end_(data + size) {}

  uint32_t take(int bits) {  // bits <= 32
    for (; count_ < bits; count_ += 8) {
      if (next_ == end_) throw std::runtime_error("it ends too early");
      held_ |= static_cast<uint64_t>(*next_++) << count_;
    }
    const uint32_t value = static_cast<uint32_t>(held_ & ((uint64_t{1} << bits) - 1));
    held_ >>= bits;
    count_ -= bits;
    return value;
  }
  int64_t bits_left() const { return 8 * (end_ - next_) + count_; }
  // Goes on at the next whole byte and returns where that is. What is skipped must be zero.
  const uint8_t* align() {
    if (held_ != 0) throw std::runtime_error("bits are set where there should be none");
    count_ = 0;
    return next_;
  }

 private:
  const uint8_t* next_;
  const uint8_t* end_;
  uint64_t held_ = 0;
  int count_ = 0;  // bits held, fewer than 8 between two calls
};

}  // namespace distilmt
