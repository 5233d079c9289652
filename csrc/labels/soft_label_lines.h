// Soft labels of a whole text: the sentences' bytes, one behind the other, and where each begins. Reads any line at
// once.
#pragma once
#include <cstdint>
#include <vector>

#include "labels/soft_labels.h"

namespace distilmt {

// Errors are std::runtime_error and begin with "line 17: "; lines count from 1.
class SoftLabelLines {
 public:
  // bytes: [size]; offsets: [lines + 1]. Both may be a mapped file: nothing is read before it is asked for.
  SoftLabelLines(const uint8_t* bytes, uint64_t size, const uint64_t* offsets, int64_t lines)
      : bytes_(bytes), size_(size), offsets_(offsets), lines_(lines) {}

  void read(int64_t line, StoredSentence& sentence) const;

  // Targets of `count` lines, one behind the other; lengths: [count].
  std::vector<int32_t> targets(const int64_t* lines, int64_t count, int64_t* lengths) const;

  // The teacher of a padded batch. lines: [count]; labels: [count, width], the targets that the batch learns, which
  // must be those of the store, and below 0 behind them. ids, log_probs: [count, width, k]; -inf where there is no
  // entry. An id of `columns` or above, which the student's output layer lacks, has probability 0.
  void gather(const int64_t* lines, int64_t count, const int64_t* labels, int64_t width, int64_t k, int64_t columns,
              int64_t* ids, float* log_probs) const;

  // Likewise the states, bfloat16 [count, width, state_width]; 0 where there is no target.
  void gather_states(const int64_t* lines, int64_t count, const int64_t* labels, int64_t width, int64_t state_width,
                     uint16_t* states) const;

 private:
  void match(int64_t line, const StoredSentence& sentence, const int64_t* labels, int64_t width) const;

  const uint8_t* bytes_;
  uint64_t size_;
  const uint64_t* offsets_;
  int64_t lines_;
};

}  // namespace distilmt
