// CUDA rows: one block per row; formula in mix_teachers.h.
#include "kernels/block.cuh"
#include "kernels/mix_teachers_row.h"

namespace distilmt {
namespace {

template <class number>
__global__ void __launch_bounds__(kThreads) mix_teachers_kernel(const MixedRows<number> rows) {
  DISTILMT_BLOCK(number, block);
  mix_teachers_row(block, rows, int64_t(blockIdx.x));
}

}  // namespace
}  // namespace distilmt

DISTILMT_EXPORT int distilmt_mix_teachers_float(const distilmt::MixedRows<float>* rows, void* stream) {
  return distilmt::launch(distilmt::mix_teachers_kernel<float>, *rows, rows->rows, stream);
}

DISTILMT_EXPORT int distilmt_mix_teachers_double(const distilmt::MixedRows<double>* rows, void* stream) {
  return distilmt::launch(distilmt::mix_teachers_kernel<double>, *rows, rows->rows, stream);
}
