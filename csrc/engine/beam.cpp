#include "engine/beam.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/platform.h"

namespace distilmt {
namespace {

constexpr float kDead = -1e9f;  // Hugging Face's marker; finite, so that adding it twice still orders

}  // namespace

Beam::Beam(const SearchOptions& options, int prefix, int max_length, size_t source_length)
    : Search(options, prefix, max_length), width_(options.beam_size) {
  scores_.assign(width_, kDead);
  scores_[0] = 0;  // the beams are alike before the first step: only one may speak
  const auto room = static_cast<size_t>(std::lround(width_ * options.patience));
  kept_.assign(std::max<size_t>(room, 1), {kDead, false, 0, {}});
  if (options.coverage_penalty != 0) coverage_.emplace(source_length);
}

void Beam::advance(const Row* rows, const Widen&) {
  collect(rows);
  if (width_ == 1) {  // greedy: the first end is the end
    Option& only = candidates_[0];
    only.score = scores_[0] + only.node.log_prob;
    trellis_.push_back(only.node);
    scores_[0] = only.score;
    if (only.finishes) kept_[0] = {finished_score(only, rows), true, step_, only.node};
    done_ = only.finishes;
    ++step_;
  } else {
    live_on();
    keep_finished(rows);
    ++step_;
    decide();
  }
  if (!coverage_ || done_) return;
  std::vector<int> parents;
  std::vector<const float*> attention;
  for (int beam = 0; beam < width_; ++beam) {
    parents.push_back(parent(beam));
    attention.push_back(rows[parents.back()].attention);
  }
  coverage_->follow(parents, attention);
}

void Beam::cover(const float* attention) {
  if (coverage_) coverage_->follow({0}, {attention});
}

// The best 2 * width continuations of all beams together (one, if greedy).
void Beam::collect(const Row* rows) {
  candidates_.clear();
  for (int beam = 0; beam < width_; ++beam) {
    auto add = [&](const Choice& c) {
      candidates_.push_back({scores_[beam] + c.score, {c.id, beam, c.log_prob}, c.id == options_.eos || last()});
    };
    if (forced() >= 0)
      add({forced(), 0.0f, 0.0f});
    else
      std::for_each(rows[step_ == 0 ? 0 : beam].choices.begin(), rows[step_ == 0 ? 0 : beam].choices.end(), add);
  }
  const size_t keep = width_ == 1 ? 1 : 2 * width_;
  // A vocabulary that leaves fewer choices is filled up with impossible ones.
  const float never = -std::numeric_limits<float>::infinity();
  while (candidates_.size() < keep) candidates_.push_back({never, {options_.start, 0, never}, last()});
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

float Beam::finished_score(const Option& option, const Row* rows) const {
  const float score = normalize(option.score, step_ + 1, options_);
  if (!coverage_) return score;
  const int row = step_ == 0 ? 0 : option.node.parent;
  return score + static_cast<float>(options_.coverage_penalty) * coverage_->penalty(row, rows[row].attention);
}

bool Beam::full() const {
  return std::all_of(kept_.begin(), kept_.end(), [](const Kept& k) { return k.finished; });
}

void Beam::keep_finished(const Row* rows) {
  const bool closed = full() && options_.early_stopping == EarlyStopping::yes;
  const size_t room = kept_.size();
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const Option& c = candidates_[i];
    const bool finished = c.finishes && static_cast<int>(i) < width_;
    float score = finished ? finished_score(c, rows) : normalize(c.score, step_ + 1, options_);
    if (closed) score += kDead;
    if (!can_improve_) score += kDead;
    if (!finished) score += kDead;
    kept_.push_back({score, finished, step_, c.node});
  }
  std::stable_sort(kept_.begin(), kept_.end(), [](const Kept& a, const Kept& b) { return a.score > b.score; });
  kept_.resize(room);
}

// Whether to go on, after `step_` tokens.
void Beam::decide() {
  const bool exact = options_.early_stopping == EarlyStopping::exact;
  const bool hopeful = (exact || options_.early_stopping == EarlyStopping::never) && options_.length_penalty > 0;
  const float possible = normalize(scores_[0], hopeful ? max_length_ : exact ? step_ + 1 : step_, options_);
  if (exact) {
    const Kept& worst = kept_[options_.n_best - 1];
    can_improve_ = can_improve_ && !(worst.finished && worst.score >= possible);
  } else {
    const float worst = kept_.back().score;
    bool better = false;
    for (const Kept& k : kept_) better = better || possible > (k.finished ? worst : kDead);
    can_improve_ = can_improve_ && better;
  }
  const bool open = std::any_of(candidates_.begin(), candidates_.end(), [](const Option& c) { return !c.finishes; });
  done_ = !can_improve_ || (full() && options_.early_stopping == EarlyStopping::yes) || !open;
}

void Beam::read(int row, std::vector<int>& ids) const {
  const auto begin = ids.size();
  for (int step = step_ - 1; step >= 0; --step) {
    const Node& node = trellis_[step * width_ + row];
    ids.push_back(node.token);
    row = node.parent;
  }
  std::reverse(ids.begin() + begin, ids.end());
}

Hypothesis Beam::read(const Kept& kept) const {
  Hypothesis hypothesis;
  Node node = kept.last;
  hypothesis.score = kept.score;
  hypothesis.ended = node.token == options_.eos;
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

std::vector<Hypothesis> Beam::results() const {
  std::vector<Hypothesis> all;
  for (const Kept& k : kept_)
    if (k.finished && static_cast<int>(all.size()) < options_.n_best) all.push_back(read(k));
  if (all.empty() || std::isinf(all[0].score)) throw NothingLeft("beam search: every continuation is banned");
  return all;
}

}  // namespace distilmt
