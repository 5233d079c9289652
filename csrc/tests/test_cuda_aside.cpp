// What the text of a row sets aside on the device, and the choices that come of it, on the host against
// engine/constraints.h and engine/choices.h: rows of random texts, step after step, in slots that change.
#include <algorithm>
#include <array>
#include <random>

#include "cuda/set_aside.h"
#include "engine/choices.h"
#include "tests/kernels.h"
#include "tests/slot_arrays.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

namespace {

constexpr int kSlots = 3, kPositions = 20, kVocab = 37, kStride = 40, kStart = 36;

struct Device : SlotArrays {
  Device(const SearchOptions& options, int soft)
      : SlotArrays({kSlots, options.beam_size, kPositions, kSlots, 1, 1, 1, soft}), o(options), k(2 * o.beam_size) {
    prefix_tokens = {4, 5, 4};
    for (int32_t id : o.banned) bits[id / 8] |= 1 << id % 8;
  }

  // Sentences anywhere, with texts of a few words.
  void move(std::mt19937& random) {
    for (int slot = 0; slot < kSlots; ++slot) {
      live[slot] = (slot + random()) % 4 == 0 ? -1 : slot;
      place[slot] = slot;
      prefix_length[slot] = random() % 4;
      position[slot] = prefix_length[slot] + random() % (kPositions - 3);
    }
    std::shuffle(live.begin(), live.end(), random);
    for (Node& node : trellis) node.token = random() % 9;
    for (uint8_t& ancestor : ancestors) ancestor = random() % size.beams;
    for (float& score : scores) score = -0.25f * (random() % 8);
  }

  std::vector<int> text(int slot, int beam) const {
    std::vector<int> ids = {kStart};
    const int now = position[slot], prefix = prefix_length[slot];
    for (int t = 1; t <= now; ++t) {
      const int from = t == now ? beam : ancestors[((now % 2 * kSlots + slot) * kPositions + t) * size.beams + beam];
      const Node& node = trellis[(slot * kPositions + std::max(t - prefix - 1, 0)) * size.beams + from];
      ids.push_back(t <= prefix ? prefix_tokens[t - 1] : node.token);
    }
    return ids;
  }

  cuda::RowProjection projection(const std::vector<float>& logits) {
    cuda::RowProjection p{cuda::Storage::float32,
                          logits.data(),
                          kStride,
                          kVocab,
                          nullptr,
                          bits.data(),
                          o.banned.data(),
                          static_cast<int32_t>(o.banned.size()),
                          o.min_length,
                          o.eos,
                          slots(),
                          prefix_length.data(),
                          k,
                          choices.data(),
                          log_sum_exp.data(),
                          choice_log_sum.data(),
                          1 / o.temperature,
                          size.soft ? soft() : cuda::SoftLabelMemory{},
                          {kPositions, entries.data(), count.data(), own.data()},
                          choice_rule(o, false)};
    p.renormalised = renormalises(o, false);
    p.summed = !o.sample;
    return p;
  }

