#include "device/results.h"

#include "device/model.h"

namespace distilmt {
namespace {

void copy_soft_labels(const cuda::SoftLabelMemory& from, int64_t first, int64_t rows, SoftLabels& to) {
  to.k = from.k;
  to.ids.assign(from.ids + first * from.k, from.ids + (first + rows) * from.k);
  to.log_probs.assign(from.log_probs + first * from.k, from.log_probs + (first + rows) * from.k);
  to.tail_mass.assign(from.tail_mass + first, from.tail_mass + first + rows);
  to.entropy.assign(from.entropy + first, from.entropy + first + rows);
}

// A target and its end symbol, scored.
void score(const SearchOptions& options, const std::vector<int>& target, Hypothesis& h) {
  h.ids = target;
  h.ended = true;
  float sum = 0;
  for (float log_prob : h.log_probs) sum += log_prob;
  h.score = normalize(sum, static_cast<int>(h.log_probs.size()), options);
}

}  // namespace

const std::vector<int>& forced_tokens(const Job& job, size_t index) {
  static const std::vector<int> none;
  const auto* lists = job.targets ? job.targets : job.prefixes;
  return lists ? (*lists)[index] : none;
}

void read_result(const cuda::Results& r, int place, const Job& job, size_t index, int longest, Output& output) {
  const auto leaving = static_cast<cuda::Leaving>(r.leaving[place]);
  if (leaving == cuda::Leaving::not_finite) output.status = Status::not_finite;
  if (leaving == cuda::Leaving::nothing_left) output.status = Status::empty_hypothesis;
  if (leaving != cuda::Leaving::done) return;
  const std::vector<int>& forced = forced_tokens(job, index);
  const int64_t before = job.targets ? 0 : static_cast<int64_t>(forced.size());
  for (int i = 0; i < r.hypotheses[place]; ++i) {
    const int64_t at = int64_t{place} * r.n_best + i, first = at * r.positions;
    Hypothesis h;
    h.log_probs.assign(r.log_probs + first, r.log_probs + first + r.length[at]);
    if (r.soft.k > 0) copy_soft_labels(r.soft, first, before + r.length[at], h.soft_labels);
    if (r.states.states)
      h.states = loaded(r.states.states, first * r.states.d, r.length[at] * r.states.d, r.states.storage);
    if (job.targets) {
      score(job.options, forced, h);
    } else {
      h.score = r.score[at];
      h.ids.assign(r.tokens + first, r.tokens + first + r.length[at]);
      h.ended = h.ids.back() == job.options.eos;
      if (h.ended) h.ids.pop_back();
    }
    output.hypotheses.push_back(std::move(h));
  }
  if (!job.targets) settle(job.options, forced, longest, output);
}

}  // namespace distilmt
