// Which beam's keys and values a beam reads at each past position.
//
// Keys and values are written once, at (position, beam that computed them), and never move. When beams are reordered,
// this table is copied instead: 2 bytes per position where the keys and values would be layers * 2 * hidden floats.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace distilmt {

class AncestorTable {
 public:
  AncestorTable(int beams, int positions)
      : positions_(positions), now_(static_cast<size_t>(beams) * positions), next_(now_.size()) {}

  // Row of `beam`: entry t is the beam whose keys and values it reads at position t.
  const uint16_t* of(int beam) const { return now_.data() + static_cast<size_t>(beam) * positions_; }

  // Announces that `beam` writes its own entry at `position`.
  void write(int beam, int position) { now_[static_cast<size_t>(beam) * positions_ + position] = beam; }

  // After a step: beam b continues what parents[b] was, up to and including `length` positions.
  void follow(const std::vector<int>& parents, int length) {
    for (size_t beam = 0; beam < parents.size(); ++beam)
      std::copy_n(of(parents[beam]), length, next_.data() + beam * positions_);
    now_.swap(next_);
  }

 private:
  int positions_;
  std::vector<uint16_t> now_, next_;  // [beams, positions]
};

}  // namespace distilmt
