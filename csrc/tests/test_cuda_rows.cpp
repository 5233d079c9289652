// The device's kernels of single rows, on the host, against the CPU's.
#include <cmath>

#include "cuda/embed.h"
#include "cuda/epilogue.h"
#include "cuda/int8.h"
#include "cuda/layer_norm.h"
#include "kernels/embed.h"
#include "kernels/layer_norm.h"
#include "tests/kernels.h"
#include "tests/stored.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

namespace {

// |a - b| by the rounding of b's storage, at worst.
double worst(Storage storage, const std::vector<float>& a, const std::vector<float>& b, double slack = 1e-6) {
  double worst = a.size() == b.size() ? 0 : HUGE_VAL;
  for (size_t i = 0; i < a.size(); ++i)
    worst = std::fmax(worst, std::abs(a[i] - b[i]) / (rounding(storage) * std::abs(b[i]) + slack));
  return worst;
}

}  // namespace

TEST(cuda_embed_is_the_cpus_and_masks_nobody) {
  const int64_t vocab = 11, d = 37, beams = 3;
  const auto positions = normal(7 * d, 2);
  const std::vector<int32_t> ids = {4, 10, 0, 1, 1, 1, 7, 8, 9}, at = {5, 0, 6}, live = {2, -1, 0};
  for (Storage storage : kStorages) {
    Stored table(storage, normal(vocab * d, 1)), out(storage, 9 * d);
    const auto rounded = table.numbers();
    std::vector<float> x(9 * d, NAN), expected(9 * d);
    cuda::Embedding e{storage, table.data(), positions.data(), 3.3f, ids.data(), at.data(), live.data(), beams, 9,
                      d,       x.data(),     out.data()};
    CHECK(distilmt_cuda_embed(&e, nullptr) == 0);
    const std::vector<int32_t> own = {7, 8, 9, 0, 0, 0, 4, 10, 0}, where = {6, 6, 6, 0, 0, 0, 5, 5, 5};
    embed({rounded.data()}, 3.3f, positions.data(), own.data(), where.data(), 9, d, expected.data());
    std::fill_n(expected.begin() + 3 * d, 3 * d, 0.0f);  // of nobody
    CHECK(same_bits(x.data(), expected.data(), 9 * d));
    CHECK(same_bits(out.numbers().data(), Stored(storage, expected).numbers().data(), 9 * d));

    // An encoder's rows: each its own id, the last behind the batch.
    const std::vector<int32_t> packed = {3, 3, -1}, places = {0, 1, 0};
    e = {storage, table.data(), positions.data(), 3.3f, packed.data(), places.data(), nullptr, 1, 3,
         d,       x.data(),     nullptr};
    CHECK(distilmt_cuda_embed(&e, nullptr) == 0);
    embed({rounded.data()}, 3.3f, positions.data(), packed.data(), places.data(), 2, d, expected.data());
    CHECK(same_bits(x.data(), expected.data(), 2 * d));
    for (int64_t c = 2 * d; c < 3 * d; ++c) CHECK(x[c] == 0);
  }
}

TEST(cuda_layer_norm_adds_and_is_the_cpus) {
  for (int64_t d : {5, 64, 131})
    for (Storage storage : kStorages)
      for (bool pre_norm : {false, true})
        for (bool adds : {false, true}) {
          const int64_t rows = 5;
          auto x = normal(rows * d, 3);
          for (int64_t c = 0; c < d; ++c) x[c] += 100;  // a mean that would cancel, to 8e-6 in float32
          const double near = 4e-5;                     // two such means, over a deviation that may be a half
          const auto gamma = normal(d, 4), beta = normal(d, 5), bias = normal(d, 6);
          Stored added(storage, normal(rows * d, 7)), out(storage, rows * d);
          const auto more = added.numbers();
          std::vector<float> sum = x, expected(rows * d);
          for (int64_t i = 0; adds && i < rows * d; ++i) sum[i] += more[i] + bias[i % d];
          layer_norm(sum.data(), gamma.data(), beta.data(), 1e-5f, rows, d, expected.data());
          const cuda::Norms n{storage,
                              x.data(),
                              adds ? added.data() : nullptr,
                              adds ? bias.data() : nullptr,
                              gamma.data(),
                              beta.data(),
                              1e-5f,
                              pre_norm,
                              rows,
                              d,
                              out.data()};
          CHECK(distilmt_cuda_layer_norm(&n, nullptr) == 0);
          CHECK_NEAR(worst_difference(x, pre_norm ? sum : expected), 0, pre_norm ? 0 : near);
          CHECK(worst(storage, out.numbers(), expected, near) <= 1);
        }
}

