#include <cstdlib>
#include <random>

#include "tests/test.h"
#include "text/rank.h"

using namespace distilmt;

namespace {

NBest list_of(uint64_t line, const std::vector<std::string>& texts, const char* gold = nullptr) {
  NBest list{line, {}, {}, {}, {}};
  double score = -1;
  for (const std::string& text : texts) list.entries.push_back({text, {}, score -= 0.25, 10 * score});
  if (gold) list.gold = gold;
  return list;
}

std::vector<int> order(const NBest& list, RankOptions options) { return Ranker(options).rank(list).order; }

RankOptions with(Rule rule) {
  RankOptions o;
  o.rule = rule;
  return o;
}

const std::vector<Rule> kRules = {Rule::model, Rule::bleu, Rule::gleu, Rule::chrf, Rule::mbr, Rule::sample};

}  // namespace

TEST(rank_nearest_to_the_gold_is_first) {
  const NBest list = list_of(1, {"a dog runs in the park", "the dog runs in a park today", "the dog runs in the park"},
                             "the dog runs in the park");
  for (Rule rule : {Rule::bleu, Rule::gleu, Rule::chrf}) CHECK(order(list, with(rule))[0] == 2);
  const Ranking r = Ranker(with(Rule::chrf)).rank(list);
  CHECK_NEAR(r.numbers[0], 100, 1e-12);
  CHECK_NEAR(r.after->bleu, 100, 1e-12);
  CHECK(r.before->bleu < 100 && r.before->chrf < 100 && r.numbers[1] >= r.numbers[2]);
}

TEST(rank_ids_need_no_text) {
  NBest list = list_of(1, {"", ""}, "");
  list.entries[0].ids = {1, 2, 9, 4, 5};
  list.entries[1].ids = {1, 2, 3, 4, 5};
  list.gold_ids = {1, 2, 3, 4, 5, 6};
  RankOptions o = with(Rule::bleu);
  o.tokens = Tokens::ids;
  for (Smoothing s : {Smoothing::kim_rush, Smoothing::bergamot, Smoothing::sacrebleu}) {
    o.smoothing = s;
    CHECK(order(list, o)[0] == 1);
  }
}

TEST(rank_ties_go_to_the_higher_score_then_the_lower_rank) {
  NBest list = list_of(1, {"same", "same", "same", "same"}, "gold");
  list.entries[0].score = list.entries[3].score = -3;
  list.entries[1].score = list.entries[2].score = -2;
  for (Rule rule : {Rule::model, Rule::bleu, Rule::gleu, Rule::chrf, Rule::mbr})
    CHECK((order(list, with(rule)) == std::vector<int>{1, 2, 0, 3}));
  list.gold.reset();  // nothing to be near to: the model decides
  CHECK((order(list, with(Rule::bleu)) == std::vector<int>{1, 2, 0, 3}));
  for (auto& entry : list.entries) entry.score = entry.log_prob = NAN;
  for (Rule rule : {Rule::model, Rule::mbr}) CHECK((order(list, with(rule)) == std::vector<int>{0, 1, 2, 3}));
}

// Three alike outvote one; by the model's probability the one that holds nearly all of it wins.
TEST(rank_mbr_weighs_by_number_or_by_probability) {
  NBest list = list_of(1, {"something else", "the dog runs", "the dog run", "the dog ran"});
  for (size_t i = 0; i < 4; ++i) list.entries[i].log_prob = i == 0 ? -1 : -9;
  RankOptions o = with(Rule::mbr);
  CHECK(order(list, o)[0] == 1);
  o.weighted = true;
  CHECK(order(list, o)[0] == 0);
  o.temperature = 1000;
  CHECK(order(list, o)[0] == 1);
}

// Of hypothesis i by hypothesis j: the third is worth most to all together, the second to the likeliest.
TEST(rank_by_numbers_that_are_given) {
  NBest list = list_of(1, {"a", "b", "c"}, "a");
  for (size_t i = 0; i < 3; ++i) list.entries[i].log_prob = i == 0 ? -1 : -9;
  list.given = {0.1, 0.2, 0.3, 0.9, 0.1, 0.1, 0.5, 0.8, 0.8};
  RankOptions o = with(Rule::mbr);
  const Ranking r = Ranker(o).rank(list);
  CHECK((r.order == std::vector<int>{2, 1, 0}));
  CHECK_NEAR(r.numbers[0], 0.7, 1e-12);
  CHECK(r.before->bleu > r.after->bleu);
  o.weighted = true;
  CHECK((order(list, o) == std::vector<int>{1, 2, 0}));
  CHECK_THROWS(order(list, with(Rule::estimate)), "line 1: 9 numbers given for 3 hypotheses");
  list.given = {2, 7, 7};
  CHECK((order(list, with(Rule::estimate)) == std::vector<int>{1, 2, 0}));
  CHECK_THROWS(order(list, with(Rule::mbr)), "3 numbers given");
  CHECK_THROWS(order(list, with(Rule::chrf)), "3 numbers given");
}

