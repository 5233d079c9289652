// Activations of kernels/gemm.h, of one number.
#pragma once
#include "cuda/device.cuh"
#include "kernels/gemm.h"

namespace distilmt::cuda {

__device__ inline float activate(float x, Activation activation) {
  switch (activation) {
    case Activation::none: return x;
    case Activation::relu: return x < 0 ? 0 : x;  // a NaN stays
    case Activation::gelu: return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
    case Activation::silu: return x / (1 + expf(-x));
  }
  return x;
}

}  // namespace distilmt::cuda
