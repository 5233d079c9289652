// Every term three ways: the CUDA source as a block runs it (tests/cuda_on_host), the CPU's vectors of float32, and one
// number after another in float64, which the others must match. That the numbers are right is for
// tests/test_linear_kd.py.
#include <algorithm>
#include <vector>

#include "kernels/linear_kd.cu"
#include "tests/kernels.h"
#include "tests/test.h"

namespace {

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
    {"nll smoothed", {{TermKind::nll, 0.002}}},
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
     {{TermKind::nll, 0.002, 0, 0, 1},
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
template <class real>
struct Example {
  int64_t vocab;
  std::vector<real> student, teachers[2], bias, teacher_bias, row_weights{0.5, 2, 0.25}, uniform, log_probs;
  std::vector<int64_t> targets, index{1, -1, 0}, ids, entry_ids;
  std::vector<real> dense_gradient, entry_values, out;
  const bool chosen[kRows] = {true, false, true};
  LinearKDRows<real> rows{};

  Example(const Objective& objective, int64_t vocab, bool gated) : vocab(vocab), targets{7, vocab - 1, 0} {
    const real lowest = -HUGE_VAL;
    const auto banned = [&](int64_t column) { return column == 5 || column == vocab - 2; };
    for (int64_t i = 0; i < kRows * vocab; ++i) {
      student.push_back(half(i, 0));
      if (!gated || i < 2 * vocab) teachers[0].push_back(half(i, 1) * 0.5);
      teachers[1].push_back(banned(i % vocab) ? lowest : real(half(i, 2)));
    }
    student[7] += 8;
    teachers[0][(gated ? vocab : 0) + 7] += 8;
    for (int64_t v = 0; v < vocab; ++v) {
      bias.push_back(banned(v) ? lowest : real(half(v, 3)));
      teacher_bias.push_back(banned(v) ? lowest : real(half(v, 4)));
      if (!banned(v)) rows.uniform_bias += bias[v];
      rows.unbanned += !banned(v);
    }
    for (int64_t r = 0; r < kRows; ++r) {
      uniform.push_back(0);
      for (int64_t v = 0; v < vocab; ++v) uniform[r] += banned(v) ? 0 : student[r * vocab + v];
      for (int64_t j = 0; j < kSparse; ++j) {
        const bool absent = r == 2 || (r == 1 && j % 2);
        ids.push_back(absent ? -1 - (int64_t(1) << 40) : 6 * j + r);
        log_probs.push_back(absent ? lowest : real(-1.25 - 0.5 * j));
      }
    }

    rows.temperatures[0] = 1;
    rows.temperature_count = 1;
    int slopes = 0;
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
             real(term.b)};
      rows.entries += scratch_entries(its);
      slopes += has_slope(its) + 2 * has_rest(its);
      if (term.kind == TermKind::nll && term.a > 0) rows.uniform = uniform.data();
    }
    if (slopes > 1) dense_gradient.resize(kRows * vocab);
    entry_ids.resize(kRows * rows.entries);
    entry_values.resize(kRows * rows.entries);
    out.assign((3 + rows.term_count) * kRows, NAN);

    rows.student = student.data();
    rows.bias = bias.data();
    rows.targets = targets.data();
    rows.row_weights = row_weights.data();
    rows.chosen = gated ? chosen : nullptr;
    rows.teachers[0] = {teachers[0].data(), teacher_bias.data(), gated ? index.data() : nullptr};
    rows.teachers[1] = {teachers[1].data(), nullptr, nullptr};
    rows.sparse = {ids.data(), log_probs.data(), kSparse};
    rows.dense_gradient = dense_gradient.empty() ? nullptr : dense_gradient.data();
    rows.entry_ids = entry_ids.data();
    rows.entry_values = entry_values.data();
    rows.loss = out.data();
    rows.nll = rows.loss + kRows;
    rows.agreement = rows.nll + kRows;
    rows.values = rows.agreement + kRows;
    rows.value_stride = rows.rows = kRows;
    rows.vocab = vocab;
    rows.with_grad = true;
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

template <class real>
void check_near(const Example<real>& example, const Example<double>& expected, double tolerance) {
  CHECK_NEAR(worst_difference(example.out, expected.out), 0, tolerance);
  CHECK_NEAR(worst_difference(example.student, expected.student), 0, tolerance);
}

}  // namespace

TEST(linear_kd_a_cuda_block_agrees_with_one_thread) {
  for_each_example([](const Example<double>& expected, auto&... arguments) {
    Example<double> example(arguments...);
    CHECK(distilmt_linear_kd_double(&example.rows, nullptr) == cudaSuccess);
    check_near(example, expected, 1e-12);
  });
}

TEST(linear_kd_a_cuda_block_of_floats_agrees_with_double) {
  for_each_example([](const Example<double>& expected, auto&... arguments) {
    Example<float> example(arguments...);
    CHECK(distilmt_linear_kd_float(&example.rows, nullptr) == cudaSuccess);
    check_near(example, expected, 1e-5);
  });
}

TEST(linear_kd_vectors_of_floats_agree_with_double) {
  for_each_example([](const Example<double>& expected, auto&... arguments) {
    Example<float> example(arguments...);
    distilmt::linear_kd_rows(example.rows, 0, kRows);
    check_near(example, expected, 1e-5);
  });
}

// What the examples promise: agreement in row 0 alone, terms that look or do not, and a gradient whose rows sum to 0
// but for the share of smoothing that the caller adds. logit_mse alone knows no softmax.
TEST(linear_kd_rows_hold_what_they_should) {
  for_each_example([](const Example<double>& e, const Objective& objective, int64_t vocab, bool gated) {
    const auto& rows = e.rows;
    for (int64_t r = 0; r < kRows; ++r) {
      const bool looks = !gated || e.chosen[r];
      CHECK(rows.agreement[r] == (r == 0));
      double sum = 0, loss = 0;
      for (int64_t v = 0; v < vocab; ++v) sum += e.student[r * vocab + v];
      bool softmax = true;
      for (int i = 0; i < rows.term_count; ++i) {
        const double value = rows.values[i * rows.value_stride + r];
        CHECK(looks || value == 0);
        loss += rows.terms[i].weight * value;
        softmax = softmax && objective.terms[i].kind != TermKind::logit_mse;
        if (rows.terms[i].kind == TermKind::nll && looks)
          sum -=
              rows.row_weights[r] * rows.terms[i].weight * rows.terms[i].a * rows.unbanned / rows.terms[i].temperature;
      }
      CHECK_NEAR(rows.loss[r], rows.row_weights[r] * loss, 1e-12);
      if (softmax) CHECK_NEAR(sum, 0, 1e-12);
    }
  });
}

// A training that diverges: a row of NaN has no top columns, and still nothing is written outside it.
TEST(linear_kd_a_row_of_nan_leaves_the_others_alone) {
  const auto forget = [](auto& example, double what) {
    for (auto* logits : {&example.student, &example.teachers[0], &example.teachers[1]})
      std::fill_n(logits->begin() + example.vocab, example.vocab, what);
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
