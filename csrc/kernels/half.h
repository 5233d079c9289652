// Numbers in memory that are computed in float, and those that stay what they are.
#pragma once
#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

#include "kernels/bfloat16.h"

namespace distilmt {

#ifdef __CUDACC__
using float16 = __half;
DISTILMT_HD float to_number(float16 x) { return __half2float(x); }
DISTILMT_HD void put(float16* p, float x) { *p = __float2half(x); }
#else
using float16 = _Float16;
DISTILMT_HD float to_number(float16 x) { return float(x); }
DISTILMT_HD void put(float16* p, float x) { *p = float16(x); }
#endif

DISTILMT_HD float to_number(bfloat16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}
DISTILMT_HD void put(bfloat16* p, float x) { p->bits = bfloat16_bits(x); }

DISTILMT_HD float to_number(float x) { return x; }
DISTILMT_HD double to_number(double x) { return x; }
DISTILMT_HD void put(float* p, float x) { *p = x; }
DISTILMT_HD void put(double* p, double x) { *p = x; }

}  // namespace distilmt
