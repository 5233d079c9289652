// Forced decoding on the device: the log-probability of each token of a given target, and of the end symbol behind it.
// One beam; the target is the sentence's prefix (Places), limit is 1. What is done goes to the results, one hypothesis
// of target and end symbol, whose score is left to the host, and its slot is free.
#pragma once
#include "cuda/slots.h"

namespace distilmt::cuda {

struct ForcedStep {
  Slots slots;  // beams = 1
  Places places;
  int32_t eos;
  const float* logits;  // [live, stride]
  int64_t stride;
  const float* bias;         // [vocab]
  const float* log_sum_exp;  // [live]
  SoftLabelMemory soft;      // as project_rows wrote them
  Results results;           // n_best = 1
  const void* hidden;        // [live, results.states.d] as the projection read it
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaForced(const distilmt::cuda::ForcedStep* step, void* stream);
DistilmtCudaForced distilmt_cuda_forced;
}
