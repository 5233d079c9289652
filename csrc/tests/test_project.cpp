// Projection against a full row of logits in double: log-sum-exp, order of candidates, ties, bans.
#include <algorithm>
#include <tuple>

#include "kernels/project.h"
#include "tests/kernels.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

namespace {

// Ids set aside per row.
using Asides = std::vector<std::vector<int32_t>>;

struct Projected {
  std::vector<Candidate> top, drawn;
  std::vector<float> log_sum_exp, free_log_sum;
  std::vector<std::vector<float>> aside_logit;
  std::vector<Spread> spread;
};

Projected project_rows(const std::vector<float>& hidden, int64_t m, const PackedMatrix& w, int64_t k,
                       Asides asides = {}, float temperature = 1, const std::vector<DrawKey>& keys = {},
                       int64_t spread_k = 0) {
  asides.resize(m);
  std::vector<int32_t> flat;
  std::vector<int64_t> begin = {0};
  for (const auto& ids : asides) {
    flat.insert(flat.end(), ids.begin(), ids.end());
    begin.push_back(flat.size());
  }
  std::vector<float> logits(flat.size(), 77.0f);
  Projected out{
      std::vector<Candidate>(m * k), std::vector<Candidate>(m), std::vector<float>(m), std::vector<float>(m), {},
      std::vector<Spread>(m)};
  Projection p{hidden.data(),         w.k, m, &w, flat.data(), begin.data(), logits.data(), k, out.top.data(),
               out.log_sum_exp.data()};
  p.free_log_sum = out.free_log_sum.data();
  p.inverse_temperature = 1 / temperature;
  if (!keys.empty()) {
    p.keys = keys.data();
    p.drawn = out.drawn.data();
  }
  p.spread = spread_k ? out.spread.data() : nullptr;
  p.spread_k = spread_k;
  project(p);
  for (int64_t i = 0; i < m; ++i)
    out.aside_logit.emplace_back(logits.begin() + begin[i], logits.begin() + begin[i + 1]);
  return out;
}

double log_sum_exp(const float* logits, int64_t n) {
  const double highest = *std::max_element(logits, logits + n);
  if (std::isinf(highest)) return highest;
  double total = 0;
  for (int64_t j = 0; j < n; ++j) total += std::exp(logits[j] - highest);
  return highest + std::log(total);
}

// The kernel's logits must be gemm's, so order and ties are checked exactly on those.
void check_projection(int64_t m, int64_t vocab, int64_t d, int64_t k, const Asides& asides, float scale,
                      double tolerance, bool ties = false) {
  auto hidden = normal(m * d, 1, scale), weight = normal(vocab * d, 2), bias = normal(vocab, 3);
  if (ties) {
    for (float& x : hidden) x = std::round(x);
    for (float& x : weight) x = std::round(x);
    for (float& x : bias) x = std::round(x);
  }
  if (vocab > 4) bias[4] = -kInfinity;
  const PackedMatrix w = pack(weight.data(), bias.data(), vocab, d);
  const float temperature = 1.7f;
  const Projected p = project_rows(hidden, m, w, k, asides, temperature);
  std::vector<float> logits(m * vocab);
  gemm(hidden.data(), d, m, w, Activation::none, nullptr, 0, logits.data(), vocab);
  for (int64_t i = 0; i < m; ++i) {
    const float* row = &logits[i * vocab];
    const std::vector<int32_t> aside = i < int64_t(asides.size()) ? asides[i] : std::vector<int32_t>{};
    CHECK_NEAR(p.log_sum_exp[i], log_sum_exp(row, vocab), tolerance);
    for (size_t j = 0; j < aside.size(); ++j) CHECK(p.aside_logit[i][j] == row[aside[j]]);
    std::vector<int32_t> order;
    std::vector<float> free = {-kInfinity};
    for (int32_t j = 0; j < vocab; ++j) {
      if (row[j] == -kInfinity || std::binary_search(aside.begin(), aside.end(), j)) continue;
      order.push_back(j);
      free.push_back(row[j] / temperature);
    }
    const double sum = log_sum_exp(free.data(), free.size());
    CHECK(p.free_log_sum[i] == sum || std::abs(p.free_log_sum[i] - sum) <= tolerance);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return row[a] > row[b]; });
    for (int64_t j = 0; j < k; ++j) {
      const Candidate c = p.top[i * k + j];
      if (j < int64_t(order.size()))
        CHECK(c.id == order[j] && c.logit == row[order[j]]);
      else
        CHECK(c.id == -1 && c.logit == -kInfinity);
    }
  }
}

