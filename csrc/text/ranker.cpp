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

Profile Ranker::words(const std::u32string& text, Tokens tokens) {
  const std::u32string spaced = tokens == Tokens::t13a ? tokenize_13a(text) : text;
  symbols_.clear();
  for (std::u32string_view word : split(spaced)) {
    uint32_t node = Trie::kCharacters;
    for (char32_t c : word) node = trie_.child(node, c);
    symbols_.push_back(node);
  }
  return comparer_.profile(trie_, Trie::kWords, symbols_, kBleuOrder);
}

Profile Ranker::ids(const std::vector<int>& ids) {
  symbols_.assign(ids.begin(), ids.end());
  return comparer_.profile(trie_, Trie::kWords, symbols_, kBleuOrder);
}

Profile Ranker::characters(const std::u32string& text) {
  symbols_.clear();
  for (char32_t c : text)
    if (!is_space(c)) symbols_.push_back(c);
  return comparer_.profile(trie_, Trie::kCharacters, symbols_, kMaxOrder);
}

Overlap Ranker::overlap(const Profile& candidate, const Profile& reference) {
  comparer_.load(reference);
  const Overlap out = comparer_.overlap(candidate);
  comparer_.unload(reference);
  return out;
}

void Ranker::compare(const std::vector<std::u32string>& texts, const std::u32string& gold, int before, Ranking& out) {
  const Profile by_words = words(gold, Tokens::t13a), by_characters = characters(gold);
  auto nearness = [&](int i) -> Nearness {
    return {sentence_bleu(overlap(words(texts[i], Tokens::t13a), by_words), Smoothing::sacrebleu),
            sentence_chrf(overlap(characters(texts[i]), by_characters))};
  };
  out.before = nearness(before);
  out.after = out.order[0] == before ? out.before : nearness(out.order[0]);
}

std::vector<double> Ranker::expected_utility(const NBest& list, const std::vector<std::u32string>& texts) {
  const size_t n = texts.size();
  std::vector<Profile> profiles;
  for (const std::u32string& text : texts) profiles.push_back(characters(text));
  const std::vector<double> weights =
      options_.weighted ? probabilities(list, options_.temperature) : std::vector<double>(n, 1.0 / double(n));
  std::vector<double> sums(n);
  for (size_t reference = 0; reference < n; ++reference) {
    comparer_.load(profiles[reference]);
    for (size_t i = 0; i < n; ++i) sums[i] += weights[reference] * sentence_chrf(comparer_.overlap(profiles[i]));
    comparer_.unload(profiles[reference]);
  }
  return sums;
}

std::vector<double> Ranker::numbers(const NBest& list, const std::vector<std::u32string>& texts,
                                    const std::u32string& gold) {
  std::vector<double> out(list.entries.size());
  if (options_.rule == Rule::model) return out;
  if (options_.rule == Rule::mbr) return expected_utility(list, texts);
  if (options_.rule == Rule::sample) {
    for (size_t i = 0; i < out.size(); ++i) {
      const DrawKey key{options_.seed, static_cast<uint32_t>(list.line), static_cast<uint32_t>(i)};
      const double u = key.uniform(static_cast<uint32_t>(list.line >> 32), kStream);
      out[i] = orderly(orderly(list.entries[i].log_prob) / options_.temperature - std::log(-std::log(u)));
    }
    return out;
  }
  if (!list.gold) return out;
  const bool by_characters = options_.rule == Rule::chrf, by_ids = options_.tokens == Tokens::ids;
  auto profile = [&](const std::u32string& text, const std::vector<int>& its_ids) {
    return by_characters ? characters(text) : by_ids ? ids(its_ids) : words(text, options_.tokens);
  };
  std::vector<Profile> profiles;
  for (size_t i = 0; i < out.size(); ++i) profiles.push_back(profile(texts[i], list.entries[i].ids));
  const Profile reference = profile(gold, list.gold_ids);
  comparer_.load(reference);
  for (size_t i = 0; i < out.size(); ++i) {
    const Overlap o = comparer_.overlap(profiles[i]);
    out[i] = by_characters                 ? sentence_chrf(o)
             : options_.rule == Rule::gleu ? sentence_gleu(o)
                                           : sentence_bleu(o, options_.smoothing);
  }
  comparer_.unload(reference);
  return out;
}

Ranking Ranker::rank(const NBest& list) {
  if (list.entries.empty()) return {};
  trie_.clear();
  std::vector<std::u32string> texts;
  std::u32string gold;
  if (list.gold) gold = decode(list, *list.gold, "gold");
  for (size_t i = 0; i < list.entries.size(); ++i)
    texts.push_back(decode(list, list.entries[i].text, "hypothesis " + std::to_string(i + 1)));
  const std::vector<double> numbers = this->numbers(list, texts, gold);
  Ranking out;
  out.order = order_of(list, numbers);
  for (int i : out.order) out.numbers.push_back(numbers[i]);
  if (list.gold) compare(texts, gold, order_of(list, std::vector<double>(numbers.size()))[0], out);
  return out;
}

}  // namespace distilmt
