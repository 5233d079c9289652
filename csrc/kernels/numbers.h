// The numbers a matrix product can work on, each a struct of the same four things: how a row of float32 is packed, the
// dot product of two groups (four bytes along k), the rows of a tile, and the float32 a finished sum stands for.
// Included by .isa.cpp files only.
//
// Packed rows lie in chunks of 16 groups, [groups / 16][rows][16], so that every address in a tile's inner loop is one
// pointer plus a constant, and rows 8 KiB apart do not fight for one cache set.
#pragma once
#include "kernels/gemm.h"
#include "kernels/simd.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

constexpr int kPanel = 2 * kWidth;  // columns of a tile: two vectors
constexpr int kChunk = 16;          // groups of a chunk: 64 bytes

DISTILMT_INLINE int64_t padded(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

DISTILMT_INLINE ivec load_integers(const void* p) {
  ivec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// The first `count` floats at p, at most kWidth, and zeros.
DISTILMT_INLINE vec load_up_to(const float* p, int64_t count) {
  return count < kWidth ? load_part(p, count, 0.0f) : load(p);
}

DISTILMT_INLINE ivec broadcast_group(uint32_t group) { return static_cast<int32_t>(group) - ivec{}; }

// Of one packed row of int8: a = scale * (byte - zero).
struct RowScale {
  float scale;
  int32_t zero;
};

// Rows of a tile: what leaves registers for two weights and one broadcast, of 32 or 16, and for the temporaries of a
// dot product that is no single instruction.
#if defined(__AVX512F__)
constexpr int kTall = 14, kShort = 12;
#elif defined(__AVX2__)
constexpr int kTall = 6, kShort = 4;
#else
constexpr int kTall = 4, kShort = 4;
#endif

struct Float32 {
  using Sum = vec;
  static constexpr int kRows = kTall;
  static constexpr int64_t kPerGroup = 1;

  static DISTILMT_INLINE Sum dot(ivec x, ivec w, Sum sum) { return fma((vec)x, (vec)w, sum); }

  // The sums of one row and vector of columns, as float32.
  static DISTILMT_INLINE vec value(const uint32_t* sums, const RowScale&, const PackedView&, int64_t) {
    return load(reinterpret_cast<const float*>(sums));
  }

  // One row of k floats; `step` groups lie between its chunks. What pads the last chunk is never read.
  static void pack_row(const float* a, int64_t k, uint32_t* packed, int64_t step, RowScale*) {
    for (; k > 0; k -= kChunk, a += kChunk, packed += step)
      std::memcpy(packed, a, sizeof(float) * static_cast<size_t>(k < kChunk ? k : kChunk));
  }
};

struct BFloat16 {
  using Sum = vec;
  static constexpr int64_t kPerGroup = 2;
#if defined(__AVX512BF16__)
  static constexpr int kRows = kTall;
  static DISTILMT_INLINE Sum dot(ivec x, ivec w, Sum sum) {
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)w);
  }
#else
  static constexpr int kRows = kShort;
  static DISTILMT_INLINE Sum dot(ivec x, ivec w, Sum sum) {
    const ivec high = broadcast_group(0xffff0000u);
    return fma((vec)(x & high), (vec)(w & high), fma((vec)(x << 16), (vec)(w << 16), sum));
  }
#endif

  static DISTILMT_INLINE vec value(const uint32_t* sums, const RowScale& row, const PackedView& w, int64_t column) {
    return Float32::value(sums, row, w, column);
  }

  static void pack_row(const float* a, int64_t k, uint32_t* packed, int64_t step, RowScale*) {
    for (; k > 0; k -= 2 * kChunk, a += 2 * kChunk, packed += step) {
#if defined(__AVX512BF16__)
      if (k >= 2 * kChunk) {
        const auto both = _mm512_cvtne2ps_pbh((__m512)load(a + kChunk), (__m512)load(a));
        std::memcpy(packed, &both, sizeof both);
        continue;
      }
#endif
      const int64_t whole = k / 2 < kChunk ? k / 2 : kChunk;
      for (int64_t g = 0; g < whole; ++g)
        packed[g] = bfloat16_bits(a[2 * g]) | static_cast<uint32_t>(bfloat16_bits(a[2 * g + 1])) << 16;
      for (int64_t g = whole; g < kChunk; ++g) packed[g] = 0;
      if (whole < kChunk && k % 2) packed[whole] = bfloat16_bits(a[k - 1]);
    }
  }
};

