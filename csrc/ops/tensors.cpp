#include "ops/tensors.h"

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include "ops/cuda_library.h"

namespace distilmt::ops {

void addmm_(const Tensor& out, const Tensor& a, const Tensor& b, double scale) {
  const auto addmm_out = out.is_cuda() ? cuda_library().addmm_out : aoti_torch_cpu_addmm_out;
  STABLE_TORCH_ERROR_CODE_CHECK(addmm_out(out.get(), out.get(), a.get(), b.get(), 1.0, scale));
}

void add_product_(const Tensor& out, const Tensor& a, const Tensor& b, OptionalTensor& scratch, bool exact) {
  const ScalarType dtype = out.scalar_type();
  if (a.scalar_type() == dtype) return addmm_(out, a, b);
  constexpr int64_t kRows = 4096;  // of some hundred columns: 16 MiB, which stay in the second-level cache of a GPU
  for (int64_t begin = 0; begin < out.size(0); begin += kRows) {
    const int64_t rows = std::min(kRows, out.size(0) - begin);
    const Tensor part = rows_of(out, begin, rows), factor = rows_of(a, begin, rows);
    if (!out.is_cuda() && exact) {
      addmm_(part, torch::stable::to(factor, dtype), torch::stable::to(b, dtype));
      continue;
    }
    if (!out.is_cuda()) {
      const Tensor product = torch::stable::to(mm(factor, b), dtype);
      float* const sum = data<float>(part);
      const float* const summand = data<float>(product);
      torch::stable::parallel_for(0, product.numel(), 1 << 14, [&](int64_t from, int64_t end) {
        for (int64_t i = from; i < end; ++i) sum[i] += summand[i];
      });
      continue;
    }
    if (!scratch) scratch = torch::stable::new_empty(out, {rows, out.size(1)});
    const Tensor product = rows_of(*scratch, 0, rows);
    mm_out(product, factor, b);
    const Accumulate call{data<float>(part), data<float>(product), rows * out.size(1)};
    check_launch(cuda_library().accumulate(&call, current_stream(out)));
  }
}

}  // namespace distilmt::ops
