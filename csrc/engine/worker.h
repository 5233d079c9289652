// One worker of the search: takes sentences from the common queue, keeps its slots full, and steps all of them
// together.
//
// A sentence is encoded (with a few others), waits in a place, gets a slot, is stepped until its search is done and
// leaves; the next one takes its slot at the next step. No number computed for it depends on its company.
#pragma once
#include <deque>
#include <optional>
#include <vector>

#include "engine/decoder.h"
#include "engine/encoder.h"
#include "engine/job.h"

namespace distilmt {

class Worker {
 public:
  Worker(const Weights& weights, Job& job, const DecoderShape& shape);

  // Until the queue is empty or the job is stopped.
  void run();

 private:
  struct Sentence {
    size_t index;
    int place;
    int length;  // source tokens, end symbol included
  };
  struct Slot {
    explicit Slot(const DecoderShape& shape) : ancestors(shape.beams, shape.positions) {}
    std::optional<Sentence> sentence;  // empty: the slot is free
    int position = 0;
    std::optional<Beam> beam;
    std::vector<int32_t> tokens;  // what each beam reads next
    SoftLabels soft_labels;       // [step, beam], where asked for
    AncestorTable ancestors;
    int rows() const { return static_cast<int>(tokens.size()); }
  };

  void fill_slots();
  void encode_some();
  void start(Slot& slot, const Sentence& sentence);
  void step();
  void project(const float* hidden);
  void note_soft_labels(Slot& slot, int64_t row);
  void advance(Slot& slot, int64_t row);
  void finish(Slot& slot);
  void leave(Slot& slot);

  const Weights& weights_;
  Job& job_;
  const DecoderShape shape_;
  const int64_t chunk_;  // tokens encoded at once, at most
  Encoder encoder_;
  Decoder decoder_;
  std::vector<Slot> slots_;
  std::deque<Sentence> ready_;
  std::vector<int> free_places_;

  // Of the current step.
  std::vector<DecoderInput> inputs_;
  int k_ = 0;
  std::vector<int32_t> picked_;
  std::vector<float> picked_logit_, log_sum_exp_;
  std::vector<Candidate> top_;
  std::vector<Spread> spread_;
};

}  // namespace distilmt
