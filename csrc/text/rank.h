// Ranks n-best lists on several threads; the result is the same whatever their number.
#pragma once
#include <functional>
#include <vector>

#include "text/ranker.h"

namespace distilmt {

// `tick` runs on the calling thread about every 50 ms; when it throws, the workers stop after their line and the
// exception is passed on. Of lines that cannot be ranked the first is reported, as Ranker::rank says.
std::vector<Ranking> rank(const std::vector<NBest>& lists, const RankOptions& options, int threads,
                          const std::function<void()>& tick);

}  // namespace distilmt
