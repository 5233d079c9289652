#include "kernels/workspace.h"

#include "common/aligned.h"

namespace distilmt {

float* workspace(int64_t floats) {
  thread_local Aligned<float> block;
  thread_local int64_t size = 0;
  if (floats > size) {
    block.reset();
    size = 0;  // stays true if the next line throws
    block = aligned<float>(floats);
    size = floats;
  }
  return block.get();
}

}  // namespace distilmt
