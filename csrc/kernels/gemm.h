// Matrix product with packed weights: c = activation(a w^T + bias) + residual; a, bias, residual and c are float32.
//
//   a [m, k], w [n, k] (row-major, as a Hugging Face Linear stores it), bias [n], residual [m, n], c [m, n]
//
// The numbers that are multiplied:
//   float32   as they are; every element of c is one chain of fused multiply-adds over k = 0, 1, 2 ...
//   bfloat16  both sides rounded to bfloat16, summed in float32.
//   int8      w[j] = scale_j * integers in [-127, 127], one scale per output channel; a[i] = scale_i * (bytes -
//   zero_i),
//             one scale and zero per row; the integers' sum is exact (int32, k up to 2^16), then one rounding to
//             float32.
//
// Row i of c depends on row i of a (and of residual) alone, bit for bit: whatever m is, whatever the other rows hold
// and whichever thread calls. (Instruction sets may differ in the last bits, and in int8 those below avx512_vnni have
// integers of 7 bits: see kWeightLevels in numbers.h.) A row of a that holds a NaN or an infinity gives a row of c
// without finite numbers, but for what an activation makes of it.
#pragma once
#include <cstdint>

#include "common/aligned.h"

namespace distilmt {

enum class Number { float32, bfloat16, int8 };

// gelu is x/2 (1 + erf(x / sqrt 2)), Hugging Face's "gelu"; silu is x sigmoid(x), Hugging Face's "silu" and "swish".
enum class Activation { none, relu, gelu, silu };

// Weights in the order in which the tiles of the active instruction set read them. A group is four bytes along k: one
// float32, two bfloat16 or four int8.
struct PackedView {
  Number number;
  int64_t n, k;
  int64_t groups;           // along k; a multiple of 16 but for float32, padded with zeros
  const uint32_t* data;     // [ceil(n / panel), groups, panel]; columns beyond n are zero
  const float* bias;        // [columns]: ceil(n / panel) * panel, -inf beyond n
  const float* scale;       // [columns] of int8
  const int32_t* integers;  // [columns] of int8: sum of a column's integers
};

// Packed once, shared read-only between threads.
struct PackedMatrix {
  Number number = Number::float32;
  int64_t n = 0, k = 0;
  int64_t panel = 0, groups = 0;
  Aligned<uint32_t> data;
  Aligned<float> bias, scale;
  Aligned<int32_t> integers;

  PackedView view() const { return {number, n, k, groups, data.get(), bias.get(), scale.get(), integers.get()}; }
};

// weight [n, k] row-major; bias [n], or null for zeros (-inf entries are allowed).
PackedMatrix pack(const float* weight, const float* bias, int64_t n, int64_t k, Number number = Number::float32);

// lda, ldr, ldc: distance between rows, in floats. residual may be null, and may be c itself (x += layer(y)); c must
// not overlap a. The residual is added after the activation. m, n and k may be 0.
void gemm(const float* a, int64_t lda, int64_t m, const PackedMatrix& w, Activation activation, const float* residual,
          int64_t ldr, float* c, int64_t ldc);

}  // namespace distilmt
