#include "engine/scorer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace distilmt {

Scorer::Scorer(const Models& models, Job& job, const DecoderShape& shape)
    : models_(models),
      job_(job),
      shape_(shape),
      chunk_(encoder_chunk(shape.source_positions)),
      ensemble_(models, shape, job.stop),
      one_beam_(1, shape.positions) {}

void Scorer::run() {
  while (!job_.stop && take()) score();
}

bool Scorer::take() {
  indices_.clear();
  lengths_.clear();
  std::vector<int32_t> ids;
  int64_t rows = 0;
  while (static_cast<int>(indices_.size()) < shape_.slots && rows < shape_.rows) {
    // The queue is sorted by falling length, so the next sentence is no longer than the last.
    if (!indices_.empty() && static_cast<int64_t>(ids.size()) + lengths_.back() > chunk_) break;
    const size_t at = job_.next.fetch_add(1);
    if (at >= job_.order.size()) break;
    indices_.push_back(job_.order[at]);
    lengths_.push_back(job_.read_source(indices_.back(), ids));
    rows += static_cast<int64_t>((*job_.targets)[indices_.back()].size()) + 1;
  }
  if (indices_.empty()) return false;
  std::vector<int> places(indices_.size());
  std::iota(places.begin(), places.end(), 0);
  ensemble_.enter(ids, lengths_, places);
  return true;
}

void Scorer::score() {
  std::vector<int32_t> tokens;  // of each sentence: start symbol, target, end symbol; each but the last is read
  for (size_t index : indices_) {
    const std::vector<int>& target = (*job_.targets)[index];
    tokens.push_back(job_.options.start);
    tokens.insert(tokens.end(), target.begin(), target.end());
    tokens.push_back(job_.options.eos);
    (*job_.outputs)[index].hypotheses.resize(1);
  }
  std::vector<DecoderInput> inputs;
  const int32_t* token = tokens.data();
  for (int slot = 0; slot < static_cast<int>(indices_.size()); ++slot, ++token) {
    const int count = static_cast<int>((*job_.targets)[indices_[slot]].size()) + 1;
    for (int position = 0; position < count; ++position, ++token)
      inputs.push_back({slot, slot, lengths_[slot], position, 1, token, &one_beam_});
  }
  // The fewest steps, of nearly equal height.
  const size_t steps = (inputs.size() + shape_.rows - 1) / shape_.rows, height = (inputs.size() + steps - 1) / steps;
  for (size_t first = 0; first < inputs.size(); first += height) {
    const std::vector<DecoderInput> rows(inputs.begin() + first,
                                         inputs.begin() + std::min(first + height, inputs.size()));
    ensemble_.step(rows);
    if (job_.stop) return;
    record(rows);
  }
  finish();
}

void Scorer::record(const std::vector<DecoderInput>& inputs) {
  const int k = job_.soft_labels;
  const int64_t d = models_.members[0]->config.hidden;
  wanted_.clear();
  for (const DecoderInput& input : inputs) wanted_.push_back(input.tokens[1]);
  wanted_logit_.resize(inputs.size());
  log_sum_exp_.resize(inputs.size());
  top_.resize(inputs.size() * k);
  spread_.resize(inputs.size());
  wanted_begin_.resize(inputs.size() + 1);
  std::iota(wanted_begin_.begin(), wanted_begin_.end(), 0);  // each row sets one id aside: its target
  Projection p{nullptr,
               0,
               static_cast<int64_t>(inputs.size()),
               nullptr,
               wanted_.data(),
               wanted_begin_.data(),
               wanted_logit_.data(),
               k,
               top_.data(),
               log_sum_exp_.data()};
  p.spread = k > 0 ? spread_.data() : nullptr;
  p.spread_k = k;
  ensemble_.project(p);
  const float* hidden = ensemble_.hidden();
  for (size_t row = 0; row < inputs.size(); ++row, hidden += d) {
    Output& output = (*job_.outputs)[indices_[inputs[row].slot]];
    if (!std::isfinite(log_sum_exp_[row])) output.status = Status::not_finite;
    if (output.status == Status::not_finite) continue;
    Hypothesis& scored = output.hypotheses[0];
    scored.log_probs.push_back(wanted_logit_[row] - log_sum_exp_[row]);
    if (k > 0) {
      scored.soft_labels.k = k;
      scored.soft_labels.resize(scored.log_probs.size());
      known_.assign(top_.begin() + row * k, top_.begin() + (row + 1) * k);
      known_.push_back({wanted_logit_[row], wanted_[row]});
      scored.soft_labels.set(scored.log_probs.size() - 1, known_, log_sum_exp_[row], spread_[row]);
    }
    if (job_.hidden_states) scored.states.insert(scored.states.end(), hidden, hidden + d);
  }
}

void Scorer::finish() {
  for (size_t index : indices_) {
    Output& output = (*job_.outputs)[index];
    if (output.status == Status::not_finite) output.hypotheses.clear();
    for (Hypothesis& scored : output.hypotheses) {
      scored.ids = (*job_.targets)[index];
      scored.ended = true;
      float sum = 0;
      for (float log_prob : scored.log_probs) sum += log_prob;
      scored.score = normalize(sum, static_cast<int>(scored.log_probs.size()), job_.options);
    }
    ++job_.done;
  }
}

}  // namespace distilmt
