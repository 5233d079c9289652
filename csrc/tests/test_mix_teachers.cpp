// The mean of several teachers three ways, as in test_linear_kd.cpp.
#include <vector>

#include "kernels/mix_teachers.cu"
#include "tests/kernels.h"
#include "tests/test.h"

namespace {

using distilmt::test::worst_difference;

constexpr int64_t kRows = 3, kMembers = 3;

// Three members, one of no weight in row 1. Column 5 is banned by all, column 6 by the first alone.
template <class real, class Run>
std::vector<real> mixed(int64_t vocab, bool geometric, const Run& run) {
  std::vector<real> out(kRows * vocab, NAN);
  for (int64_t m = 0; m < kMembers; ++m) {
    std::vector<real> logits, bias;
    const std::vector<real> weights{real(m == 0 ? 0.5 : 0.25), real(m * 0.5 - (m == 2) * 0.5),
                                    real(m == 1 ? 0.5 : 0.25)};
    for (int64_t i = 0; i < kRows * vocab; ++i) logits.push_back(std::round(24 * std::sin(i * 0.7 + m)) / 8);
    for (int64_t v = 0; v < vocab; ++v) bias.push_back(v == 5 || (v == 6 && m == 0) ? -HUGE_VAL : v * 0.125);
    if (m == 2)
      for (int64_t r = 0; r < kRows; ++r) logits[r * vocab + 5] = -HUGE_VAL;
    const distilmt::MixedRows<real> rows{
        logits.data(), m == 2 ? nullptr : bias.data(), weights.data(), out.data(), kRows, vocab, vocab, geometric,
        m == 0};
    run(rows);
  }
  return out;
}

}  // namespace

TEST(mix_teachers_on_cuda_blocks_and_vectors_agrees_with_one_thread) {
  const auto on_cpu = [](const auto& rows) { distilmt::mix_teachers(rows, 0, rows.rows); };
  const auto on_cuda = [](const auto& rows) {
    if constexpr (sizeof *rows.mixed == 4)
      CHECK(distilmt_mix_teachers_float(&rows, nullptr) == cudaSuccess);
    else
      CHECK(distilmt_mix_teachers_double(&rows, nullptr) == cudaSuccess);
  };
  for (int64_t vocab : {37, 131})
    for (bool geometric : {false, true}) {
      const auto expected = mixed<double>(vocab, geometric, on_cpu);
      CHECK_NEAR(worst_difference(mixed<double>(vocab, geometric, on_cuda), expected), 0, 1e-12);
      CHECK_NEAR(worst_difference(mixed<float>(vocab, geometric, on_cuda), expected), 0, 1e-5);
      CHECK_NEAR(worst_difference(mixed<float>(vocab, geometric, on_cpu), expected), 0, 1e-5);
      for (int64_t r = 0; r < kRows; ++r) {
        const double* row = &expected[r * vocab];
        double mass = 0;
        for (int64_t v = 0; v < vocab; ++v) mass += std::exp(row[v]);
        CHECK(geometric ? mass < 1 + 1e-12 : std::abs(mass - 1) < 1e-12);
        CHECK(row[5] == -HUGE_VAL && std::isinf(row[6]) == (geometric && r != 1));
      }
    }
}
