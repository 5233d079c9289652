// What numbers are kept as on a device; all arithmetic on them is float32.
//
// The kernels of this folder take one struct of device pointers and a stream (cudaStream_t as void*), start, and return
// the cudaError_t of the launch. None allocates, waits, or asks how many sentences are at work: what is free is marked
// in device memory (a token or a position of -1), so a captured step of slots * beams rows stays valid. A row's numbers
// depend on that row alone, bit for bit.
#pragma once
#include <cstdint>

#include "common/platform.h"

namespace distilmt::cuda {

enum class Storage : int32_t { float32, float16, bfloat16 };

DISTILMT_HD int64_t bytes(Storage storage) { return storage == Storage::float32 ? 4 : 2; }

}  // namespace distilmt::cuda
