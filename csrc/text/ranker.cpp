#include "text/ranker.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "common/philox.h"
#include "text/tokenize_13a.h"
#include "text/unicode.h"

namespace distilmt {
namespace {

// A stream of random numbers that no other use of a seed draws from (common/philox.h).
constexpr uint32_t kStream = 2;

std::u32string decode(const NBest& list, const std::string& text, const std::string& which) {
  try {
    return decode_utf8(text);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument("line " + std::to_string(list.line) + ", " + which + ": " + error.what());
  }
}

double orderly(double x) { return std::isnan(x) ? -std::numeric_limits<double>::infinity() : x; }

std::vector<int> order_of(const NBest& list, const std::vector<double>& numbers) {
  std::vector<int> order(list.entries.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    if (numbers[a] != numbers[b]) return numbers[a] > numbers[b];
    return orderly(list.entries[a].score) > orderly(list.entries[b].score);
  });
  return order;
}

// The model's probabilities ^ (1/temperature), normalised over the list; equal where none has any.
std::vector<double> probabilities(const NBest& list, double temperature) {
  std::vector<double> weights;
  for (const auto& entry : list.entries) weights.push_back(orderly(entry.log_prob) / temperature);
  const double highest = *std::max_element(weights.begin(), weights.end());
  for (double& w : weights) w = std::isinf(highest) ? 1.0 : std::exp(w - highest);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& w : weights) w /= total;
  return weights;
}

}  // namespace

const Profile& Ranker::profile(const NBest& list, Kind kind, size_t i) {
  std::optional<Profile>& found = profiles_[kind][i];
  if (found) return *found;
  symbols_.clear();
  if (kind == kIds) {
    const std::vector<int>& ids = i < list.entries.size() ? list.entries[i].ids : list.gold_ids;
    symbols_.assign(ids.begin(), ids.end());
  } else if (kind == kCharacters) {
    for (char32_t c : texts_[i])
      if (!is_space(c)) symbols_.push_back(c);
  } else {
    const std::u32string spaced = kind == kT13a ? tokenize_13a(texts_[i]) : texts_[i];
    for (std::u32string_view word : split(spaced)) {
      uint32_t node = Trie::kCharacters;
      for (char32_t c : word) node = trie_.child(node, c);
      symbols_.push_back(node);
    }
  }
  found = kind == kCharacters ? comparer_.profile(trie_, Trie::kCharacters, symbols_, kMaxOrder)
                              : comparer_.profile(trie_, Trie::kWords, symbols_, kBleuOrder);
  return *found;
}

Overlap Ranker::overlap(const NBest& list, Kind kind, size_t candidate, size_t reference) {
  const Profile &c = profile(list, kind, candidate), &r = profile(list, kind, reference);
  comparer_.load(r);
  const Overlap out = comparer_.overlap(c);
  comparer_.unload(r);
  return out;
}

Nearness Ranker::nearness(const NBest& list, size_t i) {
  const size_t gold = list.entries.size();
  return {sentence_bleu(overlap(list, kT13a, i, gold), Smoothing::sacrebleu),
          sentence_chrf(overlap(list, kCharacters, i, gold))};
}

std::vector<double> Ranker::expected_utility(const NBest& list) {
  const size_t n = list.entries.size();
  const std::vector<double> weights =
      options_.weighted ? probabilities(list, options_.temperature) : std::vector<double>(n, 1.0 / double(n));
  std::vector<double> sums(n);
  if (!list.given.empty()) {
    for (size_t i = 0; i < n; ++i)
      sums[i] = std::inner_product(weights.begin(), weights.end(), list.given.begin() + std::ptrdiff_t(i * n), 0.0);
    return sums;
  }
  for (size_t i = 0; i < n; ++i) profile(list, kCharacters, i);  // before any is loaded
  const auto& profiles = profiles_[kCharacters];
  for (size_t reference = 0; reference < n; ++reference) {
    comparer_.load(*profiles[reference]);
    for (size_t i = 0; i < n; ++i) sums[i] += weights[reference] * sentence_chrf(comparer_.overlap(*profiles[i]));
    comparer_.unload(*profiles[reference]);
  }
  return sums;
}

std::vector<double> Ranker::numbers(const NBest& list) {
  const size_t n = list.entries.size();
  std::vector<double> out(n);
  const size_t expected = options_.rule == Rule::estimate ? n : options_.rule == Rule::mbr ? n * n : 0;
  if (list.given.size() != expected && !(options_.rule == Rule::mbr && list.given.empty()))
    throw std::invalid_argument("line " + std::to_string(list.line) + ": " + std::to_string(list.given.size()) +
                                " numbers given for " + std::to_string(n) + " hypotheses");
  if (options_.rule == Rule::estimate) return list.given;
  if (options_.rule == Rule::mbr) return expected_utility(list);
  if (options_.rule == Rule::sample) {
    for (size_t i = 0; i < n; ++i) {
      const DrawKey key{options_.seed, static_cast<uint32_t>(list.line), static_cast<uint32_t>(i)};
      const double u = key.uniform(static_cast<uint32_t>(list.line >> 32), kStream);
      out[i] = orderly(orderly(list.entries[i].log_prob) / options_.temperature - std::log(-std::log(u)));
    }
    return out;
  }
  if (options_.rule == Rule::model || !list.gold) return out;
  const Kind kind = options_.rule == Rule::chrf        ? kCharacters
                    : options_.tokens == Tokens::ids   ? kIds
                    : options_.tokens == Tokens::words ? kWords
                                                       : kT13a;
  for (size_t i = 0; i < n; ++i) {
    const Overlap o = overlap(list, kind, i, n);
    out[i] = options_.rule == Rule::chrf   ? sentence_chrf(o)
             : options_.rule == Rule::gleu ? sentence_gleu(o)
                                           : sentence_bleu(o, options_.smoothing);
  }
  return out;
}

Ranking Ranker::rank(const NBest& list) {
  if (list.entries.empty()) return {};
  trie_.clear();
  texts_.clear();
  for (size_t i = 0; i < list.entries.size(); ++i)
    texts_.push_back(decode(list, list.entries[i].text, "hypothesis " + std::to_string(i + 1)));
  if (list.gold) texts_.push_back(decode(list, *list.gold, "gold"));
  for (auto& profiles : profiles_) profiles.assign(list.entries.size() + 1, std::nullopt);
  const std::vector<double> numbers = this->numbers(list);
  Ranking out;
  out.order = order_of(list, numbers);
  for (int i : out.order) out.numbers.push_back(numbers[i]);
  if (list.gold) {
    const int preferred = order_of(list, std::vector<double>(numbers.size()))[0];
    out.before = nearness(list, preferred);
    out.after = out.order[0] == preferred ? out.before : nearness(list, out.order[0]);
  }
  return out;
}

}  // namespace distilmt