// A few ids of every row, other ones in each; the last row has none.
Asides some(int64_t m, int32_t vocab) {
  Asides asides;
  for (int64_t i = 0; i + 1 < m; ++i) {
    std::vector<int32_t> ids = {static_cast<int32_t>(i % vocab), static_cast<int32_t>(i * 37 % vocab), vocab - 1};
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    asides.push_back(ids);
  }
  return asides;
}

}  // namespace

TEST(project_every_shape) {
  for (int64_t m : {0, 1, 2, 7, 15, 97})
    for (int32_t vocab : {1, 5, 31, 64, 100, 1001})
      for (int64_t k : {0, 1, 4, 13}) check_projection(m, vocab, 20, k, some(m, vocab), 1.0f, 2e-6);
  check_projection(230, 333, 512, 8, some(230, 333), 0.1f, 2e-6);  // more rows than one block
  check_projection(3, 20001, 64, 24, {{0, 20000}, {}, {5, 6}}, 0.3f, 3e-6);
}

TEST(project_ties_take_the_lower_id) {
  check_projection(7, 300, 3, 9, Asides(7, {0, 5, 17, 299}), 1.0f, 2e-6, true);
  check_projection(1, 2000, 2, 50, {}, 1.0f, 2e-6, true);
}

TEST(project_ids_set_aside_count_in_the_sum_only) {
  check_projection(5, 40, 16, 12, Asides(5, {0, 1, 7, 8, 9, 31, 32, 33, 39}), 1.0f, 2e-6);
  std::vector<int32_t> all(40);
  for (int j = 0; j < 40; ++j) all[j] = j;
  check_projection(5, 40, 16, 3, {all, {}, all, {3}, all}, 1.0f, 2e-6);
  all.erase(all.begin() + 22);
  check_projection(5, 40, 16, 3, Asides(5, all), 1.0f, 2e-6);
}

TEST(project_huge_logits) {
  check_projection(9, 500, 32, 6, Asides(9, {3}), 1e4f, 2e-2);  // logits near 1e5, whose ulp is 8e-3
  check_projection(9, 500, 32, 6, Asides(9, {3}), 1e-6f, 2e-6);
}

TEST(project_all_infinite) {
  const std::vector<float> hidden(8, 1.0f), weight(40 * 8, 0.5f), bias(40, -kInfinity);
  const PackedMatrix w = pack(weight.data(), bias.data(), 40, 8);
  const Projected p = project_rows(hidden, 1, w, 2, {}, 1, {{1, 2, 3}});
  CHECK(p.log_sum_exp[0] == -kInfinity && p.top[0].id == -1 && p.top[1].id == -1);
  CHECK(p.free_log_sum[0] == -kInfinity && p.drawn[0].id == -1);
}

TEST(project_one_word_is_certain) {
  std::vector<float> bias(70, -kInfinity);
  bias[66] = -1e4f;
  const std::vector<float> hidden(8, 0.0f), weight(70 * 8, 0.5f);
  const PackedMatrix w = pack(weight.data(), bias.data(), 70, 8);
  const Projected p = project_rows(hidden, 1, w, 2, {}, 1, {{1, 2, 3}});
  CHECK(p.log_sum_exp[0] == -1e4f && p.top[0].id == 66 && p.top[0].logit == -1e4f && p.top[1].id == -1);
  CHECK(p.drawn[0].id == 66 && p.drawn[0].logit == -1e4f);
}

