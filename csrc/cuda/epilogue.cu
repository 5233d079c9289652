// A thread per element; contract in epilogue.h.
#include "cuda/activate.cuh"
#include "cuda/epilogue.h"

namespace distilmt::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) epilogue_kernel(const Epilogue e) {
  const auto [row, column] = element(e.n);
  if (column >= e.n) return;
  T* x = static_cast<T*>(e.x) + row * e.n + column;
  store(x, activate(number(*x) + (e.bias ? e.bias[column] : 0), e.activation));
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_epilogue(const distilmt::cuda::Epilogue* e, void* stream) {
  using namespace distilmt::cuda;
  return with_storage(e->storage, [&](auto number) {
    return launch_elements(epilogue_kernel<decltype(number)>, *e, e->rows, e->n, stream);
  });
}
