// Beam search on the device: one step of the sentence in each slot, by the rules of engine/beam.h, to the bit
// (kernels/beam_step.h is both). With beams = 1 it is greedy. While a slot stands in its prefix, the next token is the
// prefix's. What is done goes to the results, and its slot is free.
#pragma once
#include "cuda/coverage.h"
#include "cuda/project_rows.h"
#include "kernels/beam_step.h"

namespace distilmt::cuda {

struct BeamSearch {
  Slots slots;
  Places places;
  BeamRule rule;                   // width = beams, at most 64
  int32_t forced_bos, forced_eos;  // -1: none
  int32_t start;                   // fills up where a vocabulary leaves fewer choices
  const float* divisor;            // [max_length + 2] of a sum by its length (length_divisor); for all sentences
  int32_t k;                       // of a row of choices; the search reads the first 2 * beams (1 where greedy)
  const Choice* choices;           // [live, beams, k] as project_rows wrote them, by summed scores
  const float* log_sum_exp;        // [live, beams]
  SoftLabelMemory soft;            // as project_rows wrote them
  Results results;
  float coverage_penalty;  // weight of what finished hypotheses have not looked at
  Coverage coverage;       // as cover wrote it
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaBeam(const distilmt::cuda::BeamSearch* search, void* stream);
DistilmtCudaBeam distilmt_cuda_beam;
}
