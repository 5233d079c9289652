// Matrix product with packed weights: c = activation(a w^T + bias) + residual, float32.
//
//   a [m, k], w [n, k] (row-major, as a Hugging Face Linear stores it), bias [n], residual [m, n], c [m, n]
//
// Row i of c depends on row i of a (and of residual) alone, bit for bit: whatever m is, whatever the other rows hold
// and whichever thread calls. Every element is one chain of fused multiply-adds over k = 0, 1, 2 ..., in every tile
// shape. (Different instruction sets may differ in the last bits: the portable one has no fused multiply-add.)
#pragma once
#include <cstdint>

#include "common/aligned.h"

namespace distilmt {

// gelu is x/2 (1 + erf(x / sqrt 2)), Hugging Face's "gelu"; silu is x sigmoid(x), Hugging Face's "silu" and "swish".
enum class Activation { none, relu, gelu, silu };

// Weights in the order in which the tiles of the active instruction set read them, packed once, shared read-only
// between threads. data is [ceil(n / panel), k, panel]; columns beyond n have weight 0 and bias -inf.
struct PackedMatrix {
  int64_t n = 0, k = 0;
  int64_t panel = 0;
  Aligned<float> data;
  Aligned<float> bias;  // [ceil(n / panel) * panel]
};

// weight [n, k] row-major; bias [n], or null for zeros (-inf entries are allowed).
PackedMatrix pack(const float* weight, const float* bias, int64_t n, int64_t k);

// lda, ldr, ldc: distance between rows, in floats. residual may be null, and may be c itself (x += layer(y)); c must
// not overlap a. The residual is added after the activation. m, n and k may be 0.
void gemm(const float* a, int64_t lda, int64_t m, const PackedMatrix& w, Activation activation, const float* residual,
          int64_t ldr, float* c, int64_t ldc);

}  // namespace distilmt
