#include "engine/worker.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/beam.h"
#include "engine/sampler.h"

namespace distilmt {
namespace {

const std::vector<int> kNoPrefix;

}  // namespace

Worker::Worker(const Models& models, Job& job, const DecoderShape& shape)
    : models_(models),
      job_(job),
      shape_(shape),
      chunk_(encoder_chunk(shape.source_positions)),
      ensemble_(models, shape, job.stop),
      rows_(shape.beams) {
  for (int slot = 0; slot < shape.slots; ++slot) slots_.emplace_back(shape);
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
  std::vector<int> lengths, places;
  std::vector<Sentence> taken;
  while (!free_places_.empty() && taken.size() < slots_.size()) {
    // The queue is sorted by falling length, so the next sentence is no longer than the last.
    if (!taken.empty() && static_cast<int64_t>(ids.size()) + taken.back().length > chunk_) break;
    const size_t at = job_.next.fetch_add(1);
    if (at >= job_.order.size()) break;
    const size_t index = job_.order[at];
    lengths.push_back(job_.read_source(index, ids));
    places.push_back(free_places_.back());
    taken.push_back({index, places.back(), lengths.back()});
    free_places_.pop_back();
  }
  if (taken.empty()) return;
  ensemble_.enter(ids, lengths, places);
  ready_.insert(ready_.end(), taken.begin(), taken.end());
}

const std::vector<int>& Worker::prefix_of(const Sentence& sentence) const {
  return job_.prefixes ? (*job_.prefixes)[sentence.index] : kNoPrefix;
}

void Worker::start(Slot& slot, const Sentence& sentence) {
  const SearchOptions& o = job_.options;
  const std::vector<int>& prefix = prefix_of(sentence);
  const int before = static_cast<int>(prefix.size());
  const int longest = std::min(o.max_length, static_cast<int>(models_.positions()) - before);
  slot.sentence = sentence;
  slot.position = 0;
  if (o.sample)
    slot.search =
        std::make_unique<Sampler>(o, before, longest, sentence_key(o.seed, (*job_.sources)[sentence.index], prefix));
  else
    slot.search = std::make_unique<Beam>(o, before, longest, sentence.length);
  slot.tokens.assign(slot.search->rows(), o.start);
  slot.soft_labels.k = job_.soft_labels;
}

void Worker::step() {
  inputs_.clear();
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (!slot.sentence) continue;
    for (int beam = 0; beam < slot.rows(); ++beam) slot.ancestors.write(beam, slot.position);
    inputs_.push_back({static_cast<int>(i), slot.sentence->place, slot.sentence->length, slot.position, slot.rows(),
                       slot.tokens.data(), &slot.ancestors});
  }
  ensemble_.step(inputs_);
  if (job_.stop) return;
  int64_t row = 0;
  for (const DecoderInput& input : inputs_) row += input.rows;
  if (job_.neighbours) neighbours_ = (*job_.neighbours)(ensemble_.hidden(), row);
  asides_.clear();
  aside_ids_.clear();
  aside_begin_.assign(1, 0);
  keys_.clear();
  for (const DecoderInput& input : inputs_)
    for (int beam = 0; beam < input.rows; ++beam) set_row_aside(slots_[input.slot], beam);
  project();
  row = 0;
  for (const DecoderInput& input : inputs_) {
    advance(slots_[input.slot], row);
    row += input.rows;
  }
}

void Worker::set_row_aside(const Slot& slot, int row) {
  std::vector<Aside> asides;
  const size_t at = aside_begin_.size() - 1;
  for (int64_t i = at * neighbours_.k; i < static_cast<int64_t>(at + 1) * neighbours_.k; ++i)
    asides.push_back({neighbours_.ids[i], false, false, neighbours_.probabilities[i]});
  text_.clear();
  if (reads_text(job_.options)) {
    const std::vector<int>& prefix = prefix_of(*slot.sentence);
    text_.push_back(job_.options.start);
    text_.insert(text_.end(), prefix.begin(), prefix.end());
    slot.search->read(row, text_);
  }
  set_aside(job_.options, text_, slot.search->end_banned(), asides);
  wanted_ = slot.search->wanted();
  keys_.push_back(slot.search->draw_key(row));
  asides_.insert(asides_.end(), asides.begin(), asides.end());
  for (const Aside& aside : asides) aside_ids_.push_back(aside.id);
  aside_begin_.push_back(static_cast<int64_t>(aside_ids_.size()));
}

void Worker::project() {
  const size_t rows = aside_begin_.size() - 1;
  const SearchOptions& o = job_.options;
  aside_logits_.resize(aside_ids_.size());
  log_sum_exp_.resize(rows);
  free_log_sum_.resize(rows);
  drawn_.resize(rows);
  k_ = std::max(wanted_, job_.soft_labels);
  top_.resize(rows * k_);
  spread_.resize(job_.soft_labels > 0 ? rows : 0);
  Projection p{nullptr,
               0,
               static_cast<int64_t>(rows),
               nullptr,
               aside_ids_.data(),
               aside_begin_.data(),
               aside_logits_.data(),
               k_,
               top_.data(),
               log_sum_exp_.data()};
  if (o.sample || renormalises(o, job_.neighbours != nullptr)) p.free_log_sum = free_log_sum_.data();
  if (o.sample) {
    p.inverse_temperature = 1.0f / o.temperature;
    p.keys = keys_.data();
    p.drawn = drawn_.data();
  }
  if (job_.soft_labels > 0) {
    p.spread = spread_.data();
    p.spread_k = job_.soft_labels;
  }
  ensemble_.project(p);
}

