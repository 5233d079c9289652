// The device's beam kernel, on the host, against engine/beam.cpp bit for bit (but for what a coverage penalty adds):
// thousands of random sentences under random options, sharing slots as they come and go.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "cuda/beam.h"
#include "engine/ancestors.h"
#include "engine/beam.h"
#include "engine/choices.h"
#include "tests/kernels.h"
#include "tests/slot_arrays.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

namespace {

constexpr int kPlaces = 24, kSlots = 16, kMaxPrefix = 3, kMaxLength = 9, kPositions = kMaxPrefix + kMaxLength;
constexpr int kHeads = 2, kSource = 5;

int source_length(int place) { return 1 + place % kSource; }

struct Options : SearchOptions {
  int k, vocab, soft;
};

Options random_options(std::mt19937& random) {
  const auto one_of = [&](auto... each) {
    const std::common_type_t<decltype(each)...> all[] = {each...};
    return all[random() % sizeof...(each)];
  };
  Options o;
  o.beam_size = one_of(1, 2, 3, 4, 5, 9);
  o.n_best = 1 + random() % o.beam_size;
  o.patience = one_of(1.0, 1.0, 2.0, 0.5);
  o.n_best = std::min<int>(o.n_best, beam_rule(o).room);
  o.length_penalty = one_of(0.0, 0.6, 1.0, -0.5, 2.0);
  o.length_form = one_of(LengthForm::power, LengthForm::gnmt);
  o.early_stopping = one_of(EarlyStopping::no, EarlyStopping::yes, EarlyStopping::never, EarlyStopping::exact);
  o.max_length = 1 + random() % kMaxLength;
  o.min_length = one_of(0, 0, 2);
  o.renormalize = one_of(false, true);
  o.forced_bos = one_of(-1, -1, 4);
  o.forced_eos = one_of(-1, -1, 0);
  if (random() % 3 == 0) o.coverage_penalty = 0.4;
  o.start = 1;
  o.vocab = one_of(2, 7, 30);
  o.soft = one_of(0, 3);
  o.k = std::max(2 * o.beam_size, o.soft);
  return o;
}

// What a model would say: functions of sentence, position and row.
struct Said {
  std::vector<Candidate> top;
  float log_sum_exp, free_log_sum;
  std::vector<float> attention = {};  // [heads, source length]
};

Said said(const Options& o, unsigned seed, int place, int position, int row, bool end_banned) {
  std::mt19937 random(seed + 7919 * place + 104729 * position + 31 * row);
  Said s{{}, 1.5f + random() % 8 / 4.0f, 1.25f};
  if (random() % 200 == 0) s.log_sum_exp = NAN;
  const bool empty = random() % 100 == 0;  // nothing is possible
  for (int id = 0; id < o.vocab && !empty; ++id)
    if (!(end_banned && id == o.eos)) s.top.push_back({-1.0f * (random() % 12) / 4 - (random() % 3) * 1e-7f, id});
  std::sort(s.top.begin(), s.top.end(), [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  });
  s.top.resize(o.k, {-kInfinity, -1});
  for (int j = 0; j < kHeads * source_length(place); ++j) s.attention.push_back(random() % 50 / 80.0f);
  return s;
}

int soft_id(int place, int position, int row, int j) { return ((place * 100 + position) * 100 + row) * 10 + j; }

// A sentence on the CPU, step by step, as engine/worker.cpp does it.
struct Sentence {
  Sentence(const Options& options, unsigned seed, int place, std::vector<int> forced, int limit)
      : o(options),
        seed(seed),
        place(place),
        prefix(std::move(forced)),
        beam(o, prefix.size(), limit, source_length(place)),
        ancestors(o.beam_size, kPositions) {}

