// Beam search over one sentence: which continuations live on, which hypotheses are kept, and when to stop.
//
// The semantics are those of Hugging Face `generate` (transformers 5.23, generation/utils.py, _beam_search), step by
// step:
//   - candidates: the 2 * beam_size best continuations by summed log-probability, in float32;
//   - of these the first beam_size may finish (end symbol, or length reached); the best unfinished beam_size live on;
//   - a finished score is sum / length ^ length_penalty, where length counts the end symbol;
//   - the best beam_size finished are kept; `early_stopping` says when no better one is expected.
// Hugging Face marks absent and dead entries by adding -1e9 in float32; so do we, since that decides corner cases.
// Ties, which torch.topk leaves open, go to the lower beam, then to the lower id. With beam_size 1 the search is
// greedy.
#pragma once
#include <cstdint>
#include <vector>

#include "engine/soft_labels.h"
#include "kernels/project.h"

namespace distilmt {

enum class EarlyStopping { no, yes, never };

struct SearchOptions {
  int beam_size = 5;
  int n_best = 1;
  double length_penalty = 1.0;
  EarlyStopping early_stopping = EarlyStopping::no;
  int max_length = 256;      // generated tokens, end symbol included, start symbol not
  int min_length = 0;        // the end symbol is banned before so many tokens
  int eos = 0;               // end symbol
  int start = 0;             // what the decoder reads first
  int forced_bos = -1;       // the only choice for the first token, or -1
  int forced_eos = -1;       // the only choice for token max_length, or -1
  std::vector<int> banned;   // never chosen
  bool renormalize = false;  // probabilities are shared out among the ids that are not banned
};

struct Hypothesis {
  std::vector<int> ids;          // without start and end symbol
  std::vector<float> log_probs;  // one per token, end symbol included
  float score = 0;               // sum of log_probs / their number ^ length_penalty
  bool ended = false;            // with the end symbol
  std::vector<int> rows;         // per token, which row of its step it was chosen from
  SoftLabels soft_labels;        // one row per token, where asked for
  std::vector<float> states;     // [tokens, hidden] before the output projection, where asked for
};

// sum / length ^ penalty, rounded as Hugging Face rounds it: the power in double, the quotient in float32.
float normalize(float sum, int length, double penalty);

class Beam {
 public:
  explicit Beam(const SearchOptions& options);

  // Candidates the search wants per row: one more than it keeps while the end symbol, which may be among them, is
  // banned.
  int wanted() const { return (width_ == 1 ? 1 : 2 * width_) + (end_banned() ? 1 : 0); }
  bool end_banned() const { return step_ < options_->min_length; }
  // Rows the next step needs: before the first token all beams are alike, and one row serves all of them.
  int rows() const { return step_ == 0 ? 1 : width_; }

  // One step. top [rows, k], k >= wanted(), best first as project_top_k orders them; log_sum_exp [rows].
  void advance(const Candidate* top, int k, const float* log_sum_exp);

  // After a step: the token each living beam reads next, and the beam it continues.
  int token(int beam) const { return trellis_[(step_ - 1) * width_ + beam].token; }
  int parent(int beam) const { return trellis_[(step_ - 1) * width_ + beam].parent; }
  int steps() const { return step_; }
  bool done() const { return done_; }

  // The n_best kept hypotheses, best first; fewer where the vocabulary is too small to have so many.
  std::vector<Hypothesis> best() const;

 private:
  // One step of a path; the steps before it are found through `parent`.
  struct Node {
    int token;
    int parent;
    float log_prob;
  };
  struct Option {
    float score;  // summed log-probability
    Node node;
    bool finishes;
  };
  struct Kept {
    float score;
    bool finished;
    int step;  // of its last token
    Node last;
  };

  void collect(const Candidate* top, int k, const float* log_sum_exp);
  void live_on();
  void keep_finished();
  void decide();
  Hypothesis read(const Kept& kept) const;

  const SearchOptions* options_;
  int width_;
  int step_ = 0;  // tokens generated
  bool done_ = false;
  bool can_improve_ = true;         // never true again once false
  std::vector<float> scores_;       // [width] of the living beams, best first
  std::vector<Node> trellis_;       // [step, width]
  std::vector<Kept> kept_;          // [width] best first
  std::vector<Option> candidates_;  // of this step, best first
};

}  // namespace distilmt
