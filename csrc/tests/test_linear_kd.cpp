// Every term three ways: the CUDA source as a block runs it (tests/cuda_on_host), the CPU's vectors of float32, and one
// number after another in float64, which the others must match. That the numbers are right is for
// tests/test_linear_kd.py. Half precision: from logits that it holds exactly, to a gradient rounded once.
#include <algorithm>
#include <vector>

#include "kernels/linear_kd.cu"
#include "tests/kernels.h"
#include "tests/test.h"

namespace {

using distilmt::bfloat16;
using distilmt::float16;
using distilmt::LinearKDRows;
using distilmt::SparseTail;
using distilmt::TermKind;
using distilmt::test::worst_difference;

struct Term {
  TermKind kind;
  double a = 0, b = 0;
  int count = 0;
  double temperature = 2, teacher_temperature = 1.5;
  int teacher = 0;
};

struct Objective {
  const char* name;
  std::vector<Term> terms;
};

constexpr int64_t kRows = 3, kSparse = 6;

const Objective kObjectives[] = {
    {"no term", {}},
    {"nll", {{TermKind::nll}}},
    {"nll smoothed", {{TermKind::nll, 0.1}}},
    {"forward_kl", {{TermKind::forward_kl}}},
    {"cross_entropy", {{TermKind::cross_entropy}}},
    {"reverse_kl", {{TermKind::reverse_kl}}},
    {"jensen_shannon", {{TermKind::jensen_shannon, 0.3, 1 / (0.3 * 0.7)}}},
    {"skew_kl", {{TermKind::skew_kl, 0.1}}},
    {"skew_reverse_kl", {{TermKind::skew_reverse_kl, 0.1}}},
    {"total_variation", {{TermKind::total_variation}}},
    {"adaptive_kl", {{TermKind::adaptive_kl, 0.5}}},
    {"logit_mse", {{TermKind::logit_mse, 0.8}}},
    {"logit_mse centred", {{TermKind::logit_mse, 0.8, 1}}},
    {"top1", {{TermKind::top1}}},
    {"top1 weighed", {{TermKind::top1, 1}}},
    {"top1_to_gold", {{TermKind::top1_to_gold}}},
    {"ranking", {{TermKind::ranking, 0, 0, 8}}},
    {"sparse renormalised", {{TermKind::sparse_kl, double(SparseTail::renormalise), 0, kSparse}}},
    {"sparse dropped", {{TermKind::sparse_kl, double(SparseTail::drop), 0, kSparse, 2, 1}}},
    {"sparse with rest", {{TermKind::sparse_kl, double(SparseTail::rest), 0, kSparse, 2, 1}}},
    {"snapshot", {{TermKind::forward_kl}, {.kind = TermKind::total_variation, .temperature = 1, .teacher = 1}}},
    {"rest after slopes",
     {{TermKind::reverse_kl},
      {TermKind::total_variation},
      {TermKind::sparse_kl, double(SparseTail::rest), 0, kSparse, 2, 1}}},
    {"all that share scratch",
     {{TermKind::nll, 0.1, 1, 0, 1},
      {TermKind::ranking, 0, 0, 4, 3},
      {TermKind::sparse_kl, double(SparseTail::rest), 0, kSparse, 1, 1},
      {TermKind::reverse_kl},
      {.kind = TermKind::logit_mse, .a = 1, .temperature = 1, .teacher = 1},
      {TermKind::top1_to_gold, 0, 0, 0, 4},
      {TermKind::top1, 1, 0, 0, 3},
      {TermKind::adaptive_kl, 0.7, 0, 0, 2}}},
};

// Halves between -3 and 3: exact in float32, and with ties wherever something is sorted.
double half(int64_t i, double phase) { return std::round(6 * std::sin(i * 0.7 + phase)) / 2; }

// Three rows and all that an objective needs, each buffer as long as the contract says. Two columns are banned. In row
// 0 student and teacher agree on the target; of the sparse teacher, row 1 lacks entries and row 2 all. Gated terms do
// not look at row 1, which then has no teacher.
template <class real, class storage = real>
struct Example {
  int64_t vocab, stride;
  std::vector<storage> student, teachers[2];
  std::vector<real> bias, teacher_bias, row_weights{0.5, 2, 0.25}, uniform, log_probs, unbanned{0, 0};
  std::vector<int64_t> targets, index{1, -1, 0}, ids, entry_ids;
  std::vector<real> entry_values, entry_totals, out;
  const bool chosen[kRows] = {true, false, true};
  LinearKDRows<real, storage> rows{};

