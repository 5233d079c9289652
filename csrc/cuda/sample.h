// Sampling on the device, by the rules of engine/sampler.h: each row of a slot is a sample of its own, drawn from its
// row's distribution at a temperature, of the top_k best, of these the nucleus. The random numbers are those of
// engine/sampler.h. A draw from up to 128 best choices picks as the CPU does; one from a whole vocabulary, or from a
// nucleus wider than that, has the CPU's distribution but not its choice (there ids stand in rising order, those set
// aside between them, and a nucleus holds all equals of its last id).
//
// Two launches: `draw` for all rows, then `sample`, which keeps the tokens and lets sentences leave as beam.h does. A
// sample that has ended has the token -1.
#pragma once
#include "cuda/project_rows.h"

namespace distilmt::cuda {

struct Sampling {
  RowProjection rows;  // as project_rows did them: with choice_log_sum, 1 / temperature, by scores alone, k >= top_k
  Places places;       // with keys
  int32_t top_k;       // 0: all; at most kMostCandidates
  double top_p;        // 1: all
  int32_t forced_bos, forced_eos;  // -1: none
  const float* divisor;            // as in beam.h
  int32_t* drawn;                  // [live, beams] between the two launches
  float* drawn_log_prob;           // [live, beams]
  Results results;                 // n_best = beams, in the order of the samples
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaDraw(const distilmt::cuda::Sampling* sampling, void* stream);
typedef int DistilmtCudaSample(const distilmt::cuda::Sampling* sampling, void* stream);
DistilmtCudaDraw distilmt_cuda_draw;
DistilmtCudaSample distilmt_cuda_sample;
}
