// One worker of the search: takes sentences from the common queue, keeps its slots full, and steps all of them
// together.
//
// A sentence is encoded (with a few others), waits in a place, gets a slot, is stepped until its search is done and
// leaves; the next one takes its slot at the next step. No number computed for it depends on its company.
#pragma once
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "engine/choices.h"
#include "engine/ensemble.h"
#include "engine/plan.h"

namespace distilmt {

class Worker {
 public:
  Worker(const Models& models, Job& job, const DecoderShape& shape);

  // Until the queue is empty or the job is stopped.
  void run();

 private:
  struct Sentence {
    size_t index;
    int place;
    int length;  // source tokens
  };
  struct Slot {
    explicit Slot(const DecoderShape& shape) : ancestors(shape.beams, shape.positions) {}
    std::optional<Sentence> sentence;  // empty: the slot is free
    int position = 0;
    std::unique_ptr<Search> search;
    std::vector<int32_t> tokens;  // what each row reads next
    SoftLabels soft_labels;       // [position, row], where asked for
    AncestorTable ancestors;
    int rows() const { return static_cast<int>(tokens.size()); }
  };

  void fill_slots();
  void encode_some();
  void start(Slot& slot, const Sentence& sentence);
  const std::vector<int>& prefix_of(const Sentence& sentence) const;
  void step();
  void set_row_aside(const Slot& slot, int row);
  void project();
  void choose_row(int64_t row, const Candidate* top, int64_t k, Row& out) const;
  void widen(int64_t row, Row& out);
  void note_soft_labels(Slot& slot, int64_t row);
  void advance(Slot& slot, int64_t row);
  void advance_search(Slot& slot, int64_t row);
  void finish(Slot& slot);
  void leave(Slot& slot);

  const Models& models_;
  Job& job_;
  const DecoderShape shape_;
  const int64_t chunk_;  // tokens encoded at once, at most
  Ensemble ensemble_;
  std::vector<Slot> slots_;
  std::deque<Sentence> ready_;
  std::vector<int> free_places_;

  // Of the current step.
  std::vector<DecoderInput> inputs_;
  int wanted_ = 0;  // candidates per row that the searches want
  int64_t k_ = 0;   // candidates per row that are projected
  Neighbours neighbours_;
  std::vector<int> text_;
  std::vector<Aside> asides_;  // of all rows; ids and logits once more as the kernel wants them
  std::vector<int32_t> aside_ids_;
  std::vector<int64_t> aside_begin_;  // [rows + 1]
  std::vector<float> aside_logits_, log_sum_exp_, free_log_sum_;
  std::vector<DrawKey> keys_;
  std::vector<Candidate> top_, drawn_, all_;
  std::vector<float> logits_;  // [vocab], where a row is widened
  std::vector<Spread> spread_;
  std::vector<Row> rows_;  // of the slot at hand
};

}  // namespace distilmt
