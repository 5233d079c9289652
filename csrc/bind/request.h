// What Python's calls of either back-end share: requests in, results out. Arguments were checked in
// python/distilmt/translate.py; here only what memory safety needs is checked again.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/plan.h"
#include "engine/weights.h"

namespace distilmt {

using Lists = std::vector<std::vector<int>>;

// targets: to be scored; none: search.
Request request_of(Lists sources, std::optional<Lists> targets, std::optional<Lists> prefixes,
                   const pybind11::dict& options, int soft_labels, bool hidden_states, int threads, int slots);

// Throws where ids or options could not be decoded by models of this configuration.
void check(const ModelConfig& config, const Request& request);

// The Python callable as the engine calls it, from its own threads.
FindNeighbours neighbours_of(const pybind11::function& find, int64_t hidden, int64_t vocab);

// Hears Ctrl-C, and tells Python how many sentences are done; called without the GIL.
std::function<void(size_t)> ticker(const std::optional<std::function<void(size_t)>>& progress);

// [(status, [(ids, score, log_probs, soft labels or None, hidden states or None)])]
pybind11::list results_of(const std::vector<Output>& outputs, int64_t hidden);

}  // namespace distilmt