TEST(project_rows_are_independent) {
  const int64_t m = 97, vocab = 1003, d = 72, k = 8;
  const auto hidden = normal(m * d, 5), weight = normal(vocab * d, 6), bias = normal(vocab, 7);
  const PackedMatrix w = pack(weight.data(), bias.data(), vocab, d);
  Asides asides(m, {0, 500, 1002});
  for (int32_t i = 0; i < m; ++i) asides[i][1] = 1 + i * 7;
  std::vector<DrawKey> keys;
  for (uint32_t i = 0; i < m; ++i) keys.push_back({i * 1000003ull, 4, i});
  const Projected whole = project_rows(hidden, m, w, k, asides, 0.8f, keys);
  for (int64_t i = 0; i < m; ++i) {
    const std::vector<float> row(hidden.begin() + i * d, hidden.begin() + (i + 1) * d);
    const Projected one = project_rows(row, 1, w, k, {asides[i]}, 0.8f, {keys[i]});
    CHECK(same_bits(&one.log_sum_exp[0], &whole.log_sum_exp[i], 1));
    CHECK(same_bits(&one.free_log_sum[0], &whole.free_log_sum[i], 1));
    CHECK(same_bits(one.aside_logit[0].data(), whole.aside_logit[i].data(), 3));
    CHECK(std::memcmp(&one.drawn[0], &whole.drawn[i], sizeof(Candidate)) == 0);
    CHECK(std::memcmp(one.top.data(), &whole.top[i * k], sizeof(Candidate) * k) == 0);
  }
}