struct Int8 {
  using Sum = ivec;
  static constexpr int64_t kPerGroup = 4;
#if defined(__AVX512VNNI__)
  static constexpr int kRows = kTall;
  static DISTILMT_INLINE Sum dot(ivec x, ivec w, Sum sum) {
    return (ivec)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
  }
#elif defined(__AVX512F__)
  static constexpr int kRows = kShort;
  static DISTILMT_INLINE Sum dot(ivec x, ivec w, Sum sum) {
    const __m512i pairs = _mm512_maddubs_epi16((__m512i)x, (__m512i)w);
    return sum + (ivec)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
  }
#elif defined(__AVX2__)
  static constexpr int kRows = kShort;
  static DISTILMT_INLINE Sum dot(ivec x, ivec w, Sum sum) {
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)x, (__m256i)w);
    return sum + (ivec)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  }
#else
  static constexpr int kRows = kShort;
  static DISTILMT_INLINE Sum dot(ivec x, ivec w, Sum sum) {
    sum += (x & 255) * ((w << 24) >> 24);
    sum += (x >> 8 & 255) * ((w << 16) >> 24);
    sum += (x >> 16 & 255) * ((w << 8) >> 24);
    return sum + (x >> 24 & 255) * (w >> 24);
  }
#endif

  static DISTILMT_INLINE vec value(const uint32_t* sums, const RowScale& row, const PackedView& w, int64_t column) {
    const ivec exact = load_integers(sums) - load_integers(w.integers + column) * row.zero;
    return __builtin_convertvector(exact, vec) * (load(w.scale + column) * row.scale);
  }

  // Bytes 0 ... 255 span the row's smallest to its largest number, 0 among them: rows without negative numbers, as relu
  // leaves them, lose no bit to the sign.
  static void pack_row(const float* a, int64_t k, uint32_t* packed, int64_t step, RowScale* row) {
    vec low = {}, high = {}, zero = {};
    for (int64_t c = 0; c < k; c += kWidth) {
      const vec x = load_up_to(a + c, k - c);
      low = minimum(x, low);
      high = maximum(x, high);
      zero = fma(x, vec{}, zero);  // NaN where x is not finite
    }
    // Beyond these bounds the quotients below would not be numbers; a row so small is all zeros.
    const float range = largest(high) + largest(-low);
    const float inverse = range > 1e-30f && range < 1e30f ? 255.0f / range : 0.0f;
    row->zero = inverse > 0 ? static_cast<int32_t>(largest(-low) * inverse + 0.5f) : 0;
    row->scale = range < 1e30f ? range / 255.0f + sum(zero) : __builtin_nanf("");
    const vec shift = broadcast(static_cast<float>(row->zero) + 0.5f);
    uint8_t bytes[4 * kChunk];
    for (; k > 0; k -= 4 * kChunk, a += 4 * kChunk, packed += step) {
      if (k < 4 * kChunk) std::memset(bytes, 0, sizeof bytes);
      for (int64_t c = 0; c < 4 * kChunk && c < k; c += kWidth)
        to_bytes(fma(load_up_to(a + c, k - c), broadcast(inverse), shift), bytes + c);
      std::memcpy(packed, bytes, sizeof bytes);
    }
  }

  // Truncates to integers, held to 0 ... 255.
  static DISTILMT_INLINE void to_bytes(vec x, uint8_t* bytes) {
    const vec held = minimum(maximum(x, vec{}), broadcast(255.0f));
    const ivec integers = __builtin_convertvector(held, ivec);
#if defined(__AVX512F__)
    // The variant without a mask trips gcc's warning of uninitialised values.
    const __m128i narrow = _mm512_maskz_cvtepi32_epi8(static_cast<__mmask16>(-1), (__m512i)integers);
    std::memcpy(bytes, &narrow, sizeof narrow);
#else
    for (int c = 0; c < kWidth; ++c) bytes[c] = static_cast<uint8_t>(integers[c]);
#endif
  }
};

// Largest absolute integer of a weight: without an instruction for four products at once, two of them meet in 16 bits,
// and 2 * 255 * 64 is the most that fits.
#if defined(__AVX2__) && !defined(__AVX512VNNI__)
constexpr float kWeightLevels = 64.0f;
#else
constexpr float kWeightLevels = 127.0f;
#endif

}  // namespace
}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
