// One vector of floats as wide as the instruction set being compiled; included by .isa.cpp files only.
//
// Arithmetic is GNU vector syntax (+ - * / and comparisons); what that lacks stands here. fma(a, b, c) is a * b + c,
// fused where the set has the instruction and two roundings where it has not; nothing else is ever fused
// (-ffp-contract=off).
#pragma once
#include <cstdint>
#include <cstring>

#include "kernels/bfloat16.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

typedef float vec __attribute__((vector_size(kWidth * 4)));
typedef int32_t ivec __attribute__((vector_size(kWidth * 4)));

#define DISTILMT_INLINE inline __attribute__((always_inline))

DISTILMT_INLINE vec load(const float* p) {
  vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

DISTILMT_INLINE void store(float* p, vec v) { std::memcpy(p, &v, sizeof v); }

DISTILMT_INLINE vec broadcast(float x) { return x - vec{}; }

// The first `count` floats at p (0 <= count < kWidth), and `fill` in the other lanes. Memory beyond them is not
// touched.
DISTILMT_INLINE vec load_part(const float* p, int64_t count, float fill) {
#if defined(__AVX512F__)
  return _mm512_mask_loadu_ps(broadcast(fill), static_cast<__mmask16>((1u << count) - 1), p);
#else
  vec v = broadcast(fill);
  for (int64_t c = 0; c < count; ++c) v[c] = p[c];
  return v;
#endif
}

DISTILMT_INLINE void store_part(float* p, int64_t count, vec v) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), v);
#else
  for (int64_t c = 0; c < count; ++c) p[c] = v[c];
#endif
}

// bfloat16: the upper half of a float32.
typedef uint16_t hvec __attribute__((vector_size(kWidth * 2)));
typedef uint32_t uvec __attribute__((vector_size(kWidth * 4)));

DISTILMT_INLINE vec widen(hvec v) {
#if defined(__AVX512F__)  // gcc makes four instructions of the conversion below
  return (vec)((ivec)_mm512_maskz_cvtepu16_epi32(static_cast<__mmask16>(-1), (__m256i)v) << 16);
#else
  return (vec)(__builtin_convertvector(v, uvec) << 16);
#endif
}

DISTILMT_INLINE vec load(const bfloat16* p) {
  hvec v;
  std::memcpy(&v, p, sizeof v);
  return widen(v);
}

DISTILMT_INLINE vec load_part(const bfloat16* p, int64_t count, float fill) {
  hvec v = hvec{} + bfloat16_bits(fill);
  for (int64_t c = 0; c < count; ++c) v[c] = p[c].bits;
  return widen(v);
}

// The first `count` lanes to the nearest bfloat16, ties to even; a NaN stays one.
DISTILMT_INLINE void narrow(vec x, int64_t count, bfloat16* out) {
  const uvec bits = (uvec)x;
  const uvec rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
  const hvec v = __builtin_convertvector(x == x ? rounded : (uvec)(ivec{} + 0x7fc0), hvec);
  std::memcpy(out, &v, static_cast<size_t>(count) * sizeof(bfloat16));
}

DISTILMT_INLINE vec fma(vec a, vec b, vec c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

DISTILMT_INLINE vec maximum(vec a, vec b) { return a > b ? a : b; }
DISTILMT_INLINE vec minimum(vec a, vec b) { return a < b ? a : b; }

// One bit per lane where a > b (false for NaN).
DISTILMT_INLINE unsigned greater_mask(vec a, vec b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ));
#else
  const ivec m = a > b;
  return (m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8);
#endif
}

// Sum of the lanes: halves are added until one is left, in this order always.
DISTILMT_INLINE float sum(vec v) {
#if defined(__AVX512F__)
  const auto y = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                 __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
#else
  const auto y = v;
#endif
#if defined(__AVX2__)
  const auto x = __builtin_shufflevector(y, y, 0, 1, 2, 3) + __builtin_shufflevector(y, y, 4, 5, 6, 7);
#else
  const auto x = y;
#endif
  return (x[0] + x[2]) + (x[1] + x[3]);
}

