#include "engine/plan.h"

#include <algorithm>
#include <map>

namespace distilmt {

Plan prepare(int64_t positions, const Request& request, std::vector<Output>& outputs, Job& job) {
  const size_t limit = static_cast<size_t>(positions);
  job.sources = &request.sources;
  job.targets = request.scoring ? &request.targets : nullptr;
  job.prefixes = request.prefixes.empty() ? nullptr : &request.prefixes;
  job.neighbours = request.scoring || !request.neighbours ? nullptr : &request.neighbours;
  job.options = request.options;
  job.options.max_length = std::min(request.options.max_length, static_cast<int>(positions));
  job.soft_labels = request.soft_labels;
  job.hidden_states = request.hidden_states;
  job.outputs = &outputs;
  const auto& behind = request.scoring ? request.targets : request.prefixes;
  const std::vector<int> nothing;
  Plan plan;
  std::map<std::pair<const std::vector<int>&, const std::vector<int>&>, size_t> seen;
  for (size_t i = 0; i < request.sources.size(); ++i) {
    const std::vector<int>& source = request.sources[i];
    const std::vector<int>& target = behind.empty() ? nothing : behind[i];
    if (source.empty()) {
      outputs[i].status = Status::empty_source;
    } else if (source.size() > limit || target.size() + 1 > limit) {
      outputs[i].status = Status::too_long;
    } else if (const auto [first, is_new] = seen.try_emplace({source, target}, i); !is_new) {
      plan.copies.emplace_back(i, first->second);
    } else {
      const size_t generated = request.scoring ? 1 : static_cast<size_t>(job.options.max_length);
      plan.source = std::max(plan.source, static_cast<int>(source.size()));
      plan.target = std::max(plan.target, static_cast<int>(std::min(limit, target.size() + generated)));
      job.order.push_back(i);
    }
  }
  job.done = request.sources.size() - job.order.size();
  // Equal lengths keep the order of the input, so that a run can be followed.
  std::stable_sort(job.order.begin(), job.order.end(),
                   [&](size_t a, size_t b) { return request.sources[a].size() > request.sources[b].size(); });
  return plan;
}

void settle(const SearchOptions& options, const std::vector<int>& prefix, int longest, Output& output) {
  const Hypothesis& best = output.hypotheses[0];
  // An end symbol that the model's settings force at the last token ends nothing.
  const bool cut = options.forced_eos >= 0 && static_cast<int>(best.log_probs.size()) == longest;
  if (!best.ended || cut)
    output.status = Status::max_length;
  else if (best.ids.size() <= (options.forced_bos >= 0 ? 1 : 0) && prefix.empty())  // a forced tag says nothing
    output.status = Status::empty_hypothesis;
  for (Hypothesis& hypothesis : output.hypotheses) {
    hypothesis.ids.insert(hypothesis.ids.begin(), prefix.begin(), prefix.end());
    hypothesis.log_probs.insert(hypothesis.log_probs.begin(), prefix.size(), 0.0f);  // as of all that is forced
    hypothesis.rows.insert(hypothesis.rows.begin(), prefix.size(), 0);               // all rows read the same prefix
  }
}

}  // namespace distilmt
