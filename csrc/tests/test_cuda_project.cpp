// The device's row kernel, on the host, against kernels/project.h on the same logits and engine/soft_labels.h.
#include <algorithm>
#include <cmath>

#include "cuda/project_rows.h"
#include "engine/soft_labels.h"
#include "tests/kernels.h"
#include "tests/stored.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

namespace {

constexpr int64_t kSlots = 2, kBeams = 2, kLaunched = 3, kPositions = 9;
constexpr int32_t kEos = 3;

struct Shape {
  int64_t vocab;
  int32_t k, soft;
  std::vector<int32_t> banned;
  bool ties = false, rising = false;
};

// Slot 1 has generated 2 tokens and slot 0 has 6, of at least 4: the end is banned in slot 1 alone.
void check(const Shape& c, Storage storage) {
  const int64_t rows = kLaunched * kBeams, stride = (c.vocab + 7) / 8 * 8 + 8;
  auto numbers = normal(rows * stride, 1, 3);
  auto bias = normal(c.vocab, 2);
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (c.ties) numbers[i] = std::round(numbers[i]);
    if (c.rising) numbers[i] = i % stride * 0.01f;
  }
  if (c.ties || c.rising) std::fill(bias.begin(), bias.end(), 0.0f);
  if (c.vocab > 6) bias[5] = -kInfinity;
  Stored logits(storage, numbers);
  const auto stored = logits.numbers();

  std::vector<uint8_t> bits((c.vocab + 7) / 8);
  for (int32_t id : c.banned) bits[id / 8] |= 1 << id % 8;
  std::vector<int32_t> live = {1, -1, 0}, position = {7, 5}, place = {2, 0}, prefix_length = {3, -9, 1};
  cuda::Slots slots{};
  slots.slots = kSlots;
  slots.beams = kBeams;
  slots.launched = kLaunched;
  slots.positions = kPositions;
  slots.live = live.data();
  slots.position = position.data();
  slots.place = place.data();
  std::vector<Choice> choices(rows * c.k, {7, 7, 7});
  std::vector<float> log_sum(rows, 7), choice_sum(rows, 7);
  const int64_t entries = kSlots * kPositions * kBeams;
  std::vector<int32_t> ids(entries * c.soft);
  std::vector<float> log_probs(entries * c.soft), tail(entries), entropy(entries);
  cuda::RowProjection p{storage,     logits.data(),  stride,          c.vocab,
                        bias.data(), bits.data(),    c.banned.data(), static_cast<int32_t>(c.banned.size()),
                        4,           kEos,           slots,           prefix_length.data(),
                        c.k,         choices.data(), log_sum.data(),  choice_sum.data(),
                        1 / 1.7f};
  if (c.soft) p.soft = {c.soft, ids.data(), log_probs.data(), tail.data(), entropy.data()};
  CHECK(distilmt_cuda_project_rows(&p, nullptr) == 0);

