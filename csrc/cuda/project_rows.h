// What a search needs of rows of logits, each logit read once: log-sum-exp, the k best free ids; and, where asked for,
// soft labels, for which a row is read again while it lies in a near cache. Definitions as in kernels/project.h:
//
//   logit[i, v] = logits[i, v] + bias[v];   log p(v | row i) = logit[i, v] - log_sum_exp[i]
//
// Best first, ties to the lower id. An id whose logit is -inf is no candidate; where fewer than k remain, the rest is
// {-inf, -1}. Banned ids, and the end symbol while a slot has fewer than min_length tokens, are no candidates but count
// in log_sum_exp and soft labels. A row that holds a NaN or +inf, or nothing but -inf, has a log_sum_exp that is not
// finite. Rows of nobody are left as they are.
#pragma once
#include "cuda/slots.h"
#include "kernels/project.h"  // Candidate

namespace distilmt::cuda {

constexpr int32_t kMostCandidates = 128;
constexpr int32_t kMostBanned = 1024;  // where soft labels are asked for

struct RowProjection {
  Storage storage;
  const void* logits;  // [live, beams, stride], 16-byte aligned
  int64_t stride;      // a multiple of 8; columns from vocab on are not looked at
  int64_t vocab;
  const float* bias;          // [vocab] or null
  const uint8_t* banned;      // bit v % 8 of byte v / 8, [ceil(vocab / 8)], or null
  const int32_t* banned_ids;  // the same, ascending; for soft labels
  int32_t banned_count;
  int32_t min_length, eos;
  Slots slots;
  const int32_t* prefix_length;  // [places]
  int32_t k;                     // 1 to kMostCandidates, at least the soft labels'
  Candidate* top;                // [live, beams, k]
  float* log_sum_exp;            // [live, beams]
  float* free_log_sum;           // [live, beams] of exp(logit * inverse_temperature) over the free ids, or null
  float inverse_temperature;
  SoftLabelMemory soft;  // [slots, positions, beams], written at each slot's position
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaProjectRows(const distilmt::cuda::RowProjection* projection, void* stream);
DistilmtCudaProjectRows distilmt_cuda_project_rows;
}
