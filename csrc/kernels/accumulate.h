// sum += product: what torch's matrix products lack for a float32 sum of products of half precision. CUDA alone.
#pragma once
#include <cstdint>

namespace distilmt {

struct Accumulate {
  float* sum;            // [count]
  const float* product;  // [count]
  int64_t count;
};

}  // namespace distilmt

// On the CUDA stream (cudaStream_t) given; in the library `_cuda`. Returns the cudaError_t of the launch.
extern "C" {
typedef int DistilmtAccumulate(const distilmt::Accumulate* call, void* stream);
}
