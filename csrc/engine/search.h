// What a search of one sentence is, whatever its kind: rows go in with what the model says of each, tokens come out.
//
// A search knows nothing of models and batches. The worker feeds every row its token, turns the projected row into a
// `Row` (engine/choices.h) and calls `advance`, until the search is done.
#pragma once
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <vector>

#include "engine/soft_labels.h"
#include "kernels/beam_step.h"
#include "kernels/choice.h"
#include "kernels/project.h"

namespace distilmt {

struct SearchOptions {
  int beam_size = 5;
  int n_best = 1;
  double length_penalty = 1.0;
  LengthForm length_form = LengthForm::power;
  double coverage_penalty = 0;
  double patience = 1;  // finished hypotheses kept, by beam_size
  EarlyStopping early_stopping = EarlyStopping::no;
  int max_length = 256;          // generated tokens, end symbol included, start symbol and prefix not
  int min_length = 0;            // the end symbol is banned before so many tokens
  float repetition_penalty = 1;  // on tokens that stand in the row already; 1: none
  int no_repeat_ngram_size = 0;  // no n-gram of this size twice in a row; 0: any
  int eos = 0;                   // end symbol
  int start = 0;                 // what the decoder reads first
  int forced_bos = -1;           // the only choice for the first token, or -1
  int forced_eos = -1;           // the only choice for token max_length, or -1
  std::vector<int> banned;       // never chosen
  bool renormalize = false;      // probabilities are shared out among the ids that are not banned
  bool sample = false;           // n_best samples instead of a beam
  float temperature = 1;         // of samples: logits are divided by it
  int top_k = 0;                 // samples come from so many best ids; 0: from all
  double top_p = 1;              // samples come from the fewest best ids that hold this mass; 1: from all
  uint64_t seed = 0;
};

struct Hypothesis {
  std::vector<int> ids;          // without start and end symbol
  std::vector<float> log_probs;  // the model's, one per token, end symbol included
  float score = 0;               // as the search ranks it
  bool ended = false;            // with the end symbol
  std::vector<int> rows;         // of a search: per token, the row of its step that it was chosen from
  SoftLabels soft_labels;        // one row per token, where asked for
  std::vector<float> states;     // [tokens, hidden] before the output projection, where asked for
};

// What a search learns of one row. A free id is one that was not set aside.
struct Row {
  std::vector<Choice> choices;  // the best free ids, as many as `wanted` says, and every id set aside but not banned
  size_t free = 0;              // choices before this one are free, best first
  float free_log_sum = 0;       // sampling: of exp(score / temperature) over all free ids
  Choice drawn = {-1, 0, 0};    // sampling: a free id drawn with these weights; id -1 where there is none
  const float* attention = nullptr;  // [source length], where coverage is counted
};

// Replaces a row's choices by those of all ids that are not banned.
using Widen = std::function<void(int row)>;

// A score: the sum of log-probabilities by what its length demands.
inline float normalize(float sum, int length, double exponent, LengthForm form = LengthForm::power) {
  return sum / length_divisor(length, exponent, form);
}

inline float normalize(float sum, int length, const SearchOptions& options) {
  return normalize(sum, length, options.length_penalty, options.length_form);
}

// No continuation of a sentence is left: all are banned.
struct NothingLeft : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Search {
 public:
  // Decoding of one sentence, behind a prefix of `prefix` tokens, up to max_length (at most that of the options).
  Search(const SearchOptions& options, int prefix, int max_length)
      : options_(options), prefix_(prefix), max_length_(max_length) {}
  virtual ~Search() = default;

  virtual int rows() const = 0;    // of the next step
  virtual int wanted() const = 0;  // best free ids per row; the same for all steps
  virtual void advance(const Row* rows, const Widen& widen) = 0;
  virtual bool done() const = 0;
  // After a step: the token each row reads next, and the row of the last step it continues.
  virtual int token(int row) const = 0;
  virtual int parent(int row) const = 0;
  // Appends what `row` has generated.
  virtual void read(int row, std::vector<int>& ids) const = 0;
  // The attention of a token of the prefix, where coverage is counted.
  virtual void cover(const float*) {}
  // What the random numbers of a row's next token hang on.
  virtual DrawKey draw_key(int) const { return {}; }
  virtual std::vector<Hypothesis> results() const = 0;  // without the prefix; throws NothingLeft, as advance may

  int generated() const { return step_; }
  int longest() const { return max_length_; }
  bool end_banned() const { return step_ < options_.min_length; }

 protected:
  bool last() const { return step_ + 1 >= max_length_; }
  // The only choice for the next token, or -1.
  int forced() const {
    if (last() && options_.forced_eos >= 0) return options_.forced_eos;
    return step_ == 0 && prefix_ == 0 ? options_.forced_bos : -1;
  }

  const SearchOptions& options_;
  const int prefix_, max_length_;
  int step_ = 0;  // tokens generated
};

}  // namespace distilmt