  static storage stored(double x) {
    storage s;
    distilmt::put(&s, real(x));
    return s;
  }

  // Between the rows of logits lie columns that nobody may look at.
  Example(const Objective& objective, int64_t vocab, bool gated)
      : vocab(vocab), stride(vocab + 3), targets{7, vocab - 1, 0} {
    const real lowest = -HUGE_VAL;
    const auto banned = [&](int64_t column) { return column == 5 || column == vocab - 2; };
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t v = 0; v < stride; ++v) {
        const int64_t i = r * vocab + v;
        student.push_back(stored(v < vocab ? half(i, 0) + 8 * (r == 0 && v == 7) : NAN));
        if (!gated || r < 2)
          teachers[0].push_back(stored(v < vocab ? half(i, 1) * 0.5 + 8 * (r == (gated ? 1 : 0) && v == 7) : NAN));
        teachers[1].push_back(stored(v < vocab ? banned(v) ? lowest : half(i, 2) : NAN));
      }
    for (int64_t v = 0; v < vocab; ++v) {
      bias.push_back(banned(v) ? lowest : real(half(v, 3)));
      teacher_bias.push_back(banned(v) ? lowest : real(half(v, 4)));
      if (!banned(v)) unbanned[1] += bias[v];
      unbanned[0] += !banned(v);
    }
    for (int64_t r = 0; r < kRows; ++r) {
      uniform.push_back(0);
      for (int64_t v = 0; v < vocab; ++v)
        uniform[r] += banned(v) ? real(0) : real(distilmt::to_number(student[r * stride + v]));
      for (int64_t j = 0; j < kSparse; ++j) {
        const bool absent = r == 2 || (r == 1 && j % 2);
        ids.push_back(absent ? -1 - (int64_t(1) << 40) : 6 * j + r);
        log_probs.push_back(absent ? lowest : real(-1.25 - 0.5 * j));
      }
    }

    rows.temperatures[0] = 1;
    rows.temperature_count = 1;
    for (const Term& term : objective.terms) {
      int slot = 0;
      while (slot < rows.temperature_count && rows.temperatures[slot] != term.temperature) ++slot;
      rows.temperatures[slot] = term.temperature;
      rows.temperature_count = std::max(rows.temperature_count, slot + 1);
      auto& its = rows.terms[rows.term_count++];
      its = {term.kind,
             term.teacher,
             slot,
             term.count,
             int(rows.entries),
             gated,
             real(0.5) / rows.term_count,
             real(term.temperature),
             real(term.teacher_temperature),
             real(term.a),
             real(term.b),
             {}};
      prepare(its);
      rows.entries += gradient_entries(its);
      if (term.kind == TermKind::nll && term.a > 0) rows.uniform = uniform.data();
    }
    entry_ids.resize(kRows * rows.entries);
    entry_values.resize(kRows * rows.entries);
    entry_totals.resize(kRows * rows.entries);
    out.assign((5 + rows.term_count) * kRows, NAN);

    rows.student = student.data();
    rows.bias = bias.data();
    rows.targets = targets.data();
    rows.row_weights = row_weights.data();
    rows.chosen = gated ? chosen : nullptr;
    rows.teachers[0] = {teachers[0].data(), teacher_bias.data(), gated ? index.data() : nullptr};
    rows.teachers[1] = {teachers[1].data(), nullptr, nullptr};
    rows.sparse = {ids.data(), log_probs.data(), kSparse};
    rows.unbanned = unbanned.data();
    rows.entry_ids = entry_ids.data();
    rows.entry_values = entry_values.data();
    rows.entry_totals = entry_totals.data();
    rows.loss = out.data();
    rows.nll = rows.loss + kRows;
    rows.agreement = rows.nll + kRows;
    rows.looked = rows.agreement + kRows;
    rows.values = rows.looked + kRows;
    rows.shift = rows.values + rows.term_count * kRows;
    if (!rows.uniform) std::fill_n(rows.shift, kRows, real(0));
    rows.value_stride = rows.rows = kRows;
    rows.vocab = vocab;
    rows.stride = stride;
    rows.with_grad = true;
  }

