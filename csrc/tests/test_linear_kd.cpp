// Every term three ways: the CUDA source as a block runs it (tests/cuda_on_host), the CPU's vectors of float32, and one
// number after another in float64, which the others must match. That the numbers are right is for
// tests/test_linear_kd.py. Half precision: from logits that it holds exactly, to a gradient rounded once.
#include "kernels/linear_kd.cu"
#include "tests/kernels.h"
#include "tests/linear_kd_example.h"
#include "tests/test.h"

namespace {

using namespace distilmt::test;
using distilmt::bfloat16;
using distilmt::float16;
using distilmt::LinearKDRows;
using distilmt::SparseTail;
using distilmt::TermKind;

template <class F>
void for_each_example(const F& f) {
  for (const Objective& objective : kObjectives)
    for (int64_t vocab : {37, 131})  // fewer columns than threads, and more than twice as many
      for (bool gated : {false, true}) {
        const int before = failures();
        Example<double> expected(objective, vocab, gated);
        distilmt::linear_kd_rows(expected.rows, 0, kRows);
        f(expected, objective, vocab, gated);
        if (failures() > before)
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

// What the examples promise: agreement with a teacher in row 0 alone, terms that look or do not, and a gradient whose
// rows sum to 0 but for the share of smoothing that the caller adds. logit_mse alone knows no softmax.
TEST(linear_kd_rows_hold_what_they_should) {
  for_each_example([](const Example<double>& e, const Objective& objective, int64_t vocab, bool gated) {
    const auto& rows = e.rows;
    bool taught = false;
    for (const Term& term : objective.terms) taught = taught || term.kind != TermKind::nll;
    for (int64_t r = 0; r < kRows; ++r) {
      const bool looks = !gated || e.chosen[r];
      CHECK(rows.agreement[r] == (taught && r == 0));
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
