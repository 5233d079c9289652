// A thread per element; contract in epilogue.h.
#include "cuda/activate.cuh"
#include "cuda/epilogue.h"

namespace distilmt::cuda {
namespace {

template <class T>
__global__ void epilogue_kernel(const Epilogue e) {
  const int64_t i = global_thread();
  if (i >= e.rows * e.n) return;
  T* x = static_cast<T*>(e.x) + i;
  store(x, activate(number(*x) + (e.bias ? e.bias[i % e.n] : 0), e.activation));
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_epilogue(const distilmt::cuda::Epilogue* e, void* stream) {
  using namespace distilmt::cuda;
  return with_storage(e->storage, [&](auto number) {
    return launch_elements(epilogue_kernel<decltype(number)>, *e, e->rows * e->n, stream);
  });
}
