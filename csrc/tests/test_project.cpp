// Projection against a full row of logits in double: log-sum-exp, order of candidates, ties, bans.
#include <algorithm>
#include <tuple>

#include "kernels/project.h"
#include "tests/kernels.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

namespace {

struct Projection {
  std::vector<Candidate> top;
  std::vector<float> log_sum_exp, picked_logit;
  std::vector<Spread> spread;
};

Projection project(const std::vector<float>& hidden, int64_t m, const PackedMatrix& w, int64_t k,
                   const std::vector<int32_t>& banned = {}, const std::vector<int32_t>& picked = {},
                   int64_t spread_k = 0) {
  Projection p{std::vector<Candidate>(m * k), std::vector<float>(m), std::vector<float>(m, 77.0f),
               std::vector<Spread>(spread_k ? m : 0)};
  project_top_k(hidden.data(), w.k, m, w, banned.data(), banned.size(), k, picked.empty() ? nullptr : picked.data(),
                p.picked_logit.data(), p.top.data(), p.log_sum_exp.data(), spread_k ? p.spread.data() : nullptr,
                spread_k);
  return p;
}

double log_sum_exp(const float* logits, int64_t n) {
  const double highest = *std::max_element(logits, logits + n);
  if (std::isinf(highest)) return highest;
  double total = 0;
  for (int64_t j = 0; j < n; ++j) total += std::exp(logits[j] - highest);
  return highest + std::log(total);
}

// The kernel's logits must be gemm's, so order and ties are checked exactly on those.
void check_projection(int64_t m, int64_t vocab, int64_t d, int64_t k, const std::vector<int32_t>& banned, float scale,
                      double tolerance, bool ties = false) {
  auto hidden = normal(m * d, 1, scale), weight = normal(vocab * d, 2), bias = normal(vocab, 3);
  if (ties) {
    for (float& x : hidden) x = std::round(x);
    for (float& x : weight) x = std::round(x);
    for (float& x : bias) x = std::round(x);
  }
  if (vocab > 4) bias[4] = -kInfinity;
  const PackedMatrix w = pack(weight.data(), bias.data(), vocab, d);
  std::vector<int32_t> picked(m);
  for (int64_t i = 0; i < m; ++i) picked[i] = (i * 37 + vocab - 1) % vocab;
  const Projection p = project(hidden, m, w, k, banned, picked);
  std::vector<float> logits(m * vocab);
  gemm(hidden.data(), d, m, w, Activation::none, nullptr, 0, logits.data(), vocab);
  for (int64_t i = 0; i < m; ++i) {
    const float* row = &logits[i * vocab];
    CHECK_NEAR(p.log_sum_exp[i], log_sum_exp(row, vocab), tolerance);
    CHECK(p.picked_logit[i] == row[picked[i]]);
    std::vector<int32_t> order;
    for (int32_t j = 0; j < vocab; ++j)
      if (row[j] > -kInfinity && !std::binary_search(banned.begin(), banned.end(), j)) order.push_back(j);
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

}  // namespace

TEST(project_every_shape) {
  for (int64_t m : {0, 1, 2, 7, 15, 97})
    for (int64_t vocab : {1, 5, 31, 64, 100, 1001})
      for (int64_t k : {0, 1, 4, 13}) check_projection(m, vocab, 20, k, {}, 1.0f, 2e-6);
  check_projection(230, 333, 512, 8, {}, 0.1f, 2e-6);  // more rows than one block
  check_projection(3, 20001, 64, 24, {0, 20000}, 0.3f, 3e-6);
}

TEST(project_ties_take_the_lower_id) {
  check_projection(7, 300, 3, 9, {0, 5, 17, 299}, 1.0f, 2e-6, true);
  check_projection(1, 2000, 2, 50, {}, 1.0f, 2e-6, true);
}

TEST(project_banned_ids_count_in_the_sum_only) {
  check_projection(5, 40, 16, 12, {0, 1, 7, 8, 9, 31, 32, 33, 39}, 1.0f, 2e-6);
  std::vector<int32_t> all(40);
  for (int j = 0; j < 40; ++j) all[j] = j;
  check_projection(5, 40, 16, 3, all, 1.0f, 2e-6);
  all.erase(all.begin() + 22);
  check_projection(5, 40, 16, 3, all, 1.0f, 2e-6);
}

TEST(project_huge_logits) {
  check_projection(9, 500, 32, 6, {3}, 1e4f, 2e-2);  // logits near 1e5, whose ulp is 8e-3
  check_projection(9, 500, 32, 6, {3}, 1e-6f, 2e-6);
}

TEST(project_all_infinite) {
  const std::vector<float> hidden(8, 1.0f), weight(40 * 8, 0.5f), bias(40, -kInfinity);
  const PackedMatrix w = pack(weight.data(), bias.data(), 40, 8);
  const Projection p = project(hidden, 1, w, 2);
  CHECK(p.log_sum_exp[0] == -kInfinity && p.top[0].id == -1 && p.top[1].id == -1);
}

TEST(project_one_word_is_certain) {
  std::vector<float> bias(70, -kInfinity);
  bias[66] = -1e4f;
  const std::vector<float> hidden(8, 0.0f), weight(70 * 8, 0.5f);
  const PackedMatrix w = pack(weight.data(), bias.data(), 70, 8);
  const Projection p = project(hidden, 1, w, 2);
  CHECK(p.log_sum_exp[0] == -1e4f && p.top[0].id == 66 && p.top[0].logit == -1e4f && p.top[1].id == -1);
}

TEST(project_rows_are_independent) {
  const int64_t m = 97, vocab = 1003, d = 72, k = 8;
  const auto hidden = normal(m * d, 5), weight = normal(vocab * d, 6), bias = normal(vocab, 7);
  const PackedMatrix w = pack(weight.data(), bias.data(), vocab, d);
  const std::vector<int32_t> banned = {0, 500, 1002};
  const Projection whole = project(hidden, m, w, k, banned);
  for (int64_t i = 0; i < m; ++i) {
    const std::vector<float> row(hidden.begin() + i * d, hidden.begin() + (i + 1) * d);
    const Projection one = project(row, 1, w, k, banned);
    CHECK(same_bits(&one.log_sum_exp[0], &whole.log_sum_exp[i], 1));
    CHECK(std::memcmp(one.top.data(), &whole.top[i * k], sizeof(Candidate) * k) == 0);
  }
}

// Entropy and the mass behind the top in double, the latter by adding small probabilities up. The tolerance is
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
    const std::vector<int32_t> banned = {0};
    const Projection p = project(hidden, m, w, k, banned, {}, k), without = project(hidden, m, w, k, banned);
    CHECK(same_bits(p.log_sum_exp.data(), without.log_sum_exp.data(), m));
    CHECK(std::memcmp(p.top.data(), without.top.data(), sizeof(Candidate) * m * k) == 0);
    std::vector<float> logits(m * vocab);
    gemm(hidden.data(), d, m, w, Activation::none, nullptr, 0, logits.data(), vocab);
    for (int64_t i = 0; i < m; ++i) {
      const float* row = &logits[i * vocab];
      const double highest = *std::max_element(row, row + vocab);
      double total = 0, rest = 0, moment = 0;
      for (int64_t j = 0; j < vocab; ++j) {
        const double y = row[j] - highest, e = std::exp(y);
        const bool in_top = std::any_of(&p.top[i * k], &p.top[i * k] + k, [&](Candidate c) { return c.id == j; });
        // The kernel's exponential ends at e^-87.
        if (y < -87) continue;
        total += in_top ? 0 : e;
        moment += e * y;
      }
      rest = total;
      for (int64_t j = 0; j < k; ++j)
        if (p.top[i * k + j].id >= 0) total += std::exp(p.top[i * k + j].logit - highest);
      const double entropy = std::log1p(total - 1) - moment / total;
      CHECK_NEAR(p.spread[i].rest, rest / total, 3e-6 * rest / total);
      CHECK_NEAR(p.spread[i].entropy, entropy, 3e-6 * entropy + 1e-15);
      const Projection one = project({&hidden[i * d], &hidden[(i + 1) * d]}, 1, w, k + 3, banned, {}, k);
      CHECK(std::memcmp(&one.spread[0], &p.spread[i], sizeof(Spread)) == 0);
    }
  }
}
