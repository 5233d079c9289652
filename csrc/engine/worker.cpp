#include "engine/worker.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace distilmt {
Worker::Worker(const Weights& weights, Job& job, const DecoderShape& shape)
    : weights_(weights),
      job_(job),
      shape_(shape),
      chunk_(encoder_chunk(shape.source_positions)),
      encoder_(weights, chunk_, job.stop),
      decoder_(weights, shape, job.stop),
      slots_(shape.slots, Slot(shape)) {
  for (int place = shape.places - 1; place >= 0; --place) free_places_.push_back(place);
}

void Worker::run() {
  while (!job_.stop) {
    fill_slots();
    if (std::none_of(slots_.begin(), slots_.end(), [](const Slot& s) { return s.sentence.has_value(); })) return;
    step();
  }
}

void Worker::fill_slots() {
  for (Slot& slot : slots_) {
    if (slot.sentence) continue;
    if (ready_.empty()) encode_some();
    if (ready_.empty()) return;
    start(slot, ready_.front());
    ready_.pop_front();
  }
}

// Encodes the next sentences of the queue, as many as fit, but not more than there are slots: what this worker takes
// ahead no other worker can.
void Worker::encode_some() {
  std::vector<int32_t> ids;
  std::vector<int> lengths;
  std::vector<Sentence> taken;
  while (!free_places_.empty() && taken.size() < slots_.size()) {
    // The queue is sorted by falling length, so the next sentence is no longer than the last.
    if (!taken.empty() && static_cast<int64_t>(ids.size()) + taken.back().length > chunk_) break;
    const size_t at = job_.next.fetch_add(1);
    if (at >= job_.order.size()) break;
    const size_t index = job_.order[at];
    lengths.push_back(job_.read_source(index, ids));
    taken.push_back({index, free_places_.back(), lengths.back()});
    free_places_.pop_back();
  }
  if (taken.empty()) return;
  const float* encoded = encoder_.encode(ids, lengths);
  for (const Sentence& sentence : taken) {
    decoder_.enter(sentence.place, encoded, sentence.length);
    encoded += sentence.length * weights_.config.hidden;
    ready_.push_back(sentence);
  }
}

void Worker::start(Slot& slot, const Sentence& sentence) {
  slot.sentence = sentence;
  slot.position = 0;
  slot.tokens.assign(1, job_.options.start);
  slot.beam.emplace(job_.options);
  slot.soft_labels.k = job_.soft_labels;
}

void Worker::step() {
  inputs_.clear();
  picked_.clear();
  k_ = 0;
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (!slot.sentence) continue;
    for (int beam = 0; beam < slot.rows(); ++beam) slot.ancestors.write(beam, slot.position);
    inputs_.push_back({static_cast<int>(i), slot.sentence->place, slot.sentence->length, slot.position, slot.rows(),
                       slot.tokens.data(), &slot.ancestors});
    picked_.insert(picked_.end(), slot.rows(), job_.options.eos);
    k_ = std::max(k_, slot.beam->wanted());
  }
  // Soft labels know no bans: the banned ids come too, and are left out afterwards.
  if (job_.soft_labels > 0) k_ = std::max(k_ + static_cast<int>(job_.options.banned.size()), job_.soft_labels);
  const float* hidden = decoder_.step(inputs_);
  if (job_.stop) return;
  project(hidden);
  int64_t row = 0;
  for (const DecoderInput& input : inputs_) {
    advance(slots_[input.slot], row);
    row += input.rows;
  }
}

void Worker::project(const float* hidden) {
  const size_t rows = picked_.size();
  picked_logit_.resize(rows);
  log_sum_exp_.resize(rows);
  top_.resize(rows * k_);
  const bool soft = job_.soft_labels > 0;
  spread_.resize(soft ? rows : 0);
  const std::vector<int>& banned = job_.options.banned;
  // Picking costs a product per row: only the ban of the end symbol with renormalisation needs it.
  const bool pick = job_.options.renormalize && job_.options.min_length > 0;
  project_top_k(hidden, weights_.config.hidden, static_cast<int64_t>(rows), weights_.projection, banned.data(),
                soft ? 0 : static_cast<int64_t>(banned.size()), k_, pick ? picked_.data() : nullptr,
                picked_logit_.data(), top_.data(), log_sum_exp_.data(), soft ? spread_.data() : nullptr,
                job_.soft_labels);
}

// Of the rows of a slot; then their candidates become what they are without soft labels.
void Worker::note_soft_labels(Slot& slot, int64_t row) {
  const std::vector<int>& banned = job_.options.banned;
  const size_t first = static_cast<size_t>(slot.position) * shape_.beams;
  slot.soft_labels.resize(first + shape_.beams);
  for (int beam = 0; beam < slot.rows(); ++beam, ++row) {
    Candidate *top = top_.data() + row * k_, *end = top + k_;
    slot.soft_labels.set(first + beam, top, log_sum_exp_[row], spread_[row]);
    Candidate* left = std::remove_if(
        top, end, [&](const Candidate& c) { return std::binary_search(banned.begin(), banned.end(), c.id); });
    std::fill(left, end, Candidate{-std::numeric_limits<float>::infinity(), -1});
  }
}

void Worker::advance(Slot& slot, int64_t row) {
  const float* sums = log_sum_exp_.data() + row;
  if (!std::all_of(sums, sums + slot.rows(), [](float sum) { return std::isfinite(sum); })) {
    (*job_.outputs)[slot.sentence->index].status = Status::not_finite;
    return leave(slot);
  }
  if (job_.soft_labels > 0) note_soft_labels(slot, row);
  if (job_.options.renormalize && slot.beam->end_banned()) {
    // The end symbol's share goes to the others: log(sum of exp - exp of its logit).
    for (int64_t i = row; i < row + slot.rows(); ++i)
      log_sum_exp_[i] += static_cast<float>(std::log1p(-std::exp(double{picked_logit_[i]} - log_sum_exp_[i])));
  }
  const bool first = slot.rows() < shape_.beams;  // one row spoke for all beams
  slot.beam->advance(top_.data() + row * k_, k_, log_sum_exp_.data() + row);
  if (slot.beam->done()) return finish(slot);
  std::vector<int> parents(shape_.beams, 0);
  slot.tokens.resize(shape_.beams);
  for (int beam = 0; beam < shape_.beams; ++beam) {
    slot.tokens[beam] = slot.beam->token(beam);
    if (!first) parents[beam] = slot.beam->parent(beam);
  }
  slot.ancestors.follow(parents, ++slot.position);
}

void Worker::finish(Slot& slot) {
  Output& output = (*job_.outputs)[slot.sentence->index];
  output.hypotheses = slot.beam->best();
  const Hypothesis& best = output.hypotheses[0];
  if (!best.ended)
    output.status = Status::max_length;
  else if (best.ids.empty())
    output.status = Status::empty_hypothesis;
  if (job_.soft_labels > 0) {
    for (Hypothesis& hypothesis : output.hypotheses) {
      hypothesis.soft_labels.k = job_.soft_labels;
      hypothesis.soft_labels.resize(hypothesis.rows.size());
      for (size_t step = 0; step < hypothesis.rows.size(); ++step)
        hypothesis.soft_labels.copy(step, slot.soft_labels, step * shape_.beams + hypothesis.rows[step]);
    }
  }
  leave(slot);
}

void Worker::leave(Slot& slot) {
  free_places_.push_back(slot.sentence->place);
  slot.sentence.reset();
  ++job_.done;
}

}  // namespace distilmt
