// What follows a product and its library does not offer: x = activation(x + bias), in place.
#pragma once
#include "cuda/storage.h"
#include "kernels/gemm.h"  // Activation

namespace distilmt::cuda {

struct Epilogue {
  Storage storage;
  void* x;            // [rows, n], without gaps
  const float* bias;  // [n] or null
  Activation activation;
  int64_t rows, n;
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaEpilogue(const distilmt::cuda::Epilogue* epilogue, void* stream);
DistilmtCudaEpilogue distilmt_cuda_epilogue;
}
