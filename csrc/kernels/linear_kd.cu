// CUDA rows: one block per row; formula in linear_kd.h, algorithm in linear_kd_row.h.
#include "kernels/block.cuh"
#include "kernels/linear_kd_row.h"

namespace distilmt {
namespace {

template <int kDense, class number, class storage>
__global__ void __launch_bounds__(kThreads) linear_kd_kernel(const LinearKDRows<number, storage> rows) {
  DISTILMT_BLOCK(number, block);
  linear_kd_row<kDense>(block, rows, int64_t(blockIdx.x));
}

template <class number, class storage>
int launch_rows(const LinearKDRows<number, storage>& rows, void* stream) {
  return many_dense(rows) ? launch(linear_kd_kernel<kMaxTerms, number, storage>, rows, stream)
                          : launch(linear_kd_kernel<1, number, storage>, rows, stream);
}

}  // namespace
}  // namespace distilmt

DISTILMT_EXPORT int distilmt_linear_kd_float(const distilmt::LinearKDRows<float>* rows, void* stream) {
  return distilmt::launch_rows(*rows, stream);
}

DISTILMT_EXPORT int distilmt_linear_kd_double(const distilmt::LinearKDRows<double>* rows, void* stream) {
  return distilmt::launch_rows(*rows, stream);
}

DISTILMT_EXPORT int distilmt_linear_kd_bfloat16(const distilmt::LinearKDRows<float, distilmt::bfloat16>* rows,
                                                void* stream) {
  return distilmt::launch_rows(*rows, stream);
}

DISTILMT_EXPORT int distilmt_linear_kd_float16(const distilmt::LinearKDRows<float, distilmt::float16>* rows,
                                               void* stream) {
  return distilmt::launch_rows(*rows, stream);
}
