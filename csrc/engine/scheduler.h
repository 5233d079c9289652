// Many sentences on many workers: data-parallel, weights shared, results in the order of the input.
//
// Sentences are sorted by length, so that those in flight together are alike; the order, the number of workers and the
// number of slots change speed and memory, never a result. Threads live for one call: nothing survives to trouble a
// fork.
#pragma once
#include <functional>
#include <vector>

#include "engine/ensemble.h"
#include "engine/plan.h"

namespace distilmt {

// Statuses without decoding: empty_source for a source without ids, too_long where the source, or target or prefix with
// its end symbol, exceeds the model's positions. max_length is capped by the positions that a prefix leaves. What is
// asked for twice (the same source, and target or prefix) is decoded once. `tick` runs on the calling thread about
// every 50 ms with the number of sentences done; when it throws, or a worker does, all workers stop within a layer and
// the exception is passed on.
std::vector<Output> run(const Models& models, const Request& request, const std::function<void(size_t)>& tick);

}  // namespace distilmt
