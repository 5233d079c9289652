#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/platform.h"

namespace distilmt {
namespace {

// Candidates that the projection keeps for a nucleus of unknown width, and at most for top_k; wider rows are projected
// once more, in full.
constexpr int kNucleus = 64, kMost = 256;

bool better(const Choice& a, const Choice& b) { return a.score != b.score ? a.score > b.score : a.id < b.id; }

// The choice at which the running sum of weights reaches u of their total; u in (0, 1].
const Choice& pick(const std::vector<Choice>& choices, const std::vector<double>& weights, double u) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (!(total > 0)) throw NothingLeft("sampling: every continuation is banned");
  double sum = 0;
  size_t last = 0;
  for (size_t i = 0; i < weights.size() && sum < u * total; ++i) {
    sum += weights[i];
    if (weights[i] > 0) last = i;
  }
  return choices[last];
}

}  // namespace

uint64_t sentence_key(uint64_t seed, const std::vector<int>& source, const std::vector<int>& prefix) {
  // splitmix64 (Steele et al. 2014) as the mixing step; the lengths keep source and prefix apart.
  uint64_t key = seed;
  auto mix = [&](uint64_t value) {
    key += value + 0x9E3779B97F4A7C15u;
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9u;
    key = (key ^ (key >> 27)) * 0x94D049BB133111EBu;
    key ^= key >> 31;
  };
  for (const auto* ids : {&source, &prefix}) {
    mix(ids->size());
    for (int id : *ids) mix(static_cast<uint64_t>(id));
  }
  return key;
}

Sampler::Sampler(const SearchOptions& options, int prefix, int max_length, uint64_t sentence)
    : Search(options, prefix, max_length), sentence_(sentence), samples_(options.n_best), living_(options.n_best) {
  std::iota(living_.begin(), living_.end(), 0);
}

int Sampler::wanted() const {
  if (options_.top_k > 0) return std::min(options_.top_k, kMost);
  return options_.top_p < 1 ? kNucleus : 0;
}

DrawKey Sampler::draw_key(int row) const {
  return {sentence_, static_cast<uint32_t>(step_), static_cast<uint32_t>(living_[row])};
}

void Sampler::read(int row, std::vector<int>& ids) const {
  const std::vector<int>& own = samples_[living_[row]].ids;
  ids.insert(ids.end(), own.begin(), own.end());
}

void Sampler::advance(const Row* rows, const Widen& widen) {
  std::vector<int> living;
  parents_.clear();
  for (int row = 0; row < this->rows(); ++row) {
    Hypothesis& sample = samples_[living_[row]];
    const Choice next = draw(row, rows, widen);
    sample.log_probs.push_back(next.log_prob);
    sample.rows.push_back(row);
    sample.ended = next.id == options_.eos;
    if (!sample.ended) sample.ids.push_back(next.id);
    if (sample.ended || last()) {
      const float sum = std::accumulate(sample.log_probs.begin(), sample.log_probs.end(), 0.0f);
      sample.score = normalize(sum, step_ + 1, options_);
    } else {
      living.push_back(living_[row]);
      parents_.push_back(row);
    }
  }
  living_.swap(living);
  ++step_;
}

Choice Sampler::draw(int row, const Row* rows, const Widen& widen) const {
  if (forced() >= 0) return {forced(), 0.0f, 0.0f};
  if (options_.top_k == 0 && options_.top_p >= 1) return draw_from_all(row, rows[row]);
  return draw_from_best(row, rows, widen);
}

// The drawn one stands for all free ids, with all their weight.
Choice Sampler::draw_from_all(int row, const Row& found) const {
  std::vector<Choice> choices = {found.drawn};
  std::vector<double> scores = {found.free_log_sum};
  for (size_t i = found.free; i < found.choices.size(); ++i) {
    choices.push_back(found.choices[i]);
    scores.push_back(double{found.choices[i].score} / options_.temperature);
  }
  const double highest = *std::max_element(scores.begin(), scores.end());
  for (double& score : scores) score = std::isinf(highest) ? 0.0 : std::exp(score - highest);
  return pick(choices, scores, draw_key(row).uniform(0, 1));
}

Choice Sampler::draw_from_best(int row, const Row* rows, const Widen& widen) const {
  const auto top_k = static_cast<size_t>(options_.top_k), wanted = static_cast<size_t>(this->wanted());
  bool complete = rows[row].free < wanted;
  for (;;) {
    const Row& found = rows[row];
    std::vector<Choice> best = found.choices;
    std::sort(best.begin(), best.end(), better);
    if (best.empty()) throw NothingLeft("sampling: every continuation is banned");
    auto weight = [&](double score) { return std::exp(score - double{best[0].score} / options_.temperature); };
    auto weight_of = [&](const Choice& c) { return weight(double{c.score} / options_.temperature); };
    double total = 0;
    if (top_k == 0 && !complete) {
      total = weight(found.free_log_sum);
      for (size_t i = found.free; i < found.choices.size(); ++i) total += weight_of(found.choices[i]);
    } else {
      if (top_k > 0 && best.size() > top_k) best.resize(top_k);
      for (const Choice& c : best) total += weight_of(c);
    }
    std::vector<double> nucleus;
    double mass = 0;
    while (nucleus.size() < best.size() && (options_.top_p >= 1 || mass < options_.top_p * total)) {
      nucleus.push_back(weight_of(best[nucleus.size()]));
      mass += nucleus.back();
    }
    const bool enough = top_k > 0 ? top_k <= wanted : mass >= options_.top_p * total;
    if (complete || enough) return pick(best, nucleus, draw_key(row).uniform(0, 1));
    widen(row);
    complete = true;
  }
}

}  // namespace distilmt