  bool step() {
    std::vector<Row> rows(beam.rows());
    for (int b = 0; b < beam.rows(); ++b) ancestors.write(b, position);
    std::vector<Said> all;
    for (int b = 0; b < beam.rows(); ++b) {
      all.push_back(said(o, seed, place, position, b, beam.end_banned()));
      if (!std::isfinite(all[b].log_sum_exp)) return end(cuda::Leaving::not_finite);
      std::vector<float>& mean = all[b].attention;
      for (int j = 0; j < source_length(place); ++j) mean[j] = (mean[j] + mean[j + source_length(place)]) / kHeads;
      rows[b].attention = mean.data();
    }
    std::vector<int> parents(beam.rows());
    if (position < static_cast<int>(prefix.size())) {
      std::iota(parents.begin(), parents.end(), 0);
      beam.cover(rows[0].attention);
    } else {
      for (int b = 0; b < beam.rows(); ++b)
        choose({all[b].top.data(), beam.wanted(), all[b].log_sum_exp, nullptr, nullptr, 0, all[b].free_log_sum}, o,
               rows[b]);
      beam.advance(rows.data(), {});
      if (beam.done()) {
        try {
          results = beam.results();
        } catch (const NothingLeft&) {
          return end(cuda::Leaving::nothing_left);
        }
        return end(cuda::Leaving::done);
      }
      parents.resize(beam.rows());
      for (int b = 0; b < beam.rows(); ++b) parents[b] = beam.parent(b);
    }
    ancestors.follow(parents, ++position);
    return true;
  }
  bool end(cuda::Leaving how) {
    leaving = how;
    return false;
  }

  const Options& o;
  const unsigned seed;
  const int place;
  const std::vector<int> prefix;
  Beam beam;
  AncestorTable ancestors;
  int position = 0;
  cuda::Leaving leaving = cuda::Leaving::done;
  std::vector<Hypothesis> results;
};

struct Device : SlotArrays {
  Device(const Options& o, unsigned seed)
      : SlotArrays({kSlots, o.beam_size, kPositions, kPlaces, o.n_best, beam_rule(o).room, kSlots, o.soft}),
        o(o),
        seed(seed) {
    std::mt19937 random(seed);
    for (int p = 0; p < kPlaces; ++p) {
      prefix_length[p] = random() % (kMaxPrefix + 1);
      prefix_begin[p] = prefix_tokens.size();
      for (int i = 0; i < prefix_length[p]; ++i) prefix_tokens.push_back(100 + random() % 9);
      limit[p] = std::max<int>(1, o.max_length - random() % 2);
      ready[p] = (p + 5) % kPlaces;
      lengths.push_back(source_length(p));
    }
    prefix_tokens.push_back(-1);
    tail = kPlaces;
    for (int length = 0; length < kMaxLength + 3; ++length)
      divisor.push_back(length_divisor(length, o.length_penalty, o.length_form));
  }

  void step() {
    const cuda::Admission admitting = admission(o.start);
    CHECK(distilmt_cuda_admit(&admitting, nullptr) == 0);
    for (int i = 0; i < kSlots && live[i] >= 0; ++i)
      for (int b = 0; b < o.beam_size; ++b) say(i, b);
    cuda::Coverage coverage{slots(),          lengths.data(), kHeads,         kSource,
                            attention.data(), seen.data(),    covered.data(), nullptr};
    if (o.coverage_penalty != 0) {
      coverage.penalty = penalty.data();
      CHECK(distilmt_cuda_cover(&coverage, nullptr) == 0);
    }
    const cuda::BeamSearch search{slots(),
                                  places(),
                                  beam_rule(o),
                                  o.forced_bos,
                                  o.forced_eos,
                                  o.start,
                                  divisor.data(),
                                  o.k,
                                  choices.data(),
                                  log_sum_exp.data(),
                                  soft(),
                                  results(),
                                  static_cast<float>(o.coverage_penalty),
                                  coverage};
    CHECK(distilmt_cuda_beam(&search, nullptr) == 0);
  }

  void say(int i, int b) {
    const int p = place[live[i]], at = position[live[i]], row = i * o.beam_size + b, generated = at - prefix_length[p];
    const Said s = said(o, seed, p, at, b, std::max(generated, 0) < o.min_length);
    Row chosen;
    choose({s.top.data(), o.k, s.log_sum_exp, nullptr, nullptr, 0, s.free_log_sum}, o, chosen);
    chosen.choices.resize(o.k, {-1, 0, 0});
    std::copy(chosen.choices.begin(), chosen.choices.end(), choices.begin() + row * o.k);
    for (int head = 0, length = source_length(p); head < kHeads; ++head)
      std::copy_n(&s.attention[head * length], length, &attention[(row * kHeads + head) * kSource]);
    log_sum_exp[row] = generated <= 0 && b > 0 ? NAN : s.log_sum_exp;  // nobody reads these rows
    const int entry = (live[i] * kPositions + at) * o.beam_size + b;
    for (int j = 0; j < o.soft; ++j)
      soft_log_probs[entry * o.soft + j] = soft_ids[entry * o.soft + j] = soft_id(p, at, b, j);
    tail_mass[entry] = entropy[entry] = soft_id(p, at, b, 0);
  }

