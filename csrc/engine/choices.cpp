#include "engine/choices.h"

#include <algorithm>
#include <cmath>

namespace distilmt {
namespace {

// log of the sum of exp of what all choices are worth.
float log_sum_of_scores(const Row& row) {
  double highest = row.free_log_sum, total = 0;
  for (size_t i = row.free; i < row.choices.size(); ++i) highest = std::max(highest, double{row.choices[i].score});
  if (std::isinf(highest)) return 0;  // nothing is left to share
  for (size_t i = row.free; i < row.choices.size(); ++i) total += std::exp(row.choices[i].score - highest);
  return static_cast<float>(highest + std::log(total + std::exp(row.free_log_sum - highest)));
}

}  // namespace

ChoiceRule choice_rule(const SearchOptions& o, bool neighbours) {
  return {o.repetition_penalty, !neighbours && (o.sample || o.beam_size == 1), neighbours};
}

bool renormalises(const SearchOptions& o, bool neighbours) {
  return o.renormalize && !o.sample && (o.min_length > 0 || reads_text(o) || neighbours);
}

void choose(const ProjectedRow& p, const SearchOptions& o, Row& row) {
  row.choices.clear();
  const ChoiceRule rule = choice_rule(o, p.neighbours);
  const float shift = choice_shift(rule, p.log_sum_exp, p.lambda);
  auto free = [&](const Candidate& c) { return free_choice(c.id, c.logit, shift); };
  for (const Candidate* c = p.top; c != p.top + p.k && c->id >= 0; ++c) row.choices.push_back(free(*c));
  row.free = row.choices.size();
  for (int64_t i = 0; i < p.asides; ++i)
    if (!p.aside[i].banned) row.choices.push_back(aside_choice(rule, p.aside[i], p.aside_logit[i], shift, p.lambda));
  row.free_log_sum = p.free_log_sum + shift / (o.sample ? o.temperature : 1.0f);
  row.drawn = free(p.drawn);
  if (!renormalises(o, p.neighbours)) return;
  const float total = log_sum_of_scores(row);
  for (Choice& choice : row.choices) {
    choice.score -= total;
    choice.log_prob -= total;
  }
}

}  // namespace distilmt
