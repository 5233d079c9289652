// The hook of kNN-MT: given hidden states, a distribution over few words that is mixed into each step
// (engine/choices.h).
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

namespace distilmt {

struct Neighbours {
  int64_t k = 0;
  std::vector<int32_t> ids;          // [rows, k], in the vocabulary; a word may stand there several times
  std::vector<float> probabilities;  // [rows, k]
  std::vector<float> lambda;         // [rows], weight of the neighbours
};

// hidden [rows, d], of sentences in any company. Called by one worker at a time.
using FindNeighbours = std::function<Neighbours(const float* hidden, int64_t rows)>;

}  // namespace distilmt
