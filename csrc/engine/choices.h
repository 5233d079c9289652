// From a projected row to the choices of a search: neighbours mixed in, penalties applied, bans left out.
//
//   model      log p = logit - log_sum_exp
//   neighbours p = (1 - lambda) p_model + lambda p_neighbours     (Khandelwal et al. 2021, arXiv:2010.00710)
//   penalty    score < 0 ? score * penalty : score / penalty, for ids that the row holds (Keskar et al. 2019,
//              arXiv:1909.05858); as in Hugging Face, of the log-probability in beam search, of the logit (which a row
//              with neighbours has not) in greedy search and sampling
//   renormalised, where asked for: the scores of all choices are log-probabilities again
#pragma once
#include "engine/constraints.h"
#include "engine/search.h"

namespace distilmt {

struct ProjectedRow {
  const Candidate* top;  // [k] free ids, best first
  int64_t k;
  float log_sum_exp;
  const Aside* aside;  // [asides]
  const float* aside_logit;
  int64_t asides;
  float free_log_sum = 0;  // as in kernels/project.h, at the options' temperature; where renormalised or sampled
  Candidate drawn = {0, -1};
  bool neighbours = false;
  float lambda = 0;
};

ChoiceRule choice_rule(const SearchOptions& options, bool neighbours);

// Whether scores are renormalised here, step by step: needed where more is left out than the ids that the weights
// exclude once and for all.
bool renormalises(const SearchOptions& options, bool neighbours);

// Fills all of `row` but its attention.
void choose(const ProjectedRow& projected, const SearchOptions& options, Row& row);

}  // namespace distilmt