TEST(cuda_epilogue_every_activation) {
  const int64_t rows = 3, n = 35;
  const auto bias = normal(n, 8);
  const auto value = [](double x, Activation a) {
    if (a == Activation::relu) return std::fmax(x, 0.0);
    if (a == Activation::gelu) return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    return a == Activation::silu ? x / (1 + std::exp(-x)) : x;
  };
  for (Storage storage : kStorages)
    for (Activation activation : {Activation::none, Activation::relu, Activation::gelu, Activation::silu})
      for (bool biased : {false, true}) {
        Stored x(storage, normal(rows * n, 9, 3));
        std::vector<float> expected;
        for (float each : x.numbers())
          expected.push_back(value(each + (biased ? bias[expected.size() % n] : 0), activation));
        const cuda::Epilogue e{storage, x.data(), biased ? bias.data() : nullptr, activation, rows, n};
        CHECK(distilmt_cuda_epilogue(&e, nullptr) == 0);
        CHECK(worst(storage, x.numbers(), expected) <= 1);
      }
}

TEST(cuda_int8_rows_and_back) {
  const int64_t rows = 5, k = 50, n = 33;
  const auto bias = normal(n, 10);
  auto weights = normal(n * k, 11);
  std::vector<float> weight_scale(n);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t c = 0; c < k; ++c) weight_scale[j] = std::fmax(weight_scale[j], std::abs(weights[j * k + c]) / 127);
    for (int64_t c = 0; c < k; ++c) weights[j * k + c] = std::round(weights[j * k + c] / weight_scale[j]);
  }
  for (Storage storage : kStorages) {
    auto numbers = normal(rows * k, 12);
    std::fill_n(numbers.begin() + 2 * k, k, 0.0f);
    numbers[3 * k + 7] = NAN;
    numbers[4 * k + 7] = kInfinity;
    Stored x(storage, numbers), out(storage, rows * n);
    std::vector<int8_t> integers(rows * k);
    std::vector<float> scale(rows);
    const cuda::Quantising q{storage, x.data(), rows, k, integers.data(), scale.data()};
    CHECK(distilmt_cuda_quantise(&q, nullptr) == 0);
    const auto stored = x.numbers();
    for (int64_t i = 0; i < 3 * k; ++i) CHECK(std::abs(integers[i] * scale[i / k] - stored[i]) <= 0.501 * scale[i / k]);
    CHECK(scale[2] == 0 && std::isnan(scale[3]) && std::isnan(scale[4]));
    std::vector<int32_t> sums(rows * n);
    std::vector<float> expected(3 * n);
    for (int64_t i = 0; i < rows * n; ++i) {
      for (int64_t c = 0; c < k; ++c) sums[i] += integers[i / n * k + c] * static_cast<int>(weights[i % n * k + c]);
      if (i < 3 * n) expected[i] = std::fmax(double(sums[i]) * scale[i / n] * weight_scale[i % n] + bias[i % n], 0.0);
    }
    const cuda::Dequantising back{
        storage, sums.data(), scale.data(), weight_scale.data(), bias.data(), Activation::relu, rows, n, out.data()};
    CHECK(distilmt_cuda_dequantise(&back, nullptr) == 0);
    const auto got = out.numbers();
    for (int64_t i = 3 * n; i < rows * n; ++i) CHECK(std::isnan(got[i]));
    CHECK(worst(storage, {got.begin(), got.begin() + 3 * n}, expected) <= 1);
  }
}
