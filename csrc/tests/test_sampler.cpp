// Sampling against exact probabilities: what is left out, what is widened, and what the draws hang on.
#include <algorithm>
#include <cmath>
#include <map>

#include "engine/sampler.h"
#include "tests/test.h"

using namespace distilmt;

namespace {

constexpr int kEos = 0, kVocab = 400;

SearchOptions options(int samples) {
  SearchOptions o;
  o.sample = true;
  o.n_best = samples;
  o.max_length = 1;
  o.eos = kEos;
  return o;
}

// Scores of a distribution that falls slowly, so that a nucleus is wide: p(v) ~ 1 / (v + 10).
double score(int id) { return -std::log(id + 10.0); }

// What the worker would hand over: the best free ids; id 7 is set aside with a penalised score, id 3 is banned.
Row row_of(const Sampler& sampler, const SearchOptions& o, int row, bool wide) {
  Row r;
  double total = 0;
  std::vector<Choice> free;
  for (int id = 0; id < kVocab; ++id) {
    if (id == 3 || id == 7) continue;
    free.push_back({id, static_cast<float>(score(id)), static_cast<float>(score(id))});
    total += std::exp(score(id) / o.temperature);
  }
  r.free_log_sum = static_cast<float>(std::log(total));
  const double u = sampler.draw_key(row).uniform(0, 0) * total;  // one draw by inversion stands for the kernel's
  double sum = 0;
  for (const Choice& c : free)
    if ((sum += std::exp(double{c.score} / o.temperature)) >= u) {
      r.drawn = c;
      break;
    }
  r.choices = free;
  if (!wide) r.choices.resize(std::min<size_t>(free.size(), sampler.wanted()));
  r.free = r.choices.size();
  r.choices.push_back({7, -5.0f, -1.0f});
  return r;
}

std::map<int, double> exact(const SearchOptions& o) {
  std::vector<std::pair<double, int>> order;
  for (int id = 0; id < kVocab; ++id)
    if (id != 3) order.emplace_back(std::exp((id == 7 ? -5.0 : score(id)) / o.temperature), id);
  std::sort(order.rbegin(), order.rend());
  if (o.top_k > 0) order.resize(std::min<size_t>(order.size(), o.top_k));
  double total = 0, mass = 0;
  for (const auto& [weight, id] : order) total += weight;
  std::map<int, double> kept;
  for (const auto& [weight, id] : order) {
    if (mass >= o.top_p * total) break;
    kept[id] = weight;
    mass += weight;
  }
  for (auto& [id, weight] : kept) weight /= mass;
  return kept;
}

void check_distribution(SearchOptions o, bool widens) {
  const int samples = 500, rounds = 100;
  o.n_best = samples;
  std::map<int, int> count;
  int widened = 0;
  for (int round = 0; round < rounds; ++round) {
    Sampler sampler(o, 0, 1, sentence_key(o.seed, {round}, {}));
    std::vector<Row> rows;
    for (int i = 0; i < samples; ++i) rows.push_back(row_of(sampler, o, i, false));
    const Row full = row_of(sampler, o, 0, true);
    sampler.advance(rows.data(), [&](int i) {
      rows[i].choices = full.choices;
      rows[i].free = full.free;
      ++widened;
    });
    CHECK(sampler.done());
    for (const Hypothesis& h : sampler.results()) ++count[h.ended ? kEos : h.ids[0]];
  }
  CHECK((widened > 0) == widens);
  const auto expected = exact(o);
  double statistic = 0;
  for (const auto& [id, p] : expected)
    statistic += std::pow(count[id] - p * samples * rounds, 2) / (p * samples * rounds);
  for (const auto& [id, n] : count) CHECK(n == 0 || expected.count(id));
  const double freedom = static_cast<double>(expected.size()) - 1;
  CHECK_NEAR(statistic, freedom, 4.5 * std::sqrt(2 * freedom) + 1e-9);
}

}  // namespace

TEST(sampler_draws_by_probability) {
  SearchOptions o = options(1);
  check_distribution(o, false);
  o.temperature = 0.6f;
  check_distribution(o, false);
  o.top_k = 20;
  check_distribution(o, false);
  o.top_p = 0.5;
  check_distribution(o, false);
  o.top_k = 0;
  check_distribution(o, false);  // 0.5 of the mass is in the best few
  o.temperature = 1;
  o.top_p = 0.9;
  check_distribution(o, true);  // and 0.9 is in hundreds
  o.top_k = 350;
  check_distribution(o, true);  // more than the projection keeps
  o.top_p = 1e-6;
  check_distribution(o, true);  // the best alone
}

TEST(sampler_numbers_hang_on_sentence_seed_and_sample_alone) {
  CHECK(sentence_key(1, {4, 5}, {}) == sentence_key(1, {4, 5}, {}));
  CHECK(sentence_key(1, {4, 5}, {}) != sentence_key(2, {4, 5}, {}));
  CHECK(sentence_key(1, {4, 5}, {}) != sentence_key(1, {5, 4}, {}));
  CHECK(sentence_key(1, {4, 5}, {}) != sentence_key(1, {4}, {5}));
  const SearchOptions few = options(3), many = options(9);
  std::vector<std::vector<int>> found;
  for (const SearchOptions& o : {few, many}) {
    Sampler sampler(o, 0, 1, 99);
    std::vector<Row> rows;
    for (int i = 0; i < o.n_best; ++i) rows.push_back(row_of(sampler, o, i, false));
    sampler.advance(rows.data(), {});
    for (int i = 0; i < 3; ++i) found.push_back(sampler.results()[i].ids);
  }
  CHECK(found[0] == found[3] && found[1] == found[4] && found[2] == found[5]);
}

TEST(sampler_drops_the_rows_of_ended_samples) {
  SearchOptions o = options(3);
  o.max_length = 3;
  o.length_penalty = 0;
  Sampler sampler(o, 0, 3, 5);
  auto only = [](int id, float log_prob) {
    Row row;
    row.drawn = {id, log_prob, log_prob};
    return row;
  };
  std::vector<Row> rows = {only(4, -1), only(kEos, -2), only(5, -3)};
  sampler.advance(rows.data(), {});
  CHECK(sampler.rows() == 2 && sampler.parent(1) == 2 && sampler.token(0) == 4 && sampler.token(1) == 5);
  rows = {only(kEos, -1), only(6, -1)};
  sampler.advance(rows.data(), {});
  CHECK(sampler.rows() == 1 && sampler.parent(0) == 1);
  std::vector<int> path;
  sampler.read(0, path);
  CHECK((path == std::vector<int>{5, 6}));
  rows = {only(7, -1)};
  sampler.advance(rows.data(), {});
  CHECK(sampler.done());
  const auto found = sampler.results();
  CHECK((found[0].ids == std::vector<int>{4}) && found[0].ended && found[0].score == -2);
  CHECK(found[1].ids.empty() && found[1].ended && found[1].log_probs.size() == 1);
  CHECK((found[2].ids == std::vector<int>{5, 6, 7}) && !found[2].ended && found[2].score == -5);
}

TEST(sampler_without_any_choice_is_an_error) {
  const SearchOptions o = options(1);
  Sampler sampler(o, 0, 1, 5);
  Row row;
  row.free_log_sum = -INFINITY;
  CHECK_THROWS((sampler.advance(&row, {}), 0), "every continuation is banned");
}
