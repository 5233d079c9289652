#include "engine/beam.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/platform.h"

namespace distilmt {
namespace {

constexpr float kDead = -1e9f;  // Hugging Face's marker; finite, so that adding it twice still orders

}  // namespace

float normalize(float sum, int length, double penalty) {
  return sum / static_cast<float>(std::pow(static_cast<double>(length), penalty));
}

Beam::Beam(const SearchOptions& options) : options_(&options), width_(options.beam_size) {
  scores_.assign(width_, kDead);
  scores_[0] = 0;  // the beams are alike before the first step: only one may speak
  kept_.assign(width_, {kDead, false, 0, {}});
}

void Beam::advance(const Candidate* top, int k, const float* log_sum_exp) {
  collect(top, k, log_sum_exp);
  if (width_ == 1) {  // greedy: the first end is the end
    const Option& only = candidates_[0];
    trellis_.push_back(only.node);
    scores_[0] = only.score;
    if (only.finishes) kept_[0] = {normalize(only.score, step_ + 1, options_->length_penalty), true, step_, only.node};
    done_ = only.finishes;
    ++step_;
    return;
  }
  live_on();
  keep_finished();
  ++step_;
  decide();
}

// The best 2 * width continuations of all beams together (one, if greedy).
void Beam::collect(const Candidate* top, int k, const float* log_sum_exp) {
  const bool last = step_ + 1 >= options_->max_length;
  const int forced = last && options_->forced_eos >= 0 ? options_->forced_eos : step_ == 0 ? options_->forced_bos : -1;
  candidates_.clear();
  for (int beam = 0; beam < width_; ++beam) {
    auto add = [&](float log_prob, int id) {
      candidates_.push_back({scores_[beam] + log_prob, {id, beam, log_prob}, id == options_->eos || last});
    };
    if (forced >= 0) {
      add(0.0f, forced);
      continue;
    }
    const int row = step_ == 0 ? 0 : beam;
    for (const Candidate* c = top + row * k; c != top + (row + 1) * k; ++c)
      if (c->id >= 0 && (c->id != options_->eos || !end_banned())) add(c->logit - log_sum_exp[row], c->id);
  }
  const size_t keep = width_ == 1 ? 1 : 2 * width_;
  // A vocabulary that leaves fewer choices is filled up with impossible ones.
  const float never = -std::numeric_limits<float>::infinity();
  while (candidates_.size() < keep) candidates_.push_back({never, {options_->start, 0, never}, last});
  std::partial_sort(candidates_.begin(), candidates_.begin() + keep, candidates_.end(),
                    [](const Option& a, const Option& b) {
                      if (a.score != b.score) return a.score > b.score;
                      if (a.node.parent != b.node.parent) return a.node.parent < b.node.parent;
                      return a.node.token < b.node.token;
                    });
  candidates_.resize(keep);
}

void Beam::live_on() {
  std::vector<std::pair<float, int>> order;
  for (size_t i = 0; i < candidates_.size(); ++i)
    order.emplace_back(candidates_[i].score + (candidates_[i].finishes ? kDead : 0.0f), static_cast<int>(i));
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (int beam = 0; beam < width_; ++beam) {
    scores_[beam] = order[beam].first;
    trellis_.push_back(candidates_[order[beam].second].node);
  }
}

void Beam::keep_finished() {
  const bool full = std::all_of(kept_.begin(), kept_.end(), [](const Kept& k) { return k.finished; });
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const Option& c = candidates_[i];
    const bool finished = c.finishes && static_cast<int>(i) < width_;
    float score = normalize(c.score, step_ + 1, options_->length_penalty);
    if (full && options_->early_stopping == EarlyStopping::yes) score += kDead;
    if (!can_improve_) score += kDead;
    if (!finished) score += kDead;
    kept_.push_back({score, finished, step_, c.node});
  }
  std::stable_sort(kept_.begin(), kept_.end(), [](const Kept& a, const Kept& b) { return a.score > b.score; });
  kept_.resize(width_);
}

// Whether to go on, after `step_` tokens.
void Beam::decide() {
  const bool hopeful = options_->early_stopping == EarlyStopping::never && options_->length_penalty > 0;
  const float possible = normalize(scores_[0], hopeful ? options_->max_length : step_, options_->length_penalty);
  const bool full = std::all_of(kept_.begin(), kept_.end(), [](const Kept& k) { return k.finished; });
  const float worst = kept_.back().score;
  bool better = false;
  for (const Kept& k : kept_) better = better || possible > (k.finished ? worst : kDead);
  can_improve_ = can_improve_ && better;
  const bool open = std::any_of(candidates_.begin(), candidates_.end(), [](const Option& c) { return !c.finishes; });
  done_ = !can_improve_ || (full && options_->early_stopping == EarlyStopping::yes) || !open;
}

Hypothesis Beam::read(const Kept& kept) const {
  Hypothesis hypothesis;
  Node node = kept.last;
  hypothesis.score = kept.score;
  hypothesis.ended = node.token == options_->eos;
  if (!hypothesis.ended) hypothesis.ids.push_back(node.token);
  hypothesis.log_probs.push_back(node.log_prob);
  hypothesis.rows.push_back(kept.step == 0 ? 0 : node.parent);
  for (int step = kept.step - 1; step >= 0; --step) {
    node = trellis_[step * width_ + node.parent];
    hypothesis.ids.push_back(node.token);
    hypothesis.log_probs.push_back(node.log_prob);
    hypothesis.rows.push_back(step == 0 ? 0 : node.parent);
  }
  std::reverse(hypothesis.ids.begin(), hypothesis.ids.end());
  std::reverse(hypothesis.log_probs.begin(), hypothesis.log_probs.end());
  std::reverse(hypothesis.rows.begin(), hypothesis.rows.end());
  return hypothesis;
}

std::vector<Hypothesis> Beam::best() const {
  std::vector<Hypothesis> all;
  for (const Kept& k : kept_)
    if (k.finished && static_cast<int>(all.size()) < options_->n_best) all.push_back(read(k));
  require(!all.empty(), "beam search: every continuation is banned, so no hypothesis could be finished");
  return all;
}

}  // namespace distilmt