  // The gradient, or before the call the logits, of all rows.
  std::vector<real> gradient() const {
    std::vector<real> all;
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t v = 0; v < vocab; ++v) all.push_back(distilmt::to_number(student[r * stride + v]));
    return all;
  }
};

template <class F>
void for_each_example(const F& f) {
  for (const Objective& objective : kObjectives)
    for (int64_t vocab : {37, 131})  // fewer columns than threads, and more than twice as many
      for (bool gated : {false, true}) {
        const int before = distilmt::test::failures();
        Example<double> expected(objective, vocab, gated);
        distilmt::linear_kd_rows(expected.rows, 0, kRows);
        f(expected, objective, vocab, gated);
        if (distilmt::test::failures() > before)
          std::cerr << "  in " << objective.name << ", vocab " << vocab << (gated ? ", gated" : "") << std::endl;
      }
}

template <class real, class storage>
void check_near(const Example<real, storage>& example, const Example<double>& expected, double tolerance,
                double rounding = 0) {
  CHECK_NEAR(worst_difference(example.out, expected.out), 0, tolerance);
  const auto got = example.gradient();
  const auto exact = expected.gradient();
  for (size_t i = 0; i < exact.size(); ++i)
    CHECK_NEAR(double(got[i]), exact[i], tolerance + rounding * std::abs(exact[i]));
}

int on_block(const LinearKDRows<double>& rows) { return distilmt_linear_kd_double(&rows, nullptr); }
int on_block(const LinearKDRows<float>& rows) { return distilmt_linear_kd_float(&rows, nullptr); }
int on_block(const LinearKDRows<float, bfloat16>& rows) { return distilmt_linear_kd_bfloat16(&rows, nullptr); }
int on_block(const LinearKDRows<float, float16>& rows) { return distilmt_linear_kd_float16(&rows, nullptr); }

template <class real, class storage>
void check_block(double tolerance, double rounding = 0) {
  for_each_example([&](const Example<double>& expected, auto&... arguments) {
    Example<real, storage> example(arguments...);
    CHECK(on_block(example.rows) == cudaSuccess);
    check_near(example, expected, tolerance, rounding);
  });
}

template <class storage>
void check_one_by_one(double tolerance, double rounding) {
  for_each_example([&](const Example<double>& expected, auto&... arguments) {
    Example<float, storage> example(arguments...);
    distilmt::linear_kd_rows(example.rows, 0, kRows);
    check_near(example, expected, tolerance, rounding);
  });
}

}  // namespace

TEST(linear_kd_a_cuda_block_agrees_with_one_thread) { check_block<double, double>(1e-12); }
TEST(linear_kd_a_cuda_block_of_floats_agrees_with_double) { check_block<float, float>(1e-5); }
TEST(linear_kd_a_cuda_block_of_bfloat16_rounds_the_gradient_once) { check_block<float, bfloat16>(1e-5, 0x1p-8); }
TEST(linear_kd_a_cuda_block_of_float16_rounds_the_gradient_once) { check_block<float, float16>(1e-5, 0x1p-11); }
TEST(linear_kd_vectors_of_floats_agree_with_double) { check_one_by_one<float>(1e-5, 0); }
TEST(linear_kd_bfloat16_agrees_with_double) { check_one_by_one<bfloat16>(1e-5, 0x1p-8); }
TEST(linear_kd_float16_agrees_with_double) { check_one_by_one<float16>(1e-5, 0x1p-11); }

