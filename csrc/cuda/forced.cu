// A block per slot; contract in forced.h.
#include "cuda/device.cuh"
#include "cuda/forced.h"
#include "cuda/results.cuh"

namespace distilmt::cuda {
namespace {

constexpr int kForcedThreads = 32;

__global__ void __launch_bounds__(kForcedThreads) forced_kernel(const ForcedStep f) {
  const Slots& s = f.slots;
  const int64_t i = blockIdx.x, slot = s.live[i];
  if (slot >= 0) {
    const int64_t place = s.place[slot];
    const int position = s.position[slot], length = f.places.prefix_length[place];
    const bool end = position == length;
    const int32_t token = end ? f.eos : f.places.prefix_tokens[f.places.prefix_begin[place] + position];
    const Finishing out{s, f.soft, f.results, slot, place, 0};
    if (f.results.states.states) {
      const int64_t pairs = f.results.states.d * bytes(f.results.states.storage) / 2;  // of bytes
      const uint16_t* from = static_cast<const uint16_t*>(f.hidden) + i * pairs;
      uint16_t* to = static_cast<uint16_t*>(f.results.states.states) + (place * f.results.positions + position) * pairs;
      for (int64_t c = threadIdx.x; c < pairs; c += blockDim.x) to[c] = from[c];
    }
    __syncthreads();  // all have read the position
    if (threadIdx.x == 0) {
      const int64_t at = place * f.results.positions + position;
      f.results.tokens[at] = token;
      f.results.log_probs[at] = f.logits[i * f.stride + token] + f.bias[token] - f.log_sum_exp[i];
      f.results.length[place] = position + 1;
      s.tokens[slot] = token;
      s.position[slot] = position + 1;
    }
    __syncthreads();
    if (!isfinite(f.log_sum_exp[i])) {
      out.leave(Leaving::not_finite);
    } else if (end) {
      if (f.soft.k > 0) out.copy_soft_labels(0);
      out.leave(Leaving::done, 1);
    }
  }
  publish(f.results);
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_forced(const distilmt::cuda::ForcedStep* f, void* stream) {
  using namespace distilmt::cuda;
  return distilmt::launch(forced_kernel, *f, f->slots.launched, stream, kForcedThreads);
}
