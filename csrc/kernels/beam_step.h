// One step of a beam search over plain arrays, once for both devices: engine/beam.h says what it means, and
// engine/beam.cpp and cuda/beam.cu bring the candidates and keep the paths.
#pragma once
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "common/platform.h"

namespace distilmt {

enum class EarlyStopping { no, yes, never, exact };
enum class LengthForm { power, gnmt };

// What a sum of `length` log-probabilities is divided by: length ^ exponent, or GNMT's ((5 + length) / 6) ^ exponent
// (Wu et al. 2016, arXiv:1609.08144). Rounded as Hugging Face rounds it: the power in double, the quotient in float32.
inline float length_divisor(int length, double exponent, LengthForm form = LengthForm::power) {
  const double base = form == LengthForm::gnmt ? (5.0 + length) / 6.0 : static_cast<double>(length);
  return static_cast<float>(std::pow(base, exponent));
}

struct BeamRule {
  int32_t width, n_best;
  int32_t room;  // finished hypotheses that are kept
  int32_t eos;
  EarlyStopping early_stopping;
  bool longer_is_better;  // the length penalty is above 0
};

// What a source token that was looked at so much adds to the coverage penalty: Wu et al. 2016, equation 14. Sharp
// attention may leave a token nothing.
DISTILMT_HD float coverage_term(float seen) { return std::log(std::fmin(std::fmax(seen, FLT_MIN), 1.0f)); }

// One step of a path; the steps before it are found through `parent`.
struct Node {
  int32_t token, parent;
  float log_prob;
};

// A continuation; of those that live on, the score orders them.
struct Option {
  float score;  // summed
  Node node;
  bool finishes;
};

struct Kept {
  float score;
  bool finished;
  int32_t step;  // of its last token
  Node last;
};

constexpr float kDead = -1e9f;  // Hugging Face's marker; finite, so that adding it twice still orders

// The order of candidates: better first, ties to the lower beam, then to the lower id.
DISTILMT_HD bool precedes(const Option& a, const Option& b) {
  if (a.score != b.score) return a.score > b.score;
  if (a.node.parent != b.node.parent) return a.node.parent < b.node.parent;
  return a.node.token < b.node.token;
}

// Puts an item behind its equals into a list of at most `room`, best first, of which `filled` exist.
template <class T>
DISTILMT_HD void keep_best(T* best, int filled, int room, const T& item) {
  int at = filled < room ? filled : room;
  for (; at > 0 && best[at - 1].score < item.score; --at)
    if (at < room) best[at] = best[at - 1];
  if (at < room) best[at] = item;
}

// The length at which `decide` hopes for the best living hypothesis, after `step` tokens of at most `longest`.
DISTILMT_HD int hoped_length(const BeamRule& rule, int step, int longest) {
  const bool exact = rule.early_stopping == EarlyStopping::exact;
  if ((exact || rule.early_stopping == EarlyStopping::never) && rule.longer_is_better) return longest;
  return exact ? step + 1 : step;
}

DISTILMT_HD bool all_finished(const Kept* kept, int room) {
  for (int i = 0; i < room; ++i)
    if (!kept[i].finished) return false;
  return true;
}

// Whether the search is done once it has `step` + 1 tokens.
//
//   options      [2 * width] best first (greedy: [1]); those that finish score finished_score(option)
//   divisor, hoped_divisor   of step + 1 tokens, and of hoped_length(rule, step + 1, longest)
//   can_improve  true at first, never again once false
//   living       [width] who lives on, best first (greedy reads the last step's)
//   kept         [room] best first; at first {kDead, false, 0, {}}
template <class FinishedScore>
DISTILMT_HD bool beam_step(const BeamRule& rule, const Option* options, int step, float divisor, float hoped_divisor,
                           bool& can_improve, Option* living, Kept* kept, const FinishedScore& finished_score) {
  if (rule.width == 1) {  // greedy: the first end is the end
    const float sum = living[0].score + options[0].node.log_prob;
    living[0] = {sum, options[0].node, options[0].finishes};
    if (living[0].finishes) kept[0] = {finished_score(living[0]), true, step, living[0].node};
    return living[0].finishes;
  }
  const bool closed = rule.early_stopping == EarlyStopping::yes && all_finished(kept, rule.room);
  bool open = false;
  for (int i = 0; i < 2 * rule.width; ++i) {
    Option option = options[i];
    open = open || !option.finishes;
    const bool finished = option.finishes && i < rule.width;
    float score = finished ? finished_score(option) : option.score / divisor;
    if (closed) score += kDead;
    if (!can_improve) score += kDead;
    if (!finished) score += kDead;
    keep_best(kept, rule.room, rule.room, Kept{score, finished, step, option.node});
    option.score += option.finishes ? kDead : 0.0f;
    keep_best(living, i, rule.width, option);
  }
  const float hoped = living[0].score / hoped_divisor;
  if (rule.early_stopping == EarlyStopping::exact) {
    const Kept& worst = kept[rule.n_best - 1];
    can_improve = can_improve && !(worst.finished && worst.score >= hoped);
  } else {
    const float worst = kept[rule.room - 1].score;
    bool better = false;
    for (int i = 0; i < rule.room; ++i) better = better || hoped > (kept[i].finished ? worst : kDead);
    can_improve = can_improve && better;
  }
  return !can_improve || !open || (rule.early_stopping == EarlyStopping::yes && all_finished(kept, rule.room));
}

}  // namespace distilmt
