// Output projection, log-sum-exp, top-k and sampling in one pass over the vocabulary: no [m, vocab] buffer exists.
//
//   logit[i, v] = hidden[i] . w[v] + bias[v];   log p(v | row i) = logit[i, v] - log_sum_exp[i]
//
// Rows are independent, bit for bit, like gemm's (and logits equal gemm's). The sum of exponentials is kept relative to
// the running maximum, so logits of any size are fine; bias entries may be -inf. Sources: online softmax, Milakov &
// Gimelshein 2018 (arXiv:1805.02867); a weighted draw from a stream, by jumps: Efraimidis & Spirakis 2006, A-ExpJ.
#pragma once
#include <cstdint>

#include "common/philox.h"
#include "kernels/gemm.h"

namespace distilmt {

struct Candidate {
  float logit;
  int32_t id;
};

// How the probability of a row lies over the ids.
struct Spread {
  float rest;  // of all free ids but the best `spread_k`; a small one keeps its digits, since 1 - sum is never formed
  float entropy;  // -sum p log p over all ids, nats
};

struct Projection {
  const float* hidden;  // [m, w->k], ldh floats between rows
  int64_t ldh, m;
  const PackedMatrix* w;  // [vocab, k]; null: hidden holds the logits themselves, [m, ldh], and vocab is ldh

  // Ids set aside: ascending ids aside[aside_begin[i] .. aside_begin[i + 1]) of row i, all in [0, vocab). They are no
  // candidates, and their logits are wanted, whatever their rank: bans, penalties, forced tokens, scoring. They count
  // in log_sum_exp (Hugging Face takes log_softmax first and bans afterwards).
  const int32_t* aside;
  const int64_t* aside_begin;  // [m + 1]
  float* aside_logit;          // as aside

  // The k largest logits of each row among the free ids, by (logit descending, id ascending). An id whose logit is
  // -inf or NaN is no candidate; where fewer than k remain, the rest is {-inf, -1}. k may be 0; meant for k up to a
  // thousand.
  int64_t k;
  Candidate* top;      // [m, k]
  float* log_sum_exp;  // [m], over ALL ids

  // Where free_log_sum is not null: log of the sum of exp(logit * inverse_temperature) over the free ids. And where
  // keys is not null, one free id drawn with these weights; {-inf, -1} where all weights are 0.
  float* free_log_sum = nullptr;  // [m]
  float inverse_temperature = 1;
  const DrawKey* keys = nullptr;  // [m]
  Candidate* drawn = nullptr;     // [m]

  // Where spread is not null, with spread_k from 1 to k. It does not depend on k, nor anything else on it.
  Spread* spread = nullptr;  // [m]
  int64_t spread_k = 0;
};

void project(const Projection& projection);

}  // namespace distilmt
