// CUDA: one block; contract in choose_rows.h, algorithm in choose_rows_group.h.
#include "kernels/block.cuh"
#include "kernels/choose_rows_group.h"

namespace distilmt {
namespace {

template <class real>
__global__ void __launch_bounds__(kThreads) choose_rows_kernel(const ChooseRows<real> call) {
  DISTILMT_BLOCK(float, block);
  choose_rows_group(block, call);
}

}  // namespace
}  // namespace distilmt

DISTILMT_EXPORT int distilmt_choose_rows_float(const distilmt::ChooseRows<float>* call, void* stream) {
  return distilmt::launch(distilmt::choose_rows_kernel<float>, *call, 1, stream);
}

DISTILMT_EXPORT int distilmt_choose_rows_double(const distilmt::ChooseRows<double>* call, void* stream) {
  return distilmt::launch(distilmt::choose_rows_kernel<double>, *call, 1, stream);
}
