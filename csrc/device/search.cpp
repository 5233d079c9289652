#include "device/search.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/choices.h"

namespace distilmt {
namespace {

using Kind = DeviceArray<int32_t>::Kind;

}  // namespace

DeviceSearch::DeviceSearch(const DeviceModels& models, const DeviceShape& shape, const Job& job, Memory& memory)
    : shape_(shape),
      options_(job.options),
      soft_labels_(job.soft_labels),
      scoring_(job.targets != nullptr),
      sampling_(job.options.sample && !scoring_),
      n_best_(scoring_ ? 1 : job.options.n_best),
      hidden_states_(job.hidden_states),
      neighbours_(job.neighbours != nullptr),
      models_(models, shape, memory),
      places_(memory, shape.places, Kind::device),
      prefix_tokens_(memory, scoring_ || job.prefixes ? int64_t{shape.places} * shape.positions : 1) {
  lay_out_slots(memory);
  lay_out_results(memory);
  lay_out_rows(memory);
  const PlaceTable::Fields f = places_.fields();
  const cuda::Places told{shape.places,
                          f.source_length,
                          f.limit,
                          f.prefix_begin,
                          f.prefix_length,
                          prefix_tokens_.get(),
                          sampling_ ? f.key : nullptr};
  const BeamRule rule{
      shape.beams, n_best_, slots_.room, options_.eos, options_.early_stopping, options_.length_penalty > 0};
  aside_ = {rows_,
            told,
            options_.start,
            options_.no_repeat_ngram_size,
            neighbours_ ? kMostNeighbours : 0,
            asked_.ids,
            asked_.probabilities};
  if (shape.attention) lay_out_coverage(memory);
  beam_ = {slots_,
           told,
           rule,
           options_.forced_bos,
           options_.forced_eos,
           options_.start,
           nullptr,
           rows_.k,
           rows_.choices,
           rows_.log_sum_exp,
           rows_.soft,
           results_,
           static_cast<float>(options_.coverage_penalty),
           coverage_};
  forced_ = {slots_,
             told,
             options_.eos,
             models_.logits(),
             rows_.stride,
             rows_.bias,
             rows_.log_sum_exp,
             rows_.soft,
             results_,
             models_.decoder().states()};
  if (!sampling_) return;
  const int64_t rows = int64_t{shape.slots} * shape.beams;
  sample_ = {rows_,
             told,
             options_.top_k,
             options_.top_p,
             options_.forced_bos,
             options_.forced_eos,
             nullptr,
             keep<int32_t>(memory, rows),
             keep<float>(memory, rows),
             results_};
}

template <class T>
T* DeviceSearch::keep(Memory& memory, int64_t count, Kind kind) {
  kept_.emplace_back(memory, count * static_cast<int64_t>(sizeof(T)),
                     kind == Kind::mapped ? DeviceArray<uint8_t>::Kind::mapped : DeviceArray<uint8_t>::Kind::device);
  return reinterpret_cast<T*>(kept_.back().get());
}

void DeviceSearch::lay_out_slots(Memory& memory) {
  const int64_t slots = shape_.slots, beams = shape_.beams, positions = shape_.positions;
  slots_.slots = slots_.launched = shape_.slots;
  slots_.beams = shape_.beams;
  slots_.positions = shape_.positions;
  slots_.pages_per_slot = shape_.pages_per_slot();
  slots_.live = keep<int32_t>(memory, slots);
  slots_.position = keep<int32_t>(memory, slots);
  slots_.place = keep<int32_t>(memory, slots);
  slots_.ticket = keep<uint32_t>(memory, slots);
  slots_.tokens = keep<int32_t>(memory, slots * beams);
  slots_.pages = keep<int32_t>(memory, slots * slots_.pages_per_slot);
  slots_.held = keep<int32_t>(memory, slots);
  slots_.ancestors = keep<uint8_t>(memory, 2 * slots * positions * beams);
  slots_.room = std::max(1, static_cast<int>(std::lround(beams * options_.patience)));
  slots_.scores = keep<float>(memory, slots * beams);
  slots_.can_improve = keep<int32_t>(memory, slots);
  slots_.trellis = keep<Node>(memory, slots * positions * beams);
  slots_.kept = keep<Kept>(memory, slots * slots_.room);
  admission_ = {slots_,
                shape_.places,
                places_.fields().ready,
                keep<uint32_t>(memory, 1),
                places_.fields().ready_tail,
                keep<int32_t>(memory, shape_.pages),
                keep<int32_t>(memory, 1),
                options_.start,
                keep<int32_t>(memory, 1, neighbours_ ? Kind::mapped : Kind::device)};
}

void DeviceSearch::lay_out_results(Memory& memory) {
  const DeviceModel& model = models_.first();
  const int64_t places = shape_.places, hypotheses = places * n_best_;
  results_ = {shape_.places,
              n_best_,
              shape_.positions,
              keep<uint32_t>(memory, 1),
              keep<uint32_t>(memory, 1),
              keep<uint32_t>(memory, 1, Kind::mapped),
              keep<int32_t>(memory, places, Kind::mapped),
              keep<int32_t>(memory, places, Kind::mapped),
              keep<int32_t>(memory, places, Kind::mapped),
              keep<float>(memory, hypotheses, Kind::mapped),
              keep<int32_t>(memory, hypotheses, Kind::mapped),
              keep<int32_t>(memory, hypotheses * shape_.positions, Kind::mapped),
              keep<float>(memory, hypotheses * shape_.positions, Kind::mapped),
              soft_labels(memory, hypotheses * shape_.positions, Kind::mapped),
              {model.storage, model.config.hidden, nullptr}};
  const int64_t states = hypotheses * shape_.positions * model.config.hidden * cuda::bytes(model.storage);
  if (scoring_ && hidden_states_) results_.states.states = keep<uint8_t>(memory, states, Kind::mapped);
}

void DeviceSearch::lay_out_rows(Memory& memory) {
  const int64_t rows = int64_t{shape_.slots} * shape_.beams;
  rows_.storage = cuda::Storage::float32;
  rows_.logits = models_.logits();
  rows_.stride = models_.stride();
  rows_.vocab = models_.first().config.target_vocab;
  rows_.bias = models_.bias();
  rows_.min_length = scoring_ ? 0 : options_.min_length;
  rows_.eos = options_.eos;
  rows_.slots = slots_;
  rows_.prefix_length = places_.fields().prefix_length;
  rows_.k = shape_.beams == 1 ? 1 : 2 * shape_.beams;
  if (sampling_) rows_.k = options_.top_p < 1 ? cuda::kMostCandidates : std::max(1, options_.top_k);
  rows_.choices = keep<Choice>(memory, rows * rows_.k);
  rows_.log_sum_exp = keep<float>(memory, rows);
  rows_.renormalised = !scoring_ && renormalises(options_, neighbours_);
  rows_.choice_log_sum = sampling_ || rows_.renormalised ? keep<float>(memory, rows) : nullptr;
  rows_.inverse_temperature = sampling_ ? 1 / options_.temperature : 1;
  rows_.soft = soft_labels(memory, rows * shape_.positions, Kind::device);
  rows_.summed = !sampling_;
  rows_.rule = choice_rule(options_, neighbours_);
  if (neighbours_) lay_out_neighbours(memory);
  if (neighbours_ || (!scoring_ && reads_text(options_))) lay_out_asides(memory);
}

void DeviceSearch::lay_out_asides(Memory& memory) {
  const int64_t rows = int64_t{shape_.slots} * shape_.beams;
  cuda::RowAsides& aside = rows_.aside;
  aside.room = (reads_text(options_) ? shape_.positions : 0) + (neighbours_ ? kMostNeighbours : 0);
  aside.entries = keep<Aside>(memory, rows * aside.room);
  aside.count = keep<int32_t>(memory, rows);
  aside.bits = keep<uint32_t>(memory, rows * aside.words(rows_.vocab));
}

void DeviceSearch::lay_out_neighbours(Memory& memory) {
  const int64_t rows = int64_t{shape_.slots} * shape_.beams;
  const DeviceModel& model = models_.first();
  asked_ = {keep<uint8_t>(memory, rows * model.config.hidden * cuda::bytes(model.storage), Kind::mapped),
            keep<int32_t>(memory, rows * kMostNeighbours, Kind::mapped),
            keep<float>(memory, rows * kMostNeighbours, Kind::mapped), keep<float>(memory, rows, Kind::mapped)};
  rows_.lambda = asked_.lambda;
}

void DeviceSearch::lay_out_coverage(Memory& memory) {
  const int64_t rows = int64_t{shape_.slots} * shape_.beams, source = shape_.source_positions;
  coverage_ = {slots_,
               places_.fields().source_length,
               models_.first().config.decoder_heads,
               source,
               models_.decoder().attention(),
               keep<float>(memory, rows * source),
               keep<float>(memory, rows * source),
               keep<float>(memory, rows)};
}

cuda::SoftLabelMemory DeviceSearch::soft_labels(Memory& memory, int64_t rows, Kind kind) {
  if (soft_labels_ == 0) return {};
  return {soft_labels_, keep<int32_t>(memory, rows * soft_labels_, kind),
          keep<float>(memory, rows * soft_labels_, kind), keep<float>(memory, rows, kind),
          keep<float>(memory, rows, kind)};
}

template <class T>
const T* DeviceSearch::uploaded(const std::vector<T>& values) {
  T* to = keep<T>(*models_.first().device, static_cast<int64_t>(values.size()));
  models_.first().device->upload(to, values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
  return to;
}

void DeviceSearch::upload() {
  Device& device = *models_.first().device;
  models_.upload();
  const auto fill = [&](int32_t* to, std::vector<int32_t> values) {
    device.upload(to, values.data(), static_cast<int64_t>(values.size() * sizeof(int32_t)));
  };
  fill(slots_.position, std::vector<int32_t>(shape_.slots, -1));
  std::vector<int32_t> pages(shape_.pages);
  std::iota(pages.begin(), pages.end(), 0);
  fill(admission_.free_pages, pages);
  fill(admission_.free_count, {shape_.pages});

  std::vector<float> divisors;
  for (int length = 0; length < options_.max_length + 2; ++length)
    divisors.push_back(length_divisor(length, options_.length_penalty, options_.length_form));
  beam_.divisor = sample_.divisor = uploaded(divisors);
  if (scoring_ || options_.banned.empty()) return;
  std::vector<int32_t> banned = options_.banned;
  std::sort(banned.begin(), banned.end());
  banned.erase(std::unique(banned.begin(), banned.end()), banned.end());
  std::vector<uint8_t> bits((rows_.vocab + 7) / 8);
  for (int32_t id : banned) bits[id / 8] |= static_cast<uint8_t>(1 << id % 8);
  rows_.banned = uploaded(bits);
  rows_.banned_ids = uploaded(banned);
  rows_.banned_count = static_cast<int32_t>(banned.size());
}

void DeviceSearch::queue(int launched, Part part) {
  Device& device = *models_.first().device;
  const Kernels& kernels = device.kernels();
  for (cuda::Slots* slots : {&slots_, &admission_.slots, &rows_.slots, &coverage_.slots, &beam_.slots, &forced_.slots})
    slots->launched = launched;
  aside_.rows = sample_.rows = rows_;
  if (part != Part::choice) {
    device.start(Queue::decode, kernels.admit, admission_);
    models_.step(slots_, places_.fields().source_length);
    const DeviceModel& model = models_.first();
    const int64_t states = launched * int64_t{shape_.beams} * model.config.hidden * cuda::bytes(model.storage);
    if (neighbours_) device.copy(Queue::decode, asked_.states, models_.decoder().states(), states);
  }
  if (part == Part::layers) return;
  if (rows_.aside.room > 0) device.start(Queue::decode, kernels.set_aside, aside_);
  device.start(Queue::decode, kernels.project_rows, rows_);
  if (scoring_) return device.start(Queue::decode, kernels.forced, forced_);
  if (coverage_.penalty) device.start(Queue::decode, kernels.cover, coverage_);
  if (!sampling_) return device.start(Queue::decode, kernels.beam, beam_);
  device.start(Queue::decode, kernels.draw, sample_);
  device.start(Queue::decode, kernels.sample, sample_);
}

void DeviceSearch::ask(const FindNeighbours& find, int launched) {
  const DeviceModel& model = models_.first();
  const int64_t rows = int64_t{std::min(*admission_.live_count, launched)} * shape_.beams;
  if (rows == 0) return;
  const Neighbours found = find(loaded(asked_.states, 0, rows * model.config.hidden, model.storage).data(), rows);
  if (found.k > kMostNeighbours) throw NotOnDevice("more than 128 neighbours of a row");
  std::copy(found.lambda.begin(), found.lambda.end(), asked_.lambda);
  std::fill_n(asked_.ids, rows * kMostNeighbours, -1);
  for (int64_t row = 0; row < rows; ++row) {
    std::copy_n(found.ids.begin() + row * found.k, found.k, asked_.ids + row * kMostNeighbours);
    std::copy_n(found.probabilities.begin() + row * found.k, found.k, asked_.probabilities + row * kMostNeighbours);
  }
}

}  // namespace distilmt
