// The device's sampling, on the host: the choices of engine/sampler.cpp among the best candidates; elsewhere its
// distribution.
#include <cmath>
#include <random>

#include "cuda/sample.h"
#include "engine/choices.h"
#include "engine/sampler.h"
#include "tests/kernels.h"
#include "tests/slot_arrays.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

namespace {

constexpr int kVocab = 300, kStride = 304, kPrefix = 1, kMaxLength = 4;

struct Device : SlotArrays {
  Device(const SearchOptions& o, int slots, int places)
      : SlotArrays({slots, o.n_best, kPrefix + kMaxLength, places, o.n_best, o.n_best, slots, 0}), o(o) {
    for (int length = 0; length < kMaxLength + 2; ++length)
      divisor.push_back(length_divisor(length, o.length_penalty, o.length_form));
    std::iota(ready.begin(), ready.end(), 0);
    prefix_tokens = {55};
    std::fill(limit.begin(), limit.end(), o.max_length);
    tail = places;
    for (int p = 0; p < places; ++p) key[p] = 1000003 * p + o.seed;
  }
  void admit() {
    const cuda::Admission admitting = admission(o.start);
    CHECK(distilmt_cuda_admit(&admitting, nullptr) == 0);
  }
  // A step on `logits` [live, beams, kStride].
  void step(const std::vector<float>& logits) {
    cuda::Sampling s{};
    s.rows = {cuda::Storage::float32,
              logits.data(),
              kStride,
              kVocab,
              nullptr,
              nullptr,
              nullptr,
              0,
              o.min_length,
              o.eos,
              slots(),
              prefix_length.data(),
              k,
              choices.data(),
              log_sum_exp.data(),
              choice_log_sum.data(),
              1 / o.temperature};
    s.places = places();
    s.top_k = o.top_k;
    s.top_p = o.top_p;
    s.forced_bos = o.forced_bos;
    s.forced_eos = o.forced_eos;
    s.divisor = divisor.data();
    s.drawn = drawn.data();
    s.drawn_log_prob = drawn_log_prob.data();
    s.results = results();
    CHECK(distilmt_cuda_project_rows(&s.rows, nullptr) == 0);
    CHECK(distilmt_cuda_draw(&s, nullptr) == 0);
    CHECK(distilmt_cuda_sample(&s, nullptr) == 0);
  }

  const SearchOptions& o;
  const int k = o.top_k > 0 ? o.top_k : 64;
  std::vector<float> divisor, log_sum_exp = std::vector<float>(rows), choice_log_sum = log_sum_exp,
                              drawn_log_prob = log_sum_exp;
  std::vector<Choice> choices = std::vector<Choice>(rows * k);
  std::vector<int32_t> drawn = std::vector<int32_t>(rows);
};

SearchOptions sampling(int samples, int max_length) {
  SearchOptions o;
  o.sample = true;
  o.n_best = o.beam_size = samples;
  o.max_length = max_length;
  o.eos = 3;
  o.seed = 9;
  o.temperature = 1.3f;
  return o;
}

std::vector<float> logits_of(int place, int position, int sample, float deviation) {
  auto x = normal(kStride, 100 * place + 10 * position + sample, deviation);
  x[3] += 3;  // ends now and then
  return x;
}

// What the CPU's sampler finds in the same logits.
std::vector<Hypothesis> on_cpu(const SearchOptions& o, uint64_t key, int place, int prefix, float deviation) {
  Sampler sampler(o, prefix, o.max_length, key);
  std::vector<int> alive(o.n_best);
  std::iota(alive.begin(), alive.end(), 0);
  for (int position = prefix; !sampler.done(); ++position) {
    std::vector<Row> rows(sampler.rows());
    for (int r = 0; r < sampler.rows(); ++r) {
      auto x = logits_of(place, position, alive[r], deviation);
      x.resize(kVocab);
      const std::vector<int32_t> aside = sampler.end_banned() ? std::vector<int32_t>{o.eos} : std::vector<int32_t>{};
      const std::vector<int64_t> begin = {0, static_cast<int64_t>(aside.size())};
      std::vector<float> aside_logit(1);
      std::vector<Candidate> top(sampler.wanted());
      float sum, free;
      Projection p{x.data(),           kVocab,           1,          nullptr, aside.data(), begin.data(),
                   aside_logit.data(), sampler.wanted(), top.data(), &sum};
      p.free_log_sum = &free;
      p.inverse_temperature = 1 / o.temperature;
      project(p);
      choose({top.data(), sampler.wanted(), sum, nullptr, nullptr, 0, free}, o, rows[r]);
    }
    sampler.advance(rows.data(), {});
    std::vector<int> next;
    for (int r = 0; r < sampler.rows(); ++r) next.push_back(alive[sampler.parent(r)]);
    alive = next;
  }
  return sampler.results();
}

// How often each id is drawn from one row of logits, by so many sentences.
std::vector<double> counts(SearchOptions o, const std::vector<float>& row, int sentences) {
  std::vector<double> count(kVocab);
  for (; o.seed < 9 + uint64_t(sentences); ++o.seed) {
    Device device(o, 1, 1);
    device.admit();
    std::vector<float> logits;
    for (size_t i = 0; i < device.rows; ++i) logits.insert(logits.end(), row.begin(), row.end());
    device.step(logits);
    CHECK(device.done == 1);
    for (int32_t id : device.drawn) ++count[id];
  }
  return count;
}

}  // namespace