// Lane i is sum(v[i]), by the same additions: halves of pairs of vectors are added until one vector is left.
DISTILMT_INLINE vec sums(vec* v) {
#if defined(__AVX512F__)
  for (int i = 0; i < 8; ++i)
    v[i] =
        __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
        __builtin_shufflevector(v[2 * i], v[2 * i + 1], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  for (int i = 0; i < 4; ++i)
    v[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           __builtin_shufflevector(v[2 * i], v[2 * i + 1], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  for (int i = 0; i < 2; ++i)
    v[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
           __builtin_shufflevector(v[2 * i], v[2 * i + 1], 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
  return __builtin_shufflevector(v[0], v[1], 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(v[0], v[1], 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
  for (int i = 0; i < 4; ++i)
    v[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 1, 2, 3, 8, 9, 10, 11) +
           __builtin_shufflevector(v[2 * i], v[2 * i + 1], 4, 5, 6, 7, 12, 13, 14, 15);
  for (int i = 0; i < 2; ++i)
    v[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 1, 4, 5, 8, 9, 12, 13) +
           __builtin_shufflevector(v[2 * i], v[2 * i + 1], 2, 3, 6, 7, 10, 11, 14, 15);
  return __builtin_shufflevector(v[0], v[1], 0, 2, 4, 6, 8, 10, 12, 14) +
         __builtin_shufflevector(v[0], v[1], 1, 3, 5, 7, 9, 11, 13, 15);
#else
  for (int i = 0; i < 2; ++i)
    v[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 1, 4, 5) +
           __builtin_shufflevector(v[2 * i], v[2 * i + 1], 2, 3, 6, 7);
  return __builtin_shufflevector(v[0], v[1], 0, 2, 4, 6) + __builtin_shufflevector(v[0], v[1], 1, 3, 5, 7);
#endif
}

DISTILMT_INLINE float largest(vec v) {
#if defined(__AVX512F__)
  const auto y0 = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
  const auto y1 = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const auto y = y0 > y1 ? y0 : y1;
#else
  const auto y = v;
#endif
#if defined(__AVX2__)
  const auto x0 = __builtin_shufflevector(y, y, 0, 1, 2, 3), x1 = __builtin_shufflevector(y, y, 4, 5, 6, 7);
  const auto x = x0 > x1 ? x0 : x1;
#else
  const auto x = y;
#endif
  const float even = x[0] > x[2] ? x[0] : x[2], odd = x[1] > x[3] ? x[1] : x[3];
  return even > odd ? even : odd;
}

// 2^n p for whole n, p near 1: 0 below the range of floats, infinity above it.
DISTILMT_INLINE vec scale_by_power(vec p, vec n) {
#if defined(__AVX512F__)
  // The variant without a mask trips gcc's warning of uninitialised values; so below.
  return (vec)_mm512_maskz_scalef_ps(static_cast<__mmask16>(-1), (__m512)p, (__m512)n);
#else
  // 2^(n - 1) * 2: n reaches 128, whose exponent field alone would be infinity.
  const ivec field = (__builtin_convertvector(n, ivec) + 126) << 23;
  return n < -126.0f ? vec{} : n > 128.0f ? broadcast(__builtin_inff()) : p * (vec)field * 2.0f;
#endif
}

// The nearest whole number; |x| below 2^22.
DISTILMT_INLINE vec nearest(vec x) {
#if defined(__AVX512F__)
  return (vec)_mm512_maskz_roundscale_ps(static_cast<__mmask16>(-1), (__m512)x, 0);
#else
  const vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it leaves no bits below 1
  return (x + magic) - magic;
#endif
}

// e^x within 2 ulp; 0 for what is too small for a float (on some sets denormals, on others 0), infinity for what is too
// large; NaN stays NaN. x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts keeps r exact; polynomial of Cephes'
// expf (Moshier).
DISTILMT_INLINE vec exp(vec x) {
  // Bounds on n alone; the comparisons let a NaN pass.
  const vec low = broadcast(-105.0f), high = broadcast(90.0f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  const vec n = nearest(x * 1.44269504088896341f);
  const vec r = fma(n, broadcast(2.12194440e-4f), fma(n, broadcast(-0.693359375f), x));
  vec p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  return scale_by_power(fma(p, r * r, r + 1.0f), n);
}

// e^x for x <= 0: within 2e-7 (1 - x) of itself, and half the instructions of exp; up to 80 as near. -infinity gives 0,
// NaN stays NaN. 2^(n + f) with |f| <= 1/2; the polynomial has the least largest relative error of its degree, 7.5e-8.
DISTILMT_INLINE vec exp_below(vec x) {
  const vec y = x * 1.44269504088896341f;
#if defined(__AVX512F__)
  const vec low = broadcast(-160.0f);
  const vec bounded = (vec)_mm512_maskz_max_ps(static_cast<__mmask16>(-1), (__m512)low, (__m512)y);  // NaN in y passes
  const vec n = nearest(bounded);
#else
  const vec low = broadcast(-126.0f), magic = broadcast(12582912.0f);
  const vec bounded = low > y ? low : y, shifted = bounded + magic, n = shifted - magic;  // as `nearest`
#endif
  const vec f = bounded - n;
  vec p = broadcast(1.32765e-3f);
  p = fma(p, f, broadcast(9.67554e-3f));
  p = fma(p, f, broadcast(5.550713e-2f));
  p = fma(p, f, broadcast(2.402212e-1f));
  p = fma(p, f, broadcast(6.9314697e-1f));
  p = fma(p, f, broadcast(1.00000007f));
#if defined(__AVX512F__)
  return scale_by_power(p, n);
#else
  // n lies in the last bits of `shifted`: nine of them, moved to the exponent.
  return y < low ? vec{} : p * (vec)(((ivec)shifted << 23) + (127 << 23));
#endif
}

// ln x within 2 ulp; 0 gives -infinity, infinity itself, what is below 0 NaN. Denormals count as 0.
// x = 2^n m with sqrt(1/2) <= m < sqrt(2); polynomial of Cephes' logf (Moshier).
DISTILMT_INLINE vec log(vec x) {
  const vec tiny = broadcast(1.17549435e-38f), inf = broadcast(__builtin_inff());
  const ivec bits = (ivec)x;
  ivec exponent = ((bits >> 23) & 0xff) - 126;
  vec m = (vec)((bits & 0x007fffff) | 0x3f000000);  // in [1/2, 1)
  const ivec low = m < broadcast(0.707106781186547524f);
  exponent += low;  // a true lane is -1
  m = (low ? m + m : m) - 1.0f;
  const vec n = __builtin_convertvector(exponent, vec), s = m * m;
  vec p = broadcast(7.0376836292e-2f);
  p = fma(p, m, broadcast(-1.1514610310e-1f));
  p = fma(p, m, broadcast(1.1676998740e-1f));
  p = fma(p, m, broadcast(-1.2420140846e-1f));
  p = fma(p, m, broadcast(1.4249322787e-1f));
  p = fma(p, m, broadcast(-1.6668057665e-1f));
  p = fma(p, m, broadcast(2.0000714765e-1f));
  p = fma(p, m, broadcast(-2.4999993993e-1f));
  p = fma(p, m, broadcast(3.3333331174e-1f));
  p = p * m * s;
  p = fma(n, broadcast(-2.12194440e-4f), p);
  p = fma(s, broadcast(-0.5f), p);
  const vec y = fma(n, broadcast(0.693359375f), m + p);
  const vec ok = x < inf ? y : x + x;  // infinity and NaN stay
  return x < vec{} ? broadcast(__builtin_nanf("")) : x < tiny ? -inf : ok;
}

// erf(x) within 4 ulp: x P(x^2) / Q(x^2), saturated at |x| = 4. Coefficients of Eigen's and XLA's float erf.
DISTILMT_INLINE vec erf(vec x) {
  const vec limit = broadcast(4.0f);
  x = x > limit ? limit : x < -limit ? -limit : x;
  const vec s = x * x;
  vec p = broadcast(-2.72614225801306e-10f);
  p = fma(p, s, broadcast(2.77068142495902e-08f));
  p = fma(p, s, broadcast(-2.10102402082508e-06f));
  p = fma(p, s, broadcast(-5.69250639462346e-05f));
  p = fma(p, s, broadcast(-7.34990630326855e-04f));
  p = fma(p, s, broadcast(-2.95459980854025e-03f));
  p = fma(p, s, broadcast(-1.60960333262415e-02f));
  vec q = broadcast(-1.45660718464996e-05f);
  q = fma(q, s, broadcast(-2.13374055278905e-04f));
  q = fma(q, s, broadcast(-1.68282697438203e-03f));
  q = fma(q, s, broadcast(-7.37332916720468e-03f));
  q = fma(q, s, broadcast(-1.42647390514189e-02f));
  return x * p / q;
}

}  // namespace
}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