  const Options& o;
  const unsigned seed;
  std::vector<float> divisor, log_sum_exp = std::vector<float>(rows);
  std::vector<Choice> choices = std::vector<Choice>(rows * o.k);
  std::vector<int32_t> lengths;
  std::vector<float> attention = std::vector<float>(rows * kHeads * kSource),
                     seen = std::vector<float>(rows * kSource, NAN), covered = seen, penalty = covered;
};

void check_result(const Device& d, const Sentence& s) {
  const int p = s.place;
  CHECK(d.leaving[p] == static_cast<int>(s.leaving));
  CHECK(d.hypotheses[p] == static_cast<int>(s.results.size()));
  for (size_t h = 0; h < s.results.size(); ++h) {
    const Hypothesis& expected = s.results[h];
    const size_t at = p * d.o.n_best + h, n = expected.log_probs.size(), row = at * kPositions;
    if (d.o.coverage_penalty == 0)
      CHECK(same_bits(&d.score[at], &expected.score, 1));
    else
      CHECK_NEAR(d.score[at], expected.score, 1e-5);
    CHECK(d.length[at] == static_cast<int>(n) && same_bits(&d.log_probs[row], expected.log_probs.data(), n));
    CHECK(std::equal(expected.ids.begin(), expected.ids.end(), &d.out_tokens[row]));
    CHECK(expected.ended == (d.out_tokens[row + n - 1] == d.o.eos));
    for (size_t t = 0; d.o.soft && t < s.prefix.size() + n; ++t) {
      const int from = t < s.prefix.size() ? 0 : expected.rows[t - s.prefix.size()];
      for (int j = 0; j < d.o.soft; ++j) {
        CHECK(d.out_soft_ids[(row + t) * d.o.soft + j] == soft_id(p, t, from, j));
        CHECK(d.out_soft_log_probs[(row + t) * d.o.soft + j] == static_cast<float>(soft_id(p, t, from, j)));
      }
      CHECK(d.out_tail[row + t] == static_cast<float>(soft_id(p, t, from, 0)) &&
            d.out_entropy[row + t] == d.out_tail[row + t]);
    }
  }
}

}  // namespace

TEST(cuda_beam_is_the_cpus_to_the_bit) {
  std::mt19937 random(6);
  int how[3] = {};
  for (unsigned round = 0; round < 100 / kEase; ++round) {
    const Options o = random_options(random);
    Device device(o, 1000 * round);
    std::vector<Sentence> sentences;
    sentences.reserve(kPlaces);
    for (int p = 0; p < kPlaces; ++p) {
      const auto begin = device.prefix_tokens.begin() + device.prefix_begin[p];
      sentences.emplace_back(o, 1000 * round, p, std::vector<int>(begin, begin + device.prefix_length[p]),
                             device.limit[p]);
    }
    for (int step = 0; device.done < kPlaces && step < 100; ++step) {
      const uint32_t before = device.done;
      device.step();
      uint32_t ended = 0;
      for (int i = 0; i < kSlots && device.live[i] >= 0; ++i) {
        const int slot = device.live[i];
        Sentence& s = sentences[device.place[slot]];
        const bool lives = s.step();
        CHECK(lives == (device.position[slot] >= 0));
        ended += !lives;
        if (!lives) continue;
        CHECK(device.position[slot] == s.position);
        for (int b = 0; b < s.beam.rows(); ++b) {
          const bool prefixed = s.position <= static_cast<int>(s.prefix.size());
          CHECK(device.tokens[slot * o.beam_size + b] == (prefixed ? s.prefix[s.position - 1] : s.beam.token(b)));
          for (int t = 0; t < s.position; ++t)
            CHECK(device.ancestors[((s.position % 2 * kSlots + slot) * kPositions + t) * o.beam_size + b] ==
                  s.ancestors.of(b)[t]);
        }
      }
      CHECK(device.done == before + ended && device.blocks_left == 0);
    }
    CHECK(device.done == kPlaces);
    std::vector<int32_t> all = device.finished;
    std::sort(all.begin(), all.end());
    for (int p = 0; p < kPlaces; ++p) {
      CHECK(all[p] == p);
      check_result(device, sentences[p]);
      ++how[device.leaving[p]];
    }
  }
  CHECK(kEase > 1 || (how[0] > 1000 && how[1] > 10 && how[2] > 10));
}