// Of the rows of a slot: the model's own, whatever the search makes of them.
void Worker::note_soft_labels(Slot& slot, int64_t row) {
  const size_t first = static_cast<size_t>(slot.position) * shape_.beams;
  slot.soft_labels.resize(first + shape_.beams);
  for (int i = 0; i < slot.rows(); ++i, ++row) {
    std::vector<Candidate> known(top_.begin() + row * k_, top_.begin() + row * k_ + job_.soft_labels);
    for (int64_t j = aside_begin_[row]; j < aside_begin_[row + 1]; ++j)
      known.push_back({aside_logits_[j], aside_ids_[j]});
    slot.soft_labels.set(first + i, known, log_sum_exp_[row], spread_[row]);
  }
}

void Worker::choose_row(int64_t row, const Candidate* top, int64_t k, Row& out) const {
  const int64_t begin = aside_begin_[row];
  ProjectedRow projected{top,
                         k,
                         log_sum_exp_[row],
                         asides_.data() + begin,
                         aside_logits_.data() + begin,
                         aside_begin_[row + 1] - begin,
                         free_log_sum_[row],
                         drawn_[row]};
  if (job_.neighbours) {
    projected.neighbours = true;
    projected.lambda = neighbours_.lambda[row];
  }
  choose(projected, job_.options, out);
}

// All free ids of a row are its candidates: its logits are computed once more, bit for bit, and kept this time.
void Worker::widen(int64_t row, Row& out) {
  if (job_.stop) return;
  const int64_t vocab = models_.vocab();
  logits_.resize(vocab);
  ensemble_.logits(row, logits_.data());
  for (int64_t i = aside_begin_[row]; i < aside_begin_[row + 1]; ++i) logits_[aside_ids_[i]] = -INFINITY;
  all_.clear();
  for (int64_t id = 0; id < vocab; ++id)
    if (logits_[id] > -INFINITY) all_.push_back({logits_[id], static_cast<int32_t>(id)});
  choose_row(row, all_.data(), static_cast<int64_t>(all_.size()), out);
}

void Worker::advance(Slot& slot, int64_t row) {
  try {
    advance_search(slot, row);
  } catch (const NothingLeft&) {
    Output& output = (*job_.outputs)[slot.sentence->index];
    output = {Status::empty_hypothesis, {}};
    leave(slot);
  }
}

void Worker::advance_search(Slot& slot, int64_t row) {
  const float* sums = log_sum_exp_.data() + row;
  if (!std::all_of(sums, sums + slot.rows(), [](float sum) { return std::isfinite(sum); })) {
    (*job_.outputs)[slot.sentence->index].status = Status::not_finite;
    return leave(slot);
  }
  if (job_.soft_labels > 0) note_soft_labels(slot, row);
  const std::vector<int>& prefix = prefix_of(*slot.sentence);
  std::vector<int> parents(slot.rows());
  if (slot.position < static_cast<int>(prefix.size())) {
    std::iota(parents.begin(), parents.end(), 0);
    slot.search->cover(ensemble_.attention(row));
    slot.tokens.assign(slot.rows(), prefix[slot.position]);
  } else {
    for (int i = 0; i < slot.rows(); ++i) {
      choose_row(row + i, top_.data() + (row + i) * k_, wanted_, rows_[i]);
      rows_[i].attention = ensemble_.attention(row + i);
    }
    slot.search->advance(rows_.data(), [&](int i) { widen(row + i, rows_[i]); });
    if (slot.search->done()) return finish(slot);
    slot.tokens.resize(slot.search->rows());
    parents.resize(slot.search->rows());
    for (int i = 0; i < slot.rows(); ++i) {
      slot.tokens[i] = slot.search->token(i);
      parents[i] = slot.search->parent(i);
    }
  }
  slot.ancestors.follow(parents, ++slot.position);
}

void Worker::finish(Slot& slot) {
  Output& output = (*job_.outputs)[slot.sentence->index];
  output.hypotheses = slot.search->results();
  settle(job_.options, prefix_of(*slot.sentence), slot.search->longest(), output);
  for (Hypothesis& hypothesis : output.hypotheses) {
    if (job_.soft_labels == 0) continue;
    hypothesis.soft_labels.k = job_.soft_labels;
    hypothesis.soft_labels.resize(hypothesis.rows.size());
    for (size_t step = 0; step < hypothesis.rows.size(); ++step)
      hypothesis.soft_labels.copy(step, slot.soft_labels, step * shape_.beams + hypothesis.rows[step]);
  }
  leave(slot);
}

void Worker::leave(Slot& slot) {
  slot.search.reset();
  free_places_.push_back(slot.sentence->place);
  slot.sentence.reset();
  ++job_.done;
}

}  // namespace distilmt
