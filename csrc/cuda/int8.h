// The two sides of an int8 product whose integers a library multiplies: both operands symmetric.
//
//   quantise     scale[i] = max |x[i]| / 127;   integers[i] = round(x[i] / scale[i]), ties to even
//   dequantise   out[i, j] = activation(sums[i, j] * (scale[i] * weight_scale[j]) + bias[j])
//
// A row that holds a NaN or an infinity gets the scale NaN (and zeros), so its products are not finite. A row of zeros
// gets the scale 0.
#pragma once
#include "cuda/storage.h"
#include "kernels/gemm.h"  // Activation

namespace distilmt::cuda {

struct Quantising {
  Storage storage;
  const void* x;  // [rows, k]
  int64_t rows, k;
  int8_t* integers;  // [rows, k]
  float* scale;      // [rows]
};

struct Dequantising {
  Storage storage;            // of out
  const int32_t* sums;        // [rows, n]
  const float* scale;         // [rows]
  const float* weight_scale;  // [n]
  const float* bias;          // [n] or null
  Activation activation;
  int64_t rows, n;
  void* out;  // [rows, n]
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaQuantise(const distilmt::cuda::Quantising* quantising, void* stream);
typedef int DistilmtCudaDequantise(const distilmt::cuda::Dequantising* dequantising, void* stream);
DistilmtCudaQuantise distilmt_cuda_quantise;
DistilmtCudaDequantise distilmt_cuda_dequantise;
}
