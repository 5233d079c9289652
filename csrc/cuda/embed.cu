// A thread per column; contract in embed.h.
#include "cuda/device.cuh"
#include "cuda/embed.h"

namespace distilmt::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) embed_kernel(const Embedding e) {
  const auto [row, c] = element(e.d);
  if (c >= e.d) return;
  const int64_t owner = e.live ? e.live[row / e.beams] : row;
  const int32_t id = owner < 0 ? -1 : e.ids[owner * e.beams + row % e.beams];
  float x = 0;
  if (id >= 0) {
    const float token = number(static_cast<const T*>(e.table)[id * e.d + c]);
    x = __fadd_rn(__fmul_rn(e.scale, token), e.positions[e.at[owner] * e.d + c]);  // two roundings
  }
  e.x[row * e.d + c] = x;
  if (e.out) store(static_cast<T*>(e.out) + row * e.d + c, x);
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_embed(const distilmt::cuda::Embedding* e, void* stream) {
  using namespace distilmt::cuda;
  return with_storage(e->storage, [&](auto number) {
    return launch_elements(embed_kernel<decltype(number)>, *e, e->rows, e->d, stream);
  });
}
