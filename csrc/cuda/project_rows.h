// What a search needs of rows of logits, each logit read once: log-sum-exp, the k best choices; and, where asked for,
// soft labels, for which a row is read again while it lies in a near cache. Definitions as in kernels/project.h, and as
// in engine/choices.h for what becomes of ids that are set aside:
//
//   logit[i, v] = logits[i, v] + bias[v];   log p(v | row i) = logit[i, v] - log_sum_exp[i]
//
// Best first, ties to the lower id: of the k best free ids and of those that are set aside. A free id whose logit is
// -inf is no choice; where fewer than k remain, the rest has the id -1. Banned ids, and the end symbol while a slot has
// fewer than min_length tokens, are no choices but count in log_sum_exp and soft labels. A row that holds a NaN or
// +inf, or nothing but -inf, has a log_sum_exp that is not finite, and no choices. Rows of nobody are left as they are.
#pragma once
#include "cuda/slots.h"
#include "kernels/choice.h"

namespace distilmt::cuda {

constexpr int32_t kMostCandidates = 128;
constexpr int32_t kMostBanned = 1024;  // where soft labels are asked for

// The ids that rows set aside beside what is banned for all of them (set_aside.h).
struct RowAsides {
  int32_t room = 0;          // entries of a row at most; 0: nothing is set aside
  Aside* entries = nullptr;  // [live, beams, room] each id once; an id below 0 is none
  int32_t* count = nullptr;  // [live, beams] entries, 0 at first
  uint32_t* bits = nullptr;  // [live, beams, words] bit v % 32 of word v / 32, 0 at first

  DISTILMT_HD int64_t words(int64_t vocab) const { return (vocab + 31) / 32; }
};

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
  int32_t k;                     // 1 to kMostCandidates, as the soft labels'
  Choice* choices;               // [live, beams, k]
  float* log_sum_exp;            // [live, beams]
  float* choice_log_sum;         // [live, beams] of exp(score * inverse_temperature) over all choices, or null
  float inverse_temperature;
  SoftLabelMemory soft = {};  // [slots, positions, beams], written at each slot's position
  RowAsides aside = {};
  ChoiceRule rule = {};
  const float* lambda = nullptr;  // [live, beams] where neighbours are mixed in
  bool renormalised = false;      // scores are log-probabilities of the choices; with choice_log_sum, temperature 1
  bool summed = false;            // the order is that of slots.scores plus score, as beams sum it
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaProjectRows(const distilmt::cuda::RowProjection* projection, void* stream);
DistilmtCudaProjectRows distilmt_cuda_project_rows;
}
