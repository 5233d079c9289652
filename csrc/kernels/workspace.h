// Temporary memory of one kernel call: belongs to the calling thread, grows to the largest call and stays until the
// thread ends. Kernels do not call each other's entry points, so one block per thread is enough.
#pragma once
#include <cstdint>

namespace distilmt {

// At least `floats` floats, 64-byte aligned, contents undefined; valid until this thread's next call.
float* workspace(int64_t floats);

}  // namespace distilmt
