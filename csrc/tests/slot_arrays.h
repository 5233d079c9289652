// The device's arrays of slots, places and results, in the places of cuda/slots.h, for tests of its kernels.
#pragma once
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "cuda/attention.h"
#include "tests/kernels.h"

namespace distilmt::test {

struct Sizes {
  int slots, beams, positions, places, n_best, room, pages, soft;
};

class SlotArrays {
  template <class T>
  using Array = std::vector<T>;
  using Ints = Array<int32_t>;
  using Floats = Array<float>;

 public:
  explicit SlotArrays(const Sizes& s)
      : size(s), rows(s.slots * s.beams), entries(rows * s.positions), outputs(s.places * s.n_best * s.positions) {
    std::iota(free_pages.begin(), free_pages.end(), 0);
  }
  SlotArrays(const SlotArrays&) = delete;

  cuda::Slots slots() {
    return {size.slots,       size.beams,   size.slots,    size.positions,     per_slot(),     live.data(),
            position.data(),  place.data(), ticket.data(), tokens.data(),      pages.data(),   held.data(),
            ancestors.data(), size.room,    scores.data(), can_improve.data(), trellis.data(), kept.data()};
  }
  cuda::Places places() {
    return {size.places,          nullptr,   limit.data(), prefix_begin.data(), prefix_length.data(),
            prefix_tokens.data(), key.data()};
  }
  cuda::Admission admission(int start) {
    return {slots(), size.places, ready.data(), &head, &tail, free_pages.data(), &free_count, start, &live_count};
  }
  cuda::SoftLabelMemory soft() {
    return {size.soft, soft_ids.data(), soft_log_probs.data(), tail_mass.data(), entropy.data()};
  }
  cuda::Results results() {
    return {size.places,
            size.n_best,
            size.positions,
            &claimed,
            &blocks_left,
            &done,
            finished.data(),
            leaving.data(),
            hypotheses.data(),
            score.data(),
            length.data(),
            out_tokens.data(),
            log_probs.data(),
            {size.soft, out_soft_ids.data(), out_soft_log_probs.data(), out_tail.data(), out_entropy.data()}};
  }
  int per_slot() const { return (size.positions + 15) / 16; }

  const Sizes size;
  const size_t rows, entries, outputs;
  Ints live = Ints(size.slots, -1), position = live, place = live, held = Ints(size.slots), can_improve = held,
       tokens = Ints(rows, -1), pages = Ints(size.slots * per_slot(), -1), free_pages = Ints(size.pages);
  Array<uint32_t> ticket = Array<uint32_t>(size.slots);
  Array<uint8_t> ancestors = Array<uint8_t>(2 * entries, 255);
  Floats scores = Floats(rows, NAN);
  Array<Node> trellis = Array<Node>(entries);
  Array<Kept> kept = Array<Kept>(size.slots * size.room);
  int32_t free_count = size.pages, live_count = 0;

  Ints limit = Ints(size.places), prefix_begin = limit, prefix_length = limit, prefix_tokens, ready = limit;
  Array<uint64_t> key = Array<uint64_t>(size.places);
  uint32_t head = 0, tail = 0;

  Ints soft_ids = Ints(entries * size.soft);
  Floats soft_log_probs = Floats(entries * size.soft), tail_mass = Floats(entries), entropy = tail_mass;

  uint32_t claimed = 0, blocks_left = 0, done = 0;
  Ints finished = Ints(size.places, -1), leaving = finished, hypotheses = finished,
       length = Ints(size.places * size.n_best), out_tokens = Ints(outputs, -1),
       out_soft_ids = Ints(outputs * size.soft);
  Floats score = Floats(size.places * size.n_best), log_probs = Floats(outputs), out_tail = log_probs,
         out_entropy = log_probs, out_soft_log_probs = Floats(outputs * size.soft);
};

}  // namespace distilmt::test
