#include "device/search.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/choices.h"

namespace distilmt {
namespace {

using Kind = DeviceArray<int32_t>::Kind;

}  // namespace

DeviceSearch::DeviceSearch(const DeviceModel& model, const DeviceShape& shape, const Job& job, Memory& memory)
    : model_(model),
      shape_(shape),
      options_(job.options),
      soft_labels_(job.soft_labels),
      scoring_(job.targets != nullptr),
      sampling_(job.options.sample && !scoring_),
      n_best_(scoring_ ? 1 : job.options.n_best),
      decoder_(model, shape, memory),
      source_(memory, model.config.decoder_layers * shape.places * shape.source_positions * 2 * model.config.hidden *
                          cuda::bytes(model.storage)),
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
  beam_ = {slots_,  told,    rule,      options_.forced_bos, options_.forced_eos, options_.start,
           nullptr, rows_.k, rows_.top, rows_.log_sum_exp,   rows_.free_log_sum,  rows_.soft,
           results_};
  forced_ = {slots_,     told,    options_.eos, decoder_.logits(), rows_.stride, rows_.bias, rows_.log_sum_exp,
             rows_.soft, results_};
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
                keep<int32_t>(memory, 1)};
}

void DeviceSearch::lay_out_results(Memory& memory) {
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
              soft_labels(memory, hypotheses * shape_.positions, Kind::mapped)};
}

void DeviceSearch::lay_out_rows(Memory& memory) {
  const int64_t rows = int64_t{shape_.slots} * shape_.beams;
  int wanted = shape_.beams == 1 ? 1 : 2 * shape_.beams;
  if (sampling_) wanted = options_.top_p < 1 ? cuda::kMostCandidates : std::max(1, options_.top_k);
  rows_.storage = cuda::Storage::float32;
  rows_.logits = decoder_.logits();
  rows_.stride = decoder_.stride();
  rows_.vocab = model_.config.target_vocab;
  rows_.bias = model_.projection.bias.get();
  rows_.min_length = scoring_ ? 0 : options_.min_length;
  rows_.eos = options_.eos;
  rows_.slots = slots_;
  rows_.prefix_length = places_.fields().prefix_length;
  rows_.k = std::max(wanted, soft_labels_);
  rows_.top = keep<Candidate>(memory, rows * rows_.k);
  rows_.log_sum_exp = keep<float>(memory, rows);
  rows_.free_log_sum = sampling_ || (!scoring_ && renormalises(options_, false)) ? keep<float>(memory, rows) : nullptr;
  rows_.inverse_temperature = sampling_ ? 1 / options_.temperature : 1;
  rows_.soft = soft_labels(memory, rows * shape_.positions, Kind::device);
}

cuda::SoftLabelMemory DeviceSearch::soft_labels(Memory& memory, int64_t rows, Kind kind) {
  if (soft_labels_ == 0) return {};
  return {soft_labels_, keep<int32_t>(memory, rows * soft_labels_, kind),
          keep<float>(memory, rows * soft_labels_, kind), keep<float>(memory, rows, kind),
          keep<float>(memory, rows, kind)};
}

template <class T>
const T* DeviceSearch::uploaded(const std::vector<T>& values) {
  T* to = keep<T>(*model_.device, static_cast<int64_t>(values.size()));
  model_.device->upload(to, values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
  return to;
}

void DeviceSearch::upload() {
  Device& device = *model_.device;
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

void DeviceSearch::queue(int launched) {
  Device& device = *model_.device;
  const Kernels& kernels = device.kernels();
  admission_.slots.launched = rows_.slots.launched = beam_.slots.launched = forced_.slots.launched = slots_.launched =
      launched;
  device.start(Queue::decode, kernels.admit, admission_);
  decoder_.queue(slots_, places_.fields().source_length, source_);
  device.start(Queue::decode, kernels.project_rows, rows_);
  if (scoring_) return device.start(Queue::decode, kernels.forced, forced_);
  if (!sampling_) return device.start(Queue::decode, kernels.beam, beam_);
  sample_.rows = rows_;
  device.start(Queue::decode, kernels.draw, sample_);
  device.start(Queue::decode, kernels.sample, sample_);
}

}  // namespace distilmt
