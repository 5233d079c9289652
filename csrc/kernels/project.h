// Output projection, log-sum-exp and top-k in one pass over the vocabulary: no [m, vocab] buffer exists.
//
//   logit[i, v] = hidden[i] . w[v] + bias[v];   log p(v | row i) = logit[i, v] - log_sum_exp[i]
//
// Rows are independent, bit for bit, like gemm's (and logits equal gemm's). The sum of exponentials is kept relative to
// the running maximum, so logits of any size are fine; bias entries may be -inf. Source: online softmax, Milakov &
// Gimelshein 2018 (arXiv:1805.02867).
#pragma once
#include <cstdint>

#include "kernels/gemm.h"

namespace distilmt {

struct Candidate {
  float logit;
  int32_t id;
};

// How the probability of a row lies over the ids.
struct Spread {
  float rest;     // of all ids but the best `spread_k`; a small one keeps its digits, since 1 - sum is never formed
  float entropy;  // -sum p log p over all ids, nats
};

// hidden [m, w.k], ldh floats between rows; w [vocab, k].
// banned [n_banned], ascending: ids that may not be candidates; they count in log_sum_exp all the same (Hugging Face
// takes
//   log_softmax first and bans afterwards).
// top [m, k]: the k largest logits of each row, by (logit descending, id ascending). An id whose logit is -inf or NaN
// is no
//   candidate. Where fewer than k remain, the rest is {-inf, -1}. k may be 0 (top null); meant for k up to some
//   hundreds.
// picked [m], nullable: one id per row whose logit is wanted whatever its rank, banned or not (forced decoding,
// scoring); it
//   is written to picked_logit [m]. Ids must lie in [0, vocab).
// log_sum_exp [m]: over ALL ids.
// spread [m], nullable: with spread_k from 1 to k. The other results do not depend on it, and it does not depend on k.
void project_top_k(const float* hidden, int64_t ldh, int64_t m, const PackedMatrix& w, const int32_t* banned,
                   int64_t n_banned, int64_t k, const int32_t* picked, float* picked_logit, Candidate* top,
                   float* log_sum_exp, Spread* spread = nullptr, int64_t spread_k = 0);

}  // namespace distilmt