TEST(philox_known_answers) {  // Random123's kat_vectors
  auto is = [](const Philox& p, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    return p.word[0] == a && p.word[1] == b && p.word[2] == c && p.word[3] == d;
  };
  const uint32_t ones = 0xffffffff;
  CHECK(is(philox(0, 0, 0, 0, 0, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  CHECK(is(philox(ones, ones, ones, ones, ones, ones), 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  CHECK(is(philox(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0), 0xd16cfe09, 0x94fdcceb,
           0x5001e420, 0x24126ea1));
}

// Pearson's statistic of 100,000 draws against the exact probabilities. With 151 words its mean is 150 and its
// deviation 17 where the draws are right.
TEST(project_draws_by_probability) {
  const int64_t vocab = 160, d = 6, m = 200, rounds = 500;
  const float temperature = 1.4f;
  const auto weight = normal(vocab * d, 8, 0.5f), bias = normal(vocab, 9, 0.8f), one = normal(d, 10);
  const PackedMatrix w = pack(weight.data(), bias.data(), vocab, d);
  std::vector<float> hidden, logits(vocab);
  for (int64_t i = 0; i < m; ++i) hidden.insert(hidden.end(), one.begin(), one.end());
  gemm(one.data(), d, 1, w, Activation::none, nullptr, 0, logits.data(), vocab);
  const std::vector<int32_t> aside = {0, 3, 31, 32, 33, 100, 127, 128, 159};
  std::vector<double> expected(vocab), count(vocab);
  double total = 0;
  for (int32_t j = 0; j < vocab; ++j)
    if (!std::binary_search(aside.begin(), aside.end(), j)) total += expected[j] = std::exp(logits[j] / temperature);
  for (uint32_t round = 0; round < rounds; ++round) {
    std::vector<DrawKey> keys;
    for (uint32_t i = 0; i < m; ++i) keys.push_back({77, round, i});
    for (const Candidate& c : project_rows(hidden, m, w, 0, Asides(m, aside), temperature, keys).drawn) {
      CHECK(c.id >= 0 && c.logit == logits[c.id]);
      ++count[c.id];
    }
  }
  double statistic = 0;
  for (int64_t j = 0; j < vocab; ++j) {
    const double mean = expected[j] / total * m * rounds;
    if (mean > 0)
      statistic += (count[j] - mean) * (count[j] - mean) / mean;
    else
      CHECK(count[j] == 0);
  }
  CHECK(statistic > 80 && statistic < 235);
}

// Entropy and the mass behind the best in double, the latter by adding small probabilities up. The tolerance is
// relative: a certain row has a rest of 1e-30 and an entropy like it.
TEST(project_spread) {
  for (const auto& [vocab, k, scale] : std::vector<std::tuple<int64_t, int64_t, float>>{{1, 1, 1.0f},
                                                                                        {5, 5, 1.0f},
                                                                                        {67, 1, 0.3f},
                                                                                        {67, 9, 6.0f},
                                                                                        {1001, 4, 0.1f},
                                                                                        {1001, 4, 5.0f},
                                                                                        {9001, 8, 2.0f},
                                                                                        {20001, 300, 0.5f},
                                                                                        {500, 3, 1e4f}}) {
    const int64_t m = 17, d = 24;
    const auto hidden = normal(m * d, 1, scale), weight = normal(vocab * d, 2);
    auto bias = normal(vocab, 3);
    if (vocab > 4) bias[vocab / 2] = -kInfinity;
    const PackedMatrix w = pack(weight.data(), bias.data(), vocab, d);
    Asides asides(m);
    for (int64_t i = 1; i < m && vocab > 4; ++i)
      asides[i] = {0, static_cast<int32_t>(vocab / 2), static_cast<int32_t>(vocab - i % 2 - 1)};
    const Projected p = project_rows(hidden, m, w, k + 3, asides, 1, {}, k),
                    without = project_rows(hidden, m, w, k + 3, asides);
    CHECK(same_bits(p.log_sum_exp.data(), without.log_sum_exp.data(), m));
    CHECK(std::memcmp(p.top.data(), without.top.data(), sizeof(Candidate) * m * (k + 3)) == 0);
    std::vector<float> logits(m * vocab);
    gemm(hidden.data(), d, m, w, Activation::none, nullptr, 0, logits.data(), vocab);
    for (int64_t i = 0; i < m; ++i) {
      const float* row = &logits[i * vocab];
      const Candidate* top = &p.top[i * (k + 3)];
      const double highest = *std::max_element(row, row + vocab);
      double known = 0, rest = 0, moment = 0, denormal = 0;
      for (int64_t j = 0; j < vocab; ++j) {
        const double y = row[j] - highest, e = y < -87 ? 0 : std::exp(y);
        denormal += y < -87 ? std::exp(y) : 0;  // zeros for the exponential of some sets
        const bool is_known = std::any_of(top, top + k, [&](Candidate c) { return c.id == j; }) ||
                              std::binary_search(asides[i].begin(), asides[i].end(), j);
        (is_known ? known : rest) += e;
        moment += e > 0 ? e * y : 0;
      }
      const double total = known + rest, entropy = std::log(total) - moment / total;
      CHECK_NEAR(p.spread[i].rest, rest / total, 3e-6 * rest / total + denormal);
      CHECK_NEAR(p.spread[i].entropy, entropy, 3e-6 * entropy + 1e-15);
      const Projected one = project_rows({&hidden[i * d], &hidden[(i + 1) * d]}, 1, w, k, {asides[i]}, 1, {}, k);
      CHECK(std::memcmp(&one.spread[0], &p.spread[i], sizeof(Spread)) == 0);
    }
  }
}

TEST(project_of_given_logits_is_that_of_the_product) {
  for (int64_t vocab : {1, 31, 64, 1003}) {
    const int64_t m = 61, d = 24, k = 5;
    const auto hidden = normal(m * d, 5), weight = normal(vocab * d, 6), bias = normal(vocab, 7);
    const PackedMatrix w = pack(weight.data(), bias.data(), vocab, d);
    std::vector<float> logits(m * vocab);
    gemm(hidden.data(), d, m, w, Activation::none, nullptr, 0, logits.data(), vocab);
    const Projected product = project_rows(hidden, m, w, k);
    std::vector<int64_t> begin(m + 1, 0);
    std::vector<Candidate> top(m * k);
    std::vector<float> sums(m);
    project({logits.data(), vocab, m, nullptr, nullptr, begin.data(), nullptr, k, top.data(), sums.data()});
    CHECK(same_bits(sums.data(), product.log_sum_exp.data(), m));
    CHECK(std::memcmp(top.data(), product.top.data(), sizeof(Candidate) * m * k) == 0);
  }
}
