// A search on a device: all of its memory, and what one step queues. What the host needs to know of it comes through
// mapped memory (Results, csrc/cuda/slots.h), and what the device needs to know of a sentence through Places.
#pragma once
#include <optional>
#include <vector>

#include "device/ensemble.h"
#include "engine/plan.h"

namespace distilmt {

// What the device is told of encoded sentences, as it lies in its memory; a copy in mapped memory, changed and sent
// whole, is never changed while it is on its way.
class PlaceTable {
 public:
  PlaceTable(Memory& memory, int places, DeviceArray<int32_t>::Kind kind)
      : places_(places), values_(memory, size(places), kind) {}

  // Where each array lies, in a table that begins at `table`.
  struct Fields {
    uint64_t* key;
    int32_t *source_length, *limit, *prefix_begin, *prefix_length, *ready;
    uint32_t* ready_tail;  // [1]
  };
  static Fields fields(int32_t* table, int64_t places) {
    const auto at = [&](int i) { return table + i * places; };
    return {reinterpret_cast<uint64_t*>(table), at(2), at(3), at(4), at(5), at(6), reinterpret_cast<uint32_t*>(at(7))};
  }
  Fields fields() const { return fields(values_.get(), places_); }
  static int64_t size(int64_t places) { return 7 * places + 1; }  // in int32

  int32_t* data() const { return values_.get(); }
  int64_t bytes() const { return values_.count() * 4; }

 private:
  int64_t places_;
  DeviceArray<int32_t> values_;
};

class DeviceSearch {
 public:
  static constexpr int kMostNeighbours = 128;  // of a row

  DeviceSearch(const DeviceModels& models, const DeviceShape& shape, const Job& job, Memory& memory);

  // Once, before the first step: tables that do not change. `memory` has to have been the device itself.
  void upload();
  // A step, or what of it comes before neighbours are asked and behind that.
  enum class Part { all, layers, choice };
  // Queues it, for as many of the live as are `launched`.
  void queue(int launched, Part part);
  // Between the two parts, once the first is done: asks for the neighbours of its rows.
  void ask(const FindNeighbours& find, int launched);

  const PlaceTable& places() const { return places_; }
  int32_t* prefix_tokens(int place) const { return prefix_tokens_.get() + int64_t{place} * shape_.positions; }
  DeviceEnsemble& models() { return models_; }
  const cuda::Results& results() const { return results_; }

 private:
  void lay_out_slots(Memory& memory);
  void lay_out_results(Memory& memory);
  void lay_out_rows(Memory& memory);
  void lay_out_asides(Memory& memory);
  void lay_out_neighbours(Memory& memory);
  void lay_out_coverage(Memory& memory);
  cuda::SoftLabelMemory soft_labels(Memory& memory, int64_t rows, DeviceArray<int32_t>::Kind kind);
  template <class T>
  T* keep(Memory& memory, int64_t count, DeviceArray<int32_t>::Kind kind = DeviceArray<int32_t>::Kind::device);
  template <class T>
  const T* uploaded(const std::vector<T>& values);

  const DeviceShape shape_;
  const SearchOptions& options_;
  const int soft_labels_;
  const bool scoring_, sampling_;
  const int n_best_;
  const bool hidden_states_;

  const bool neighbours_;

  DeviceEnsemble models_;
  PlaceTable places_;
  DeviceArray<int32_t> prefix_tokens_;      // [places, positions], where tokens are forced
  std::vector<DeviceArray<uint8_t>> kept_;  // what the structs below point to
  cuda::Slots slots_{};
  cuda::Admission admission_{};
  cuda::RowProjection rows_{};
  cuda::SettingAside aside_{};
  // What the host reads and writes of a step with neighbours, in mapped memory.
  struct Asked {
    uint8_t* states;  // [rows, hidden] stored
    int32_t* ids;     // [rows, kMostNeighbours]
    float *probabilities, *lambda;
  } asked_{};
  cuda::Coverage coverage_{};
  cuda::BeamSearch beam_{};
  cuda::ForcedStep forced_{};
  cuda::Sampling sample_{};
  cuda::Results results_{};
};

}  // namespace distilmt
