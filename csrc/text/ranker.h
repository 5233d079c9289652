// Ranks the hypotheses of one n-best list: every rule gives each a number, the highest is first; among equals the
// higher model score, then the lower rank. What the numbers are:
//
//   model       none: the model's score decides
//   bleu, gleu, chrf   nearness to the gold target (text/measures.h); 0 where there is none
//   mbr         sum_j w_j u(hypothesis, hypothesis_j), the list standing for the model's distribution; u is chrF, or
//               what the list brings along; w_j = 1/n or the model's probability ^ (1/temperature), normalised over
//               the list
//   estimate    what the list brings along, which nobody compared with anything
//   sample      log p / temperature + Gumbel noise: the order is that of drawing without replacement, the first a
//               sample (Kool et al. 2019, arXiv:1903.06059). The noise is a function of seed, line and rank alone.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "text/measures.h"

namespace distilmt {

struct NBest {
  struct Entry {
    std::string text;      // UTF-8
    std::vector<int> ids;  // without start and end symbols; read where tokens are ids
    double score = 0, log_prob = 0;
  };
  uint64_t line = 0;  // names it for sampling and in errors
  std::vector<Entry> entries;
  std::optional<std::string> gold;
  std::vector<int> gold_ids;
  // Another program's numbers, or none: of mbr, of hypothesis i by hypothesis j at i * n + j; of estimate, of each.
  std::vector<double> given;
};

enum class Rule { model, bleu, gleu, chrf, mbr, estimate, sample };
enum class Tokens { t13a, words, ids };  // what bleu and gleu count: sacreBLEU's 13a, words between white space, ids

struct RankOptions {
  Rule rule = Rule::model;
  Smoothing smoothing = Smoothing::sacrebleu;
  Tokens tokens = Tokens::t13a;
  bool weighted = false;   // of mbr
  double temperature = 1;  // of mbr's weights and of samples, above 0
  uint64_t seed = 0;
};

// sacreBLEU's sentence BLEU (13a) and chrF against the gold.
struct Nearness {
  double bleu = 0, chrf = 0;
};

struct Ranking {
  std::vector<int> order;       // places in the list, best first
  std::vector<double> numbers;  // in that order
  // Where there is a gold and a hypothesis: of the one the model prefers, and of the first.
  std::optional<Nearness> before, after;
};

// One worker's; what it allocates is used again for the next line.
class Ranker {
 public:
  explicit Ranker(const RankOptions& options) : options_(options) {}
  // Throws std::invalid_argument, naming line and hypothesis, for text that is no UTF-8, and for too many or too few
  // given numbers.
  Ranking rank(const NBest& list);

 private:
  enum Kind { kT13a, kWords, kIds, kCharacters, kKinds };

  std::vector<double> numbers(const NBest& list);
  std::vector<double> expected_utility(const NBest& list);
  // Of a hypothesis by its place, or of the gold, which stands behind the last.
  const Profile& profile(const NBest& list, Kind kind, size_t i);
  Overlap overlap(const NBest& list, Kind kind, size_t candidate, size_t reference);
  Nearness nearness(const NBest& list, size_t i);

  const RankOptions options_;
  Trie trie_;
  Comparer comparer_;
  std::vector<uint32_t> symbols_;
  // Of the line at hand; a profile is made when first asked for.
  std::vector<std::u32string> texts_;
  std::array<std::vector<std::optional<Profile>>, kKinds> profiles_;
};

}  // namespace distilmt
