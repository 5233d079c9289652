// Forced decoding of one sentence: the log-probability of each token of a given target.
#pragma once
#include <vector>

#include "engine/beam.h"

namespace distilmt {

class Forced {
 public:
  // target: ids without the end symbol, which is scored as the last token.
  Forced(const std::vector<int>& target, const SearchOptions& options)
      : options_(&options), tokens_(target), length_(target.size() + 1) {
    tokens_.push_back(options.eos);
    result_.ids = target;
    result_.ended = true;
  }

  int wanted() const { return tokens_[result_.log_probs.size()]; }  // the token to be scored next
  bool done() const { return result_.log_probs.size() == length_; }

  void advance(float log_prob) {
    result_.log_probs.push_back(log_prob);
    sum_ += log_prob;
    if (done()) result_.score = normalize(sum_, static_cast<int>(length_), options_->length_penalty);
  }

  const Hypothesis& result() const { return result_; }

 private:
  const SearchOptions* options_;
  std::vector<int> tokens_;
  size_t length_;
  float sum_ = 0;
  Hypothesis result_;
};

}  // namespace distilmt
