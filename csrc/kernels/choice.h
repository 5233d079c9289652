// From the logit of an id to a choice of a search, once for both devices: engine/choices.h says what it means,
// engine/choices.cpp and cuda/project_rows.cu bring the ids.
#pragma once
#include <cmath>
#include <cstdint>

#include "common/platform.h"

namespace distilmt {

// One way to go on.
struct Choice {
  int32_t id;
  float score;     // what the search adds up
  float log_prob;  // the model's
};

// An id of a row that is set aside before its logit is known (engine/constraints.h).
struct Aside {
  int32_t id;
  bool banned = false;
  bool seen = false;
  float neighbour = 0;
};

struct ChoiceRule {
  float repetition_penalty = 1;
  bool of_logit = false;    // it penalises logits, else log-probabilities
  bool neighbours = false;  // are mixed in
};

// What is added to each logit of a row. lambda: weight of its neighbours.
DISTILMT_HD float choice_shift(const ChoiceRule& rule, float log_sum_exp, float lambda) {
  return (rule.neighbours ? std::log1p(-lambda) : 0.0f) - log_sum_exp;
}

DISTILMT_HD Choice free_choice(int32_t id, float logit, float shift) { return {id, logit + shift, logit + shift}; }

DISTILMT_HD float penalise(float score, float penalty) {
  if (!(score < 0)) return score / penalty;
#ifdef __CUDA_ARCH__
  return __fmul_rn(score, penalty);  // no part of a fused multiply-add: who sums scores later finds the same order
#else
  return score * penalty;
#endif
}

// Of an id that is not banned.
DISTILMT_HD Choice aside_choice(const ChoiceRule& rule, const Aside& aside, float logit, float shift, float lambda) {
  Choice choice = free_choice(aside.id, logit, shift);
  if (rule.neighbours) {
    const double p = std::exp(static_cast<double>(choice.log_prob)) + static_cast<double>(lambda) * aside.neighbour;
    choice.score = choice.log_prob = static_cast<float>(std::log(p));
  }
  if (aside.seen)
    choice.score = rule.of_logit ? penalise(logit, rule.repetition_penalty) + shift
                                 : penalise(choice.log_prob, rule.repetition_penalty);
  return choice;
}

}  // namespace distilmt
