// What the workers of one call share: the sentences, how to decode them, and where results go.
#pragma once
#include <atomic>
#include <vector>

#include "engine/neighbours.h"
#include "engine/search.h"

namespace distilmt {

// not_finite: the model's output is not a number, its weights being damaged or beyond what the arithmetic holds.
enum class Status { ok, max_length, empty_source, too_long, empty_hypothesis, not_finite };

struct Output {
  Status status = Status::ok;
  std::vector<Hypothesis> hypotheses;  // best first
};

// Each output is written by the one worker that took its sentence.
struct Job {
  const std::vector<std::vector<int>>* sources;             // as the encoder reads them
  const std::vector<std::vector<int>>* targets = nullptr;   // to be scored, without end symbols; null: search
  const std::vector<std::vector<int>>* prefixes = nullptr;  // first target tokens; null: none
  SearchOptions options;
  const FindNeighbours* neighbours = nullptr;  // null: none
  int soft_labels = 0;                         // ids per token to report; 0: none
  bool hidden_states = false;                  // to be reported; scoring only
  std::vector<size_t> order;                   // sentences to be decoded, longest source first
  std::vector<Output>* outputs;
  std::atomic<size_t> next{0};  // index into order
  std::atomic<size_t> done{0};
  std::atomic<bool> stop{false};  // looked at between layers: a step of a large model takes long

  // Appends what the encoder reads of a sentence to `ids`; returns how many tokens that is.
  int read_source(size_t index, std::vector<int32_t>& ids) const {
    const std::vector<int>& source = (*sources)[index];
    ids.insert(ids.end(), source.begin(), source.end());
    return static_cast<int>(source.size());
  }
};

}  // namespace distilmt
