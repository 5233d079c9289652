// CUDA: a thread takes kTurns numbers, neighbouring threads neighbouring ones; contract in accumulate.h.
#include "kernels/accumulate.h"
#include "kernels/block.cuh"

namespace distilmt {
namespace {

constexpr int64_t kTurns = 16;

__global__ void __launch_bounds__(kThreads) accumulate_kernel(const Accumulate call) {
  const int64_t begin = int64_t(blockIdx.x) * kThreads * kTurns + threadIdx.x;
  for (int64_t i = begin; i < call.count && i < begin + kThreads * kTurns; i += kThreads)
    call.sum[i] += call.product[i];
}

}  // namespace
}  // namespace distilmt

DISTILMT_EXPORT int distilmt_accumulate(const distilmt::Accumulate* call, void* stream) {
  constexpr int64_t share = distilmt::kThreads * distilmt::kTurns;
  return distilmt::launch(distilmt::accumulate_kernel, *call, (call->count + share - 1) / share, stream);
}
