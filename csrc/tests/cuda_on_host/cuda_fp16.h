// Stand-in for CUDA's half precision: the compiler's own.
#pragma once

struct __half {
  _Float16 x;
};
inline float __half2float(__half x) { return static_cast<float>(x.x); }
inline __half __float2half(float x) { return {static_cast<_Float16>(x)}; }