TEST(cuda_sample_picks_as_the_cpu_among_the_best) {
  for (int top_k : {0, 7})
    for (double top_p : {0.6, 1.0}) {
      if (top_k == 0 && top_p == 1) continue;
      SearchOptions o = sampling(3, kMaxLength);
      o.top_k = top_k;
      o.top_p = top_p;
      o.min_length = 1;
      o.length_penalty = 0.6;
      const float deviation = top_k ? 1 : 3;  // a nucleus within the candidates
      Device device(o, 4, 12);
      for (int p = 0; p < 12; p += 3) device.prefix_length[p] = 1;
      while (device.done < 12) {
        device.admit();
        std::vector<float> logits;
        for (int i = 0; i < 4; ++i)
          for (int b = 0; b < 3; ++b) {
            const int slot = std::max(device.live[i], 0);
            const auto row = logits_of(device.place[slot], device.position[slot], b, deviation);
            logits.insert(logits.end(), row.begin(), row.end());
          }
        device.step(logits);
      }
      for (int p = 0; p < 12; ++p) {
        const auto expected = on_cpu(o, device.key[p], p, device.prefix_length[p], deviation);
        CHECK(device.leaving[p] == 0 && device.hypotheses[p] == 3);
        for (int h = 0; h < 3; ++h) {
          const size_t at = p * 3 + h, row = at * device.size.positions, n = expected[h].log_probs.size();
          CHECK(device.length[at] == static_cast<int>(n));
          CHECK(std::equal(expected[h].ids.begin(), expected[h].ids.end(), &device.out_tokens[row]));
          CHECK((device.out_tokens[row + n - 1] == o.eos) == expected[h].ended);
          for (size_t t = 0; t < n; ++t) CHECK_NEAR(device.log_probs[row + t], expected[h].log_probs[t], 1e-5);
          CHECK_NEAR(device.score[at], expected[h].score, 1e-5);
        }
      }
    }
}

// Draws from all ids, and from a nucleus of some 150 ids where 64 candidates are known.
TEST(cuda_sample_draws_from_all_and_from_a_wide_nucleus) {
  const auto row = normal(kStride, 11, 0.5f);
  SearchOptions o = sampling(kEase > 1 ? 8 : 64, 1);
  for (double top_p : {1.0, 0.7}) {
    o.top_p = top_p;
    std::vector<int> order(kVocab);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int a, int b) { return row[a] > row[b]; });
    std::vector<double> p(kVocab), expected(kVocab);
    double total = 0, mass = 0;
    for (int v = 0; v < kVocab; ++v) total += p[v] = std::exp(row[v] / double{o.temperature});
    size_t wide = 0;
    while (wide < p.size() && mass < top_p * total) mass += p[order[wide++]];
    for (size_t i = 0; i < wide; ++i) expected[order[i]] = p[order[i]] / mass;
    const auto got = counts(o, row, kEase > 1 ? 1 : 64);
    const double draws = std::accumulate(got.begin(), got.end(), 0.0);
    double chi2 = 0;
    for (int v = 0; v < kVocab; ++v) {
      if (expected[v] == 0)
        CHECK(got[v] == 0);
      else
        chi2 += std::pow(got[v] - draws * expected[v], 2) / (draws * expected[v]);
    }
    CHECK(wide > 64 && (kEase > 1 || std::abs(chi2 - wide) < 4 * std::sqrt(2.0 * wide)));
  }
}