// What the examples promise: agreement in row 0 alone, terms that look or do not, and a gradient whose rows sum to 0
// but for the share of smoothing that the caller adds. logit_mse alone knows no softmax.
TEST(linear_kd_rows_hold_what_they_should) {
  for_each_example([](const Example<double>& e, const Objective& objective, int64_t vocab, bool gated) {
    const auto& rows = e.rows;
    for (int64_t r = 0; r < kRows; ++r) {
      const bool looks = !gated || e.chosen[r];
      CHECK(rows.agreement[r] == (r == 0));
      double sum = 0, loss = 0;
      for (int64_t v = 0; v < vocab; ++v) sum += e.student[r * e.stride + v];
      bool softmax = true;
      for (int i = 0; i < rows.term_count; ++i) {
        const double value = rows.values[i * rows.value_stride + r];
        CHECK(looks || value == 0);
        loss += rows.terms[i].weight * value;
        softmax = softmax && objective.terms[i].kind != TermKind::logit_mse;
      }
      sum += rows.shift[r] * rows.unbanned[0];
      CHECK(rows.looked[r] == looks);
      CHECK_NEAR(rows.loss[r], rows.row_weights[r] * loss, 1e-12);
      if (softmax) CHECK_NEAR(sum, 0, 1e-12);
    }
  });
}

// A training that diverges: a row of NaN has no top columns, and still nothing is written outside it.
TEST(linear_kd_a_row_of_nan_leaves_the_others_alone) {
  const auto forget = [](auto& example, double what) {
    for (auto* logits : {&example.student, &example.teachers[0], &example.teachers[1]})
      std::fill_n(logits->begin() + example.stride, example.vocab, what);
    for (size_t i = 1; i < example.out.size(); i += kRows) example.out[i] = what;
  };
  for (const Objective& objective : kObjectives) {
    Example<double> expected(objective, 37, false), alone(objective, 37, false), block(objective, 37, false);
    distilmt::linear_kd_rows(expected.rows, 0, kRows);
    forget(expected, 0);
    for (auto* example : {&alone, &block}) {
      forget(*example, NAN);
      if (example == &alone)
        distilmt::linear_kd_rows(example->rows, 0, kRows);
      else
        distilmt_linear_kd_double(&example->rows, nullptr);
      CHECK(std::isnan(example->rows.nll[1]));
      forget(*example, 0);
      check_near(*example, expected, 1e-12);
    }
  }
}

// Rows without a target are zeros, those whose target cannot be NaN, and neither leaves its row.
TEST(linear_kd_rows_without_a_target) {
  for (const int64_t target : {distilmt::kNoTarget, int64_t(-1), int64_t(37), int64_t(1) << 40})
    for (const bool block : {false, true}) {
      const Objective& all = kObjectives[std::size(kObjectives) - 1];
      Example<double> expected(all, 37, false), example(all, 37, false);
      distilmt::linear_kd_rows(expected.rows, 0, kRows);
      example.targets[1] = target;
      block ? void(on_block(example.rows)) : distilmt::linear_kd_rows(example.rows, 0, kRows);
      const double want = target == distilmt::kNoTarget ? 0 : NAN;
      const auto same = [&](double x) { return std::isnan(want) ? std::isnan(x) : x == want; };
      CHECK(same(example.rows.loss[1]) && same(example.rows.nll[1]));
      CHECK(example.rows.looked[1] == 0 && example.rows.shift[1] == 0 && example.rows.values[1] == 0);
      for (int64_t v = 0; v < 37; ++v) {
        CHECK(same(example.student[example.stride + v]));
        expected.student[example.stride + v] = example.student[example.stride + v] = 0;
      }
      for (size_t i = 1; i < example.out.size(); i += kRows) example.out[i] = expected.out[i] = 0;
      check_near(example, expected, 1e-12);
    }
}

// An id outside the vocabulary is an error of the row, not of the memory behind it; so is a score of NaN.
TEST(linear_kd_ids_and_scores_that_cannot_be) {
  const Objective sparse{"sparse", {{TermKind::sparse_kl, double(SparseTail::rest), 0, kSparse, 2, 1}}};
  for (const bool bad_id : {false, true})
    for (const bool block : {false, true}) {
      Example<double> example(sparse, 37, false);
      const float scores[kRows] = {1, bad_id ? 1 : NAN, 1};
      example.rows.scores = scores;
      if (bad_id) example.ids[kSparse] = 37;
      block ? void(on_block(example.rows)) : distilmt::linear_kd_rows(example.rows, 0, kRows);
      CHECK(!std::isnan(example.rows.loss[0]) && std::isnan(example.rows.loss[1]) && !std::isnan(example.rows.loss[2]));
    }
}
