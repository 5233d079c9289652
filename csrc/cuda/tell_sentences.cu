// A thread per entry; contract in attention.h.
#include "cuda/attention.h"
#include "cuda/device.cuh"

namespace distilmt::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) tell_sentences_kernel(const SentenceTable t) {
  const int64_t s = element(t.entries).column;
  if (s >= t.entries) return;
  const int64_t begin = t.begin[s < t.sentences ? s : t.sentences];
  t.table[s] = static_cast<int32_t>(s < t.sentences ? t.begin[s + 1] - begin : 0);
  t.table[t.entries + s] = static_cast<int32_t>(3 * t.d * begin);
  t.table[2 * t.entries + s] = static_cast<int32_t>(t.d * begin);
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_tell_sentences(const distilmt::cuda::SentenceTable* t, void* stream) {
  using namespace distilmt::cuda;
  return launch_elements(tell_sentences_kernel, *t, 1, t->entries, stream);
}
