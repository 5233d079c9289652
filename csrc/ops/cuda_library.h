// The CUDA half, found at run time: our kernels in the library `_cuda`, and the two functions of libtorch_cuda that a
// CPU torch does not have. Nothing here is referenced by linkage, so the same `_ops` loads with any torch.
#pragma once
#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include "kernels/accumulate.h"
#include "kernels/choose_rows.h"
#include "kernels/linear_kd.h"
#include "kernels/mix_teachers.h"
#include "ops/tensors.h"

namespace distilmt::ops {

struct CudaLibrary {
  DistilmtLinearKDFloat* linear_kd_float;
  DistilmtLinearKDDouble* linear_kd_double;
  DistilmtLinearKDBFloat16* linear_kd_bfloat16;
  DistilmtLinearKDFloat16* linear_kd_float16;
  DistilmtMixTeachersFloat* mix_teachers_float;
  DistilmtMixTeachersDouble* mix_teachers_double;
  DistilmtChooseRowsFloat* choose_rows_float;
  DistilmtChooseRowsDouble* choose_rows_double;
  DistilmtAccumulate* accumulate;
  AOTITorchError (*current_stream)(int32_t device, void** stream);
  AOTITorchError (*addmm_out)(AtenTensorHandle out, AtenTensorHandle self, AtenTensorHandle a, AtenTensorHandle b,
                              double beta, double alpha);
};

// Throws where distilmt::load_cuda has not been called (distilmt/ops/__init__.py calls it where a device is present).
const CudaLibrary& cuda_library();

// The stream of a CUDA tensor's device that torch uses now.
void* current_stream(const Tensor& like);

// Throws where a launch has failed.
void check_launch(int error);

}  // namespace distilmt::ops
