// Samples of one sentence: n_best of them, each drawn token by token from the model's distribution, changed as Hugging
// Face `generate` changes it (transformers 5.23, generation/logits_process.py): bans and penalties, temperature, the
// top_k best, of these the nucleus: the fewest best that hold top_p of the mass (Holtzman et al. 2020,
// arXiv:1904.09751).
//
// The random numbers of a sample hang on the seed, the sentence and prefix, the number of the sample, and the token's
// (common/philox.h): not on company, order, threads, nor on how many samples are drawn.
#pragma once
#include <vector>

#include "engine/search.h"

namespace distilmt {

class Sampler : public Search {
 public:
  Sampler(const SearchOptions& options, int prefix, int max_length, uint64_t sentence);

  int wanted() const override;
  int rows() const override { return static_cast<int>(living_.size()); }
  // Where a nucleus is wider than the choices, or top_k is, they are widened.
  void advance(const Row* rows, const Widen& widen) override;
  int token(int row) const override { return samples_[living_[row]].ids.back(); }
  int parent(int row) const override { return parents_[row]; }
  bool done() const override { return living_.empty(); }
  void read(int row, std::vector<int>& ids) const override;
  DrawKey draw_key(int row) const override;
  // In the order of their numbers; a score is that of the model's log-probabilities.
  std::vector<Hypothesis> results() const override { return samples_; }

 private:
  Choice draw(int row, const Row* rows, const Widen& widen) const;
  Choice draw_from_all(int row, const Row& found) const;
  Choice draw_from_best(int row, const Row* rows, const Widen& widen) const;

  const uint64_t sentence_;
  std::vector<Hypothesis> samples_;
  std::vector<int> living_;   // [row] number of its sample
  std::vector<int> parents_;  // [row] of the last step
};

// Names a sentence for its random numbers.
uint64_t sentence_key(uint64_t seed, const std::vector<int>& source, const std::vector<int>& prefix);

}  // namespace distilmt
