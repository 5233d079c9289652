// The CUDA half, found at run time: our kernels in the library `_cuda`, and the two functions of libtorch_cuda that a
// CPU torch does not have. Nothing here is referenced by linkage, so the same `_ops` loads with any torch.
#pragma once
#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include "kernels/linear_kd.h"
#include "kernels/mix_teachers.h"

namespace distilmt::ops {

struct CudaLibrary {
  DistilmtLinearKDFloat* linear_kd_float;
  DistilmtLinearKDDouble* linear_kd_double;
  DistilmtMixTeachersFloat* mix_teachers_float;
  DistilmtMixTeachersDouble* mix_teachers_double;
  AOTITorchError (*current_stream)(int32_t device, void** stream);
  AOTITorchError (*addmm_out)(AtenTensorHandle out, AtenTensorHandle self, AtenTensorHandle a, AtenTensorHandle b,
                              double beta, double alpha);
};

// Throws where distilmt::load_cuda has not been called (distilmt/ops/__init__.py calls it where a device is present).
const CudaLibrary& cuda_library();

}  // namespace distilmt::ops
