// What any back-end of the translator is asked, and what of it needs decoding: the CPU's workers (engine/scheduler.h)
// and a device (device/translator.h) share the rest.
#pragma once
#include <utility>
#include <vector>

#include "engine/job.h"

namespace distilmt {

struct Request {
  std::vector<std::vector<int>> sources;   // ids as the encoder reads them, tags and end symbols included
  std::vector<std::vector<int>> targets;   // with `scoring`: ids, without end symbols
  std::vector<std::vector<int>> prefixes;  // of a search: the first target tokens of each; or none at all
  bool scoring = false;
  SearchOptions options;
  FindNeighbours neighbours;   // of a search; may be empty
  int soft_labels = 0;         // ids per token to report, beside tail mass and entropy; at most the target vocabulary
  bool hidden_states = false;  // with `scoring`: the (first) decoder's output of each token
  int threads = 1;             // workers; on the CPU alone
  int slots = 0;               // sentences in flight per worker; 0: chosen from the beam size and the memory they take
};

// What is decoded, and what of it is read.
struct Plan {
  int source = 1, target = 1;                     // positions of the longest
  std::vector<std::pair<size_t, size_t>> copies;  // (output, output that is the same)
};

// Fills `job`: statuses of what needs no decoding go to `outputs`, the order of the rest is by falling length.
// positions: of the (shortest) model, which cap max_length.
Plan prepare(int64_t positions, const Request& request, std::vector<Output>& outputs, Job& job);

// Once the hypotheses of a search stand in `output`: its status, and the prefix before each hypothesis. longest: tokens
// that the search could generate.
void settle(const SearchOptions& options, const std::vector<int>& prefix, int longest, Output& output);

}  // namespace distilmt
