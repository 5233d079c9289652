// Stand-in for CUDA's bfloat16.
#pragma once
#include <cstring>

#include "kernels/bfloat16.h"

struct __nv_bfloat16 {
  distilmt::bfloat16 x;
};
inline float __bfloat162float(__nv_bfloat16 x) {
  const unsigned bits = static_cast<unsigned>(x.x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}
inline __nv_bfloat16 __float2bfloat16(float x) { return {{distilmt::bfloat16_bits(x)}}; }