  for (int64_t i = 0; i < rows; ++i) {
    const int64_t slot = live[i / kBeams];
    if (slot < 0) {
      CHECK(choices[i * c.k].id == 7 && log_sum[i] == 7 && choice_sum[i] == 7);
      continue;
    }
    std::vector<float> row(c.vocab);
    for (int64_t v = 0; v < c.vocab; ++v) row[v] = stored[i * stride + v] + bias[v];
    std::vector<int32_t> aside = c.banned;
    if (slot == 1 && kEos < c.vocab) aside.push_back(kEos);
    std::sort(aside.begin(), aside.end());
    aside.erase(std::unique(aside.begin(), aside.end()), aside.end());
    const std::vector<int64_t> begin = {0, static_cast<int64_t>(aside.size())};
    std::vector<float> aside_logit(aside.size());
    std::vector<Candidate> expected(c.k);
    float expected_sum, expected_free;
    Spread spread;
    Projection cpu{row.data(),      c.vocab,      1, nullptr, aside.data(), begin.data(), aside_logit.data(), c.k,
                   expected.data(), &expected_sum};
    cpu.free_log_sum = &expected_free;
    cpu.inverse_temperature = p.inverse_temperature;
    if (c.soft) {
      cpu.spread = &spread;
      cpu.spread_k = c.soft;
    }
    project(cpu);
    for (int32_t j = 0; j < c.k; ++j) {
      const Choice& got = choices[i * c.k + j];
      CHECK(got.id == expected[j].id && got.score == got.log_prob);
      CHECK(got.id < 0 || got.score == expected[j].logit - log_sum[i]);
    }
    CHECK_NEAR(log_sum[i], expected_sum, 3e-6);
    const float choice = expected_free - expected_sum * p.inverse_temperature;
    CHECK(choice_sum[i] == choice || std::abs(choice_sum[i] - choice) <= 3e-6);
    if (!c.soft) continue;
    SoftLabels soft;
    soft.k = c.soft;
    soft.resize(1);
    std::vector<Candidate> known(expected.begin(), expected.begin() + c.soft);
    for (size_t j = 0; j < aside.size(); ++j) known.push_back({aside_logit[j], aside[j]});
    soft.set(0, known, expected_sum, spread);
    const int64_t at = (slot * kPositions + position[slot]) * kBeams + i % kBeams;
    for (int32_t j = 0; j < c.soft; ++j) {
      CHECK(ids[at * c.soft + j] == soft.ids[j]);
      const float got = log_probs[at * c.soft + j];
      CHECK(got == soft.log_probs[j] || std::abs(got - soft.log_probs[j]) <= 3e-6);
    }
    CHECK_NEAR(tail[at], soft.tail_mass[0], 2e-6);
    CHECK_NEAR(entropy[at], soft.entropy[0], 1e-5);
  }
}

}  // namespace

TEST(cuda_project_rows_is_the_cpus) {
  std::vector<int32_t> many;
  for (int32_t id = 0; id < 700; id += 2) many.push_back(id);
  const Shape cases[] = {{1500, 8, 0, {}},          {1500, 8, 5, {0, 3, 17, 1400}}, {1500, 128, 128, {}, true},
                         {1500, 128, 16, many},     {1500, 7, 7, {}, false, true},  {513, 1, 1, {}},
                         {37, 40, 40, {1, 2, 9}},   {37, 8, 3, {}, true},           {8, 8, 8, {0}},
                         {1300, 24, 24, many, true}};
  for (const Shape& c : cases)
    for (Storage storage : kStorages)
      if (kEase == 1 || c.vocab < 600 || storage == Storage::float32) check(c, storage);
}

TEST(cuda_project_rows_flags_what_is_no_number) {
  const int64_t vocab = 700, stride = 704;
  std::vector<int32_t> live = {0, 1, 2, 3}, position = {0, 0, 0, 0}, zeros = {0, 0, 0, 0};
  cuda::Slots slots{};
  slots.slots = slots.launched = 4;
  slots.beams = slots.positions = 1;
  slots.live = live.data();
  slots.position = position.data();
  slots.place = zeros.data();
  auto logits = normal(4 * stride, 3);
  logits[650] = NAN;
  logits[stride + 2] = kInfinity;
  std::fill_n(logits.begin() + 2 * stride, stride, -kInfinity);
  std::fill_n(logits.begin() + 3 * stride, stride, -kInfinity);
  logits[3 * stride + 600] = 5;
  std::vector<Choice> choices(4 * 2);
  std::vector<float> log_sum(4);
  cuda::RowProjection p{};
  p.logits = logits.data();
  p.stride = stride;
  p.vocab = vocab;
  p.slots = slots;
  p.prefix_length = zeros.data();
  p.k = 2;
  p.choices = choices.data();
  p.log_sum_exp = log_sum.data();
  CHECK(distilmt_cuda_project_rows(&p, nullptr) == 0);
  for (int i = 0; i < 3; ++i) CHECK(!std::isfinite(log_sum[i]));
  CHECK(log_sum[3] == 5 && choices[6].id == 600 && choices[6].score == 0 && choices[7].id == -1);
}
