// Residual add and layer normalisation of rows in one read; the norm is that of kernels/layer_norm.h:
//
//   s = x + added + bias;   y = (s - mean(s)) / sqrt(variance(s) + eps) * gamma + beta
//   post-norm: x = y, out = y      pre-norm: x = s, out = y
#pragma once
#include "cuda/storage.h"

namespace distilmt::cuda {

struct Norms {
  Storage storage;            // of added and out
  float* x;                   // [rows, d] the residual stream
  const void* added;          // [rows, d] what a sublayer gave, or null
  const float* bias;          // [d] of that sublayer's last product, or null
  const float *gamma, *beta;  // [d]
  float eps;
  bool pre_norm;
  int64_t rows, d;
  void* out;  // [rows, d] what the next product reads; null: x alone is wanted
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaLayerNorm(const distilmt::cuda::Norms* norms, void* stream);
DistilmtCudaLayerNorm distilmt_cuda_layer_norm;
}
