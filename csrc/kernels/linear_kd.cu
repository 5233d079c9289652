// CUDA rows: one block per row; formula in linear_kd.h, algorithm in linear_kd_row.h.
#include "kernels/block.cuh"
#include "kernels/linear_kd_row.h"

namespace distilmt {
namespace {

template <class number>
__global__ void __launch_bounds__(kThreads) linear_kd_kernel(const LinearKDRows<number> rows) {
  DISTILMT_BLOCK(number, block);
  linear_kd_row(block, rows, int64_t(blockIdx.x));
}

}  // namespace
}  // namespace distilmt

DISTILMT_EXPORT int distilmt_linear_kd_float(const distilmt::LinearKDRows<float>* rows, void* stream) {
  return distilmt::launch(distilmt::linear_kd_kernel<float>, *rows, rows->rows, stream);
}

DISTILMT_EXPORT int distilmt_linear_kd_double(const distilmt::LinearKDRows<double>* rows, void* stream) {
  return distilmt::launch(distilmt::linear_kd_kernel<double>, *rows, rows->rows, stream);
}