  const SearchOptions& o;
  const int k;
  std::vector<uint8_t> bits = std::vector<uint8_t>(8);
  std::vector<Choice> choices = std::vector<Choice>(rows * 16);
  std::vector<float> log_sum_exp = std::vector<float>(rows), choice_log_sum = log_sum_exp;
  std::vector<Aside> entries = std::vector<Aside>(rows * kPositions);
  std::vector<int32_t> count = std::vector<int32_t>(rows);
  std::vector<uint32_t> own = std::vector<uint32_t>(rows * 2);
};

void check_row(const Device& d, int i, int beam, const float* logits) {
  const SearchOptions& o = d.o;
  const int slot = d.live[i], row = i * o.beam_size + beam, at = d.position[slot];
  std::vector<Aside> asides;
  set_aside(o, d.text(slot, beam), at - d.prefix_length[slot] < o.min_length, asides);
  std::vector<int32_t> ids;
  for (const Aside& aside : asides) ids.push_back(aside.id);
  const std::vector<int64_t> begin = {0, static_cast<int64_t>(ids.size())};
  std::vector<float> aside_logit(ids.size());
  std::vector<Candidate> top(std::max(d.k, d.size.soft));
  float log_sum, free_sum;
  Spread spread;
  Projection p{
      logits,     kVocab,  1, nullptr, ids.data(), begin.data(), aside_logit.data(), static_cast<int64_t>(top.size()),
      top.data(), &log_sum};
  p.free_log_sum = &free_sum;
  p.inverse_temperature = 1 / o.temperature;
  if (d.size.soft) p.spread = &spread, p.spread_k = d.size.soft;
  project(p);
  Row expected;
  choose({top.data(), d.k, log_sum, asides.data(), aside_logit.data(), begin[1], free_sum}, o, expected);
  const float base = o.sample ? 0 : d.scores[slot * o.beam_size + beam];
  std::sort(expected.choices.begin(), expected.choices.end(), [&](const Choice& a, const Choice& b) {
    return base + a.score != base + b.score ? a.score > b.score : a.id < b.id;
  });
  expected.choices.resize(d.k, {-1, 0, 0});
  const Choice* got = &d.choices[row * d.k];
  for (int j = 0; j < d.k; ++j) {
    CHECK(got[j].id == expected.choices[j].id);
    if (got[j].id < 0) continue;
    CHECK_NEAR(got[j].score, expected.choices[j].score, 1e-5);
    CHECK_NEAR(got[j].log_prob, expected.choices[j].log_prob, 1e-5);
  }
  if (d.size.soft == 0) return;
  SoftLabels soft;
  soft.k = d.size.soft;
  soft.resize(1);
  std::vector<Candidate> known(top.begin(), top.begin() + soft.k);
  for (size_t j = 0; j < ids.size(); ++j) known.push_back({aside_logit[j], ids[j]});
  soft.set(0, known, log_sum, spread);
  const int entry = (slot * kPositions + at) * o.beam_size + beam;
  for (int j = 0; j < soft.k; ++j) CHECK(d.soft_ids[entry * soft.k + j] == soft.ids[j]);
  CHECK_NEAR(d.tail_mass[entry], soft.tail_mass[0], 2e-6);
  CHECK_NEAR(d.entropy[entry], soft.entropy[0], 1e-5);
}

}  // namespace

TEST(cuda_set_aside_and_choices_are_the_cpus) {
  std::mt19937 random(5);
  for (int round = 0; round < 60 / kEase + 1; ++round) {
    SearchOptions o;
    o.beam_size = 1 + random() % 3;
    o.sample = random() % 3 == 0;
    o.repetition_penalty = std::array{1.0f, 1.4f, 0.6f}[random() % 3];
    o.no_repeat_ngram_size = random() % 4;
    o.min_length = random() % 2 * 5;
    o.temperature = o.sample ? 1.3f : 1;
    o.renormalize = random() % 2;
    o.eos = random() % 2 ? 3 : 20;
    if (random() % 2) o.banned = {2, 6, kStart};
    Device device(o, random() % 2 * 5);  // soft labels: more or less than choices
    for (int step = 0; step < 6; ++step) {
      device.move(random);
      const auto logits = normal(device.rows * kStride, random(), 2);
      const cuda::RowProjection p = device.projection(logits);
      const cuda::SettingAside a{p, device.places(), kStart, o.no_repeat_ngram_size, 0, nullptr, nullptr};
      CHECK(distilmt_cuda_set_aside(&a, nullptr) == 0 && distilmt_cuda_project_rows(&p, nullptr) == 0);
      for (int i = 0; i < kSlots; ++i)
        for (int beam = 0; device.live[i] >= 0 && beam < o.beam_size; ++beam)
          check_row(device, i, beam, &logits[(i * o.beam_size + beam) * kStride]);
    }
  }
}
