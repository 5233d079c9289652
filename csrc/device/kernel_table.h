// For those who link the kernels: the library `_cuda`, and the tests with the kernels compiled for the host.
#pragma once
#include "device/kernels.h"

extern "C" DistilmtMixTeachersFloat distilmt_mix_teachers_float;

namespace distilmt {

inline constexpr Kernels kKernels{
    distilmt_cuda_embed,          distilmt_cuda_layer_norm,       distilmt_cuda_epilogue,
    distilmt_cuda_quantise,       distilmt_cuda_dequantise,       distilmt_cuda_packed_attention,
    distilmt_cuda_tell_sentences, distilmt_cuda_keep_source,      distilmt_cuda_admit,
    distilmt_cuda_own_attention,  distilmt_cuda_source_attention, distilmt_mix_teachers_float,
    distilmt_cuda_set_aside,      distilmt_cuda_project_rows,     distilmt_cuda_cover,
    distilmt_cuda_beam,           distilmt_cuda_forced,           distilmt_cuda_draw,
    distilmt_cuda_sample,
};

}  // namespace distilmt
