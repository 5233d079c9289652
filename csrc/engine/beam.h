// Beam search over one sentence: which continuations live on, which hypotheses are kept, and when to stop.
//
// The semantics are those of Hugging Face `generate` (transformers 5.23, generation/utils.py, _beam_search), step by
// step:
//   - candidates: the 2 * beam_size best continuations by summed score, in float32;
//   - of these the first beam_size may finish (end symbol, or length reached); the best unfinished beam_size live on;
//   - a finished score is the sum by its length penalty, whose length counts the end symbol and not the prefix;
//   - the best beam_size finished are kept; `early_stopping` says when no better one is expected.
// Hugging Face marks absent and dead entries by adding -1e9 in float32; so do we, since that decides corner cases.
// Ties, which torch.topk leaves open, go to the lower beam, then to the lower id. With beam_size 1 the search is
// greedy.
//
// What Hugging Face has not:
//   - patience (Kasai et al. 2022, arXiv:2204.05424): round(beam_size * patience) finished are kept, and searched for;
//   - early stopping `exact`: the search ends when no living hypothesis can come under the first n_best, at any length:
//     scores are sums of log-probabilities, so that of the best living one is a bound. The result is that of a search
//     to max_length.
//   - a coverage penalty (engine/coverage.h), added to finished scores.
#pragma once
#include <optional>
#include <vector>

#include "engine/coverage.h"
#include "engine/search.h"

namespace distilmt {

BeamRule beam_rule(const SearchOptions& options);

class Beam : public Search {
 public:
  Beam(const SearchOptions& options, int prefix, int max_length, size_t source_length);

  int wanted() const override { return width_ == 1 ? 1 : 2 * width_; }
  // Before the first token all beams are alike, and one row serves all of them.
  int rows() const override { return step_ == 0 ? 1 : width_; }
  void advance(const Row* rows, const Widen&) override;
  int token(int row) const override { return trellis_[(step_ - 1) * width_ + row].token; }
  int parent(int row) const override { return step_ == 1 ? 0 : trellis_[(step_ - 1) * width_ + row].parent; }
  bool done() const override { return done_; }
  void read(int row, std::vector<int>& ids) const override;
  void cover(const float* attention) override;
  // The n_best kept hypotheses, best first; fewer where the vocabulary is too small to have so many.
  std::vector<Hypothesis> results() const override;

 private:
  void collect(const Row* rows);
  float divisor(int length) const;
  float coverage(const Option& option, const Row* rows) const;
  Hypothesis read(const Kept& kept) const;

  const int width_;
  const BeamRule rule_;
  bool done_ = false;
  bool can_improve_ = true;         // never true again once false
  std::vector<Option> living_;      // [width] beams, best first
  std::vector<Node> trellis_;       // [step, width]
  std::vector<Kept> kept_;          // [width * patience] best first
  std::vector<Option> candidates_;  // of this step, best first
  std::optional<Coverage> coverage_;
};

}  // namespace distilmt
