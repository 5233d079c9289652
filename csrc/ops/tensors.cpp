#include "ops/tensors.h"

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include "ops/cuda_library.h"

namespace distilmt::ops {

void addmm_(const Tensor& out, const Tensor& a, const Tensor& b, double scale) {
  const auto addmm_out = out.is_cuda() ? cuda_library().addmm_out : aoti_torch_cpu_addmm_out;
  STABLE_TORCH_ERROR_CODE_CHECK(addmm_out(out.get(), out.get(), a.get(), b.get(), 1.0, scale));
}

}  // namespace distilmt::ops
