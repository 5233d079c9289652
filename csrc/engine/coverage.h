// How much of the source each beam has looked at: the attention of its tokens, summed per source token.
//
//   penalty = sum over source tokens of log(min(coverage, 1)), <= 0
//
// Source: Wu et al. 2016 (arXiv:1609.08144), equation 14. The attention of the end symbol and of a prefix counts, as in
// CTranslate2 4.8.
#pragma once
#include <vector>

#include "kernels/beam_step.h"

namespace distilmt {

class Coverage {
 public:
  explicit Coverage(size_t source_length) : seen_(1, std::vector<float>(source_length, 0.0f)) {}

  // Of a hypothesis that ends in `row` with a token of this attention [source length].
  float penalty(int row, const float* attention) const {
    float total = 0;
    for (size_t j = 0; j < seen_[row].size(); ++j) total += coverage_term(seen_[row][j] + attention[j]);
    return total;
  }

  // Row i continues row parents[i] by a token with this attention.
  void follow(const std::vector<int>& parents, const std::vector<const float*>& attention) {
    std::vector<std::vector<float>> next;
    for (size_t i = 0; i < parents.size(); ++i) {
      next.push_back(seen_[parents[i]]);
      for (size_t j = 0; j < next[i].size(); ++j) next[i][j] += attention[i][j];
    }
    seen_.swap(next);
  }

 private:
  std::vector<std::vector<float>> seen_;  // [row, source token]
};

}  // namespace distilmt
