// bfloat16 in memory: the upper half of a float32.
#pragma once
#include <cstdint>
#include <cstring>

#include "common/platform.h"

namespace distilmt {

struct bfloat16 {
  uint16_t bits;
};

// To the nearest, ties to even; a NaN stays one (its payload would round to infinity or beyond).
DISTILMT_HD uint16_t bfloat16_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<uint16_t>(x != x ? 0x7fc0u : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

}  // namespace distilmt