TEST(rank_samples_follow_the_models_probability) {
  NBest list = list_of(0, {"a", "b", "c"});
  const double p[] = {0.5, 0.3, 0.2};
  for (int i = 0; i < 3; ++i) list.entries[i].log_prob = std::log(p[i]) - 7;  // of a list, not of everything
  RankOptions o = with(Rule::sample);
  int first[3] = {}, cold[3] = {};
  const int n = 20000;
  for (list.line = 1; list.line <= n; ++list.line) {
    o.temperature = 1;
    ++first[order(list, o)[0]];
    o.temperature = 0.5;
    ++cold[order(list, o)[0]];
  }
  for (int i = 0; i < 3; ++i) {  // within 5 standard errors
    CHECK_NEAR(first[i] / double(n), p[i], 5 * std::sqrt(p[i] * (1 - p[i]) / n));
    const double q = p[i] * p[i] / 0.38;
    CHECK_NEAR(cold[i] / double(n), q, 5 * std::sqrt(q * (1 - q) / n));
  }
  list.line = 7;
  const auto numbers = Ranker(o).rank(list).numbers;
  CHECK(numbers == Ranker(o).rank(list).numbers);
  o.seed = 1;
  CHECK(numbers != Ranker(o).rank(list).numbers);
}

TEST(rank_is_the_same_on_any_number_of_threads) {
  std::mt19937 random(1);
  std::vector<NBest> lists;
  for (uint64_t line = 1; line <= 300; ++line) {
    std::vector<std::string> texts(random() % 6);
    for (std::string& text : texts)
      for (int words = 1 + random() % 9; words-- > 0;) text.append(1 + random() % 3, "abc"[random() % 3]) += ' ';
    lists.push_back(list_of(line, texts, line % 3 ? "aa b ccc a b" : nullptr));
  }
  for (Rule rule : kRules) {
    const auto one = rank(lists, with(rule), 1, [] {}), four = rank(lists, with(rule), 4, [] {});
    for (size_t i = 0; i < lists.size(); ++i) {
      CHECK(one[i].order == four[i].order && one[i].numbers == four[i].numbers);
      CHECK(one[i].before.has_value() == (lists[i].gold && !lists[i].entries.empty()));
    }
  }
  CHECK(rank({}, with(Rule::mbr), 4, [] {}).empty());
}

TEST(rank_reports_the_first_line_that_is_no_text_and_stops_when_told) {
  std::vector<NBest> lists;
  for (uint64_t line = 1; line <= 500; ++line) lists.push_back(list_of(line, {"x", line % 100 ? "y" : "y\xff"}));
  for (int threads : {1, 2, 5})
    CHECK_THROWS(rank(lists, with(Rule::mbr), threads, [] {}), "line 100, hypothesis 2: invalid UTF-8 at byte 2");
  lists.assign(1000, list_of(1, std::vector<std::string>(60, std::string(400, 'a')), "a"));
  CHECK_THROWS(rank(lists, with(Rule::mbr), 2, [] { throw std::runtime_error("stop"); }), "stop");
}

// DISTILMT_FUZZ inputs (20,000 by default) of arbitrary bytes: refused, or ranked.
TEST(rank_any_bytes) {
  const char* asked = std::getenv("DISTILMT_FUZZ");
  const long inputs = asked ? std::atol(asked) : 20000;
  std::mt19937 random(7);
  // Parts that make the paths of the parsers likely.
  const std::vector<std::string> parts = {"a",
                                          "b ",
                                          " ",
                                          ".",
                                          ",",
                                          "1",
                                          "-",
                                          "-\n",
                                          "\n",
                                          "&amp;",
                                          "&lt",
                                          "<skipped>",
                                          "\t",
                                          "\xc3\xa4",
                                          "\xe2\x80\xa8",
                                          "\xf0\x9f\x98\x80",
                                          "(",
                                          "'",
                                          "\xc2\x85",
                                          "ab. c"};
  auto text = [&] {
    std::string out;
    for (int n = random() % 12; n-- > 0;) out += parts[random() % parts.size()];
    if (random() % 8 == 0) out.insert(random() % (out.size() + 1), 1, static_cast<char>(random()));
    return out;
  };
  long refused = 0;
  for (long i = 0; i < inputs; ++i) {
    NBest list{random() % 2 ? random() : 1, {}, {}, {}, {}};
    for (int n = random() % 4; n-- > 0;)
      list.entries.push_back({text(), {int(random() % 3), -1}, double(random() % 3), -double(random() % 3)});
    if (random() % 2) list.gold = text();
    RankOptions o = with(kRules[random() % kRules.size()]);
    o.smoothing = static_cast<Smoothing>(random() % 3);
    o.tokens = static_cast<Tokens>(random() % 3);
    o.weighted = random() % 2;
    try {
      const Ranking r = Ranker(o).rank(list);
      CHECK(r.order.size() == list.entries.size() && r.numbers.size() == list.entries.size());
      for (size_t n = 1; n < r.numbers.size(); ++n) CHECK(r.numbers[n - 1] >= r.numbers[n]);
      if (o.rule != Rule::sample)
        for (double x : r.numbers) CHECK(x >= 0 && x <= 100 + 1e-9);
    } catch (const std::invalid_argument&) {
      ++refused;
    }
  }
  CHECK(refused > 0 && refused < inputs);
}
