#include "engine/beam.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/platform.h"

namespace distilmt {

BeamRule beam_rule(const SearchOptions& o) {
  const int room = std::max(static_cast<int>(std::lround(o.beam_size * o.patience)), 1);
  return {o.beam_size, o.n_best, room, o.eos, o.early_stopping, o.length_penalty > 0};
}

Beam::Beam(const SearchOptions& options, int prefix, int max_length, size_t source_length)
    : Search(options, prefix, max_length), width_(options.beam_size), rule_(beam_rule(options)) {
  // The beams are alike before the first step: only one may speak.
  living_.assign(width_, {kDead, {}, false});
  living_[0].score = 0;
  kept_.assign(rule_.room, {kDead, false, 0, {}});
  if (options.coverage_penalty != 0) coverage_.emplace(source_length);
}

void Beam::advance(const Row* rows, const Widen&) {
  collect(rows);
  const float by = divisor(step_ + 1), hoped_by = divisor(hoped_length(rule_, step_ + 1, max_length_));
  done_ = beam_step(
      rule_, candidates_.data(), step_, by, hoped_by, can_improve_, living_.data(), kept_.data(),
      [&](const Option& option) { return coverage_ ? option.score / by + coverage(option, rows) : option.score / by; });
  for (const Option& option : living_) trellis_.push_back(option.node);
  ++step_;
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
      candidates_.push_back({living_[beam].score + c.score, {c.id, beam, c.log_prob}, c.id == options_.eos || last()});
    };
    if (forced() >= 0)
      add({forced(), 0.0f, 0.0f});
    else
      std::for_each(rows[step_ == 0 ? 0 : beam].choices.begin(), rows[step_ == 0 ? 0 : beam].choices.end(), add);
  }
  const size_t keep = width_ == 1 ? 1 : 2 * width_, found = std::min(keep, candidates_.size());
  std::partial_sort(candidates_.begin(), candidates_.begin() + found, candidates_.end(),
                    [](const Option& a, const Option& b) { return precedes(a, b); });
  candidates_.resize(found);
  // A vocabulary that leaves fewer choices is filled up with impossible ones.
  const float never = -std::numeric_limits<float>::infinity();
  candidates_.resize(keep, {never, {options_.start, 0, never}, last()});
}

float Beam::divisor(int length) const { return length_divisor(length, options_.length_penalty, options_.length_form); }

float Beam::coverage(const Option& option, const Row* rows) const {
  const int row = step_ == 0 ? 0 : option.node.parent;
  return static_cast<float>(options_.coverage_penalty) * coverage_->penalty(row, rows[row].attention);
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
