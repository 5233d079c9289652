// Forced decoding on one worker: the log-probability of each token of given targets.
//
// All positions of a target are rows of one step: their inputs are known, and a row reads the keys and values of the
// rows before it (decoder.h). Several sentences share a step, and a long one takes several. Rows are independent bit
// for bit, so a score depends neither on that cut nor on the company, and equals what the search finds for the same
// tokens.
#pragma once
#include <vector>

#include "engine/ensemble.h"
#include "engine/job.h"

namespace distilmt {

class Scorer {
 public:
  // shape: one beam; a place per slot.
  Scorer(const Models& models, Job& job, const DecoderShape& shape);

  // Until the queue is empty or the job is stopped.
  void run();

 private:
  // Encodes the next sentences of the queue, each into the slot and place of its number. False: there are none left.
  bool take();
  void score();
  void record(const std::vector<DecoderInput>& inputs);
  void finish();

  const Models& models_;
  Job& job_;
  const DecoderShape shape_;
  const int64_t chunk_;  // tokens encoded at once, at most
  Ensemble ensemble_;
  const AncestorTable one_beam_;

  // Of the sentences at hand.
  std::vector<size_t> indices_;
  std::vector<int> lengths_;  // source tokens, end symbol included
  // Of the rows at hand.
  std::vector<int32_t> wanted_;
  std::vector<int64_t> wanted_begin_;
  std::vector<float> wanted_logit_, log_sum_exp_;
  std::vector<Candidate> top_, known_;
  std::vector<Spread> spread_;
};

}  // namespace distilmt
