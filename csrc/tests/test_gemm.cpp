// Products against double loops, over every tile shape, and rows that must not see each other.
#include "kernels/gemm.h"
#include "tests/kernels.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

static double activated(double x, Activation activation) {
  switch (activation) {
    case Activation::relu: return x > 0 ? x : 0;
    case Activation::gelu: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::silu: return x / (1 + std::exp(-x));
    default: return x;
  }
}

// Largest difference from double arithmetic, with gaps between all rows; the gaps must stay untouched.
static double gemm_error(int64_t m, int64_t n, int64_t k, Activation activation, bool with_bias, bool with_residual) {
  const int64_t lda = k + 3, ldr = n + 1, ldc = n + 5;
  const auto a = normal(m * lda, 1), weight = normal(n * k, 2), bias = normal(n, 3), residual = normal(m * ldr, 4);
  std::vector<float> c(m * ldc, 77.0f);
  const PackedMatrix w = pack(weight.data(), with_bias ? bias.data() : nullptr, n, k);
  CHECK(w.n == n && w.k == k);
  gemm(a.data(), lda, m, w, activation, with_residual ? residual.data() : nullptr, ldr, c.data(), ldc);
  double worst = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double x =
          activated(dot(a.data() + i * lda, weight.data() + j * k, k) + (with_bias ? bias[j] : 0.0f), activation);
      if (with_residual) x += residual[i * ldr + j];
      worst = std::max(worst, std::abs(x - c[i * ldc + j]));
    }
    for (int64_t j = n; j < ldc; ++j) CHECK(c[i * ldc + j] == 77.0f);
  }
  return worst / (k + 8);  // a chain's rounding errors: sqrt(k) of them, each relative to a sum near sqrt(k)
}

TEST(gemm_every_shape) {
  for (int64_t m : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 29, 97})
    for (int64_t n : {1, 7, 8, 31, 32, 33, 100})
      for (int64_t k : {1, 15, 16, 17, 64, 101}) CHECK_NEAR(gemm_error(m, n, k, Activation::none, true, true), 0, 3e-7);
  CHECK_NEAR(gemm_error(300, 40, 512, Activation::none, true, false), 0, 3e-7);  // more rows than one block
  CHECK_NEAR(gemm_error(65, 33, 2048, Activation::none, false, true), 0, 3e-7);
  CHECK_NEAR(gemm_error(3, 0, 5, Activation::none, true, true), 0, 0);
  CHECK_NEAR(gemm_error(3, 5, 0, Activation::none, true, true), 0, 3e-7);
}

TEST(gemm_activations) {
  for (Activation activation : {Activation::relu, Activation::gelu, Activation::silu}) {
    CHECK_NEAR(gemm_error(9, 45, 33, activation, true, false), 0, 3e-7);
    CHECK_NEAR(gemm_error(9, 45, 33, activation, false, true), 0, 3e-7);
  }
}

// A weight of 1 makes the product the identity: the activation itself, over its whole range.
TEST(gemm_activation_accuracy) {
  std::vector<float> x;
  for (int i = -60000; i <= 60000; ++i) x.push_back(i * 1e-3f);
  for (float extreme : {-1e30f, -1e4f, -100.0f, -88.5f, 88.5f, 100.0f, 1e4f, 1e30f}) x.push_back(extreme);
  const float one = 1.0f;
  const PackedMatrix w = pack(&one, nullptr, 1, 1);
  std::vector<float> y(x.size());
  for (Activation activation : {Activation::gelu, Activation::silu}) {
    gemm(x.data(), 1, x.size(), w, activation, nullptr, 0, y.data(), 1);
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i)
      worst = std::max(worst, std::abs(y[i] - activated(x[i], activation)) / std::max(1.0, std::abs(double(x[i]))));
    CHECK_NEAR(worst, 0, 2.5e-7);
  }
  // silu, last computed: far to the left it is x e^x, so this is the relative error of the vector exponential.
  for (size_t i = 0; i < x.size(); ++i)
    if (x[i] > -80.0f && x[i] != 0.0f) CHECK_NEAR(y[i] / activated(x[i], Activation::silu), 1, 3.5e-7);
}

TEST(gemm_rows_are_independent) {
  for (int64_t k : {512, 67}) {
    const int64_t m = 97, n = 75;
    const auto a = normal(m * k, 5), weight = normal(n * k, 6), bias = normal(n, 7), residual = normal(m * n, 8);
    const PackedMatrix w = pack(weight.data(), bias.data(), n, k);
    for (Activation activation : {Activation::none, Activation::gelu, Activation::silu}) {
      std::vector<float> whole(m * n), part(m * n);
      gemm(a.data(), k, m, w, activation, residual.data(), n, whole.data(), n);
      for (int64_t height = 1; height <= 17; ++height) {
        for (int64_t i = 0; i < m; i += height)
          gemm(&a[i * k], k, std::min(height, m - i), w, activation, &residual[i * n], n, &part[i * n], n);
        CHECK(same_bits(whole.data(), part.data(), m * n));
      }
    }
  }
}

TEST(gemm_residual_in_place_and_infinite_bias) {
  const int64_t m = 5, n = 19, k = 24;
  const auto a = normal(m * k, 9), weight = normal(n * k, 10), residual = normal(m * n, 11);
  std::vector<float> bias(n, 0.5f);
  bias[3] = bias[18] = -kInfinity;
  const PackedMatrix w = pack(weight.data(), bias.data(), n, k);
  std::vector<float> c(m * n), in_place = residual;
  gemm(a.data(), k, m, w, Activation::none, residual.data(), n, c.data(), n);
  gemm(a.data(), k, m, w, Activation::none, in_place.data(), n, in_place.data(), n);
  CHECK(same_bits(c.data(), in_place.data(), m * n));
  for (int64_t i = 0; i < m; ++i)
    CHECK(c[i * n + 3] == -kInfinity && c[i * n + 18] == -kInfinity && std::isfinite(c[i * n]));
}

// A NaN in one row must stay there.
TEST(gemm_nan_stays_in_its_row) {
  const int64_t m = 20, n = 40, k = 30;
  auto a = normal(m * k, 12);
  const auto weight = normal(n * k, 13);
  const PackedMatrix w = pack(weight.data(), nullptr, n, k);
  std::vector<float> clean(m * n), dirty(m * n);
  gemm(a.data(), k, m, w, Activation::relu, nullptr, 0, clean.data(), n);
  a[7 * k + 2] = std::numeric_limits<float>::quiet_NaN();
  gemm(a.data(), k, m, w, Activation::relu, nullptr, 0, dirty.data(), n);
  CHECK(same_bits(clean.data(), dirty.data(), 7 * n));
  CHECK(same_bits(&clean[8 * n], &dirty[8 * n], (m - 8) * n));
  for (int64_t j = 0; j < n; ++j) CHECK(std::isnan(dirty[7 * n + j]));
}

// ---- int8 and bfloat16 -------------------------------------------------------------------------------------------

// Integers that both sides hold without rounding: rows from -100 to 155, columns up to the levels of the set in use.
static std::vector<float> whole_numbers(int64_t rows, int64_t k, int low, int high, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> draw(low, high);
  std::vector<float> x(rows * k);
  for (float& value : x) value = static_cast<float>(draw(random));
  for (int64_t i = 0; i < rows && k > 1; ++i) x[i * k] = low, x[i * k + 1] = high;
  return x;
}

static int weight_levels() {
  const float one = 1.0f;
  return static_cast<int>(std::lround(1 / pack(&one, nullptr, 1, 1, Number::int8).scale[0]));
}

TEST(gemm_low_precision_is_exact_where_its_numbers_are) {
  const int levels = weight_levels();
  CHECK(levels == 127 || levels == 64);
  for (Number number : {Number::int8, Number::bfloat16})
    for (int64_t m : {1, 2, 5, 13, 16, 17, 31, 33, 48, 97})
      for (int64_t n : {1, 16, 33, 70})
        for (int64_t k : {2, 3, 63, 64, 65, 200}) {
          const auto a = whole_numbers(m, k, -100, 155, 1), weight = whole_numbers(n, k, -levels, levels, 2);
          std::vector<float> c(m * n);
          gemm(a.data(), k, m, pack(weight.data(), nullptr, n, k, number), Activation::none, nullptr, 0, c.data(), n);
          for (int64_t i = 0; i < m; ++i)
            for (int64_t j = 0; j < n; ++j) {
              const double exact = dot(&a[i * k], &weight[j * k], k);
              CHECK_NEAR(c[i * n + j], exact, 1e-6 * (1 + std::abs(exact)) + (number == Number::int8 ? 0 : 1e-2 * k));
            }
        }
}

// The largest sums there are: whoever saturates on the way shows it here.
TEST(gemm_int8_does_not_saturate) {
  const int levels = weight_levels();
  for (int64_t k : {64, 4096, 65536}) {
    std::vector<float> a(2 * k, 255.0f), weight(2 * k, static_cast<float>(levels)), c(4);
    for (int64_t i = k; i < 2 * k; ++i) a[i] = weight[i] = static_cast<float>(-levels);
    gemm(a.data(), k, 2, pack(weight.data(), nullptr, 2, k, Number::int8), Activation::none, nullptr, 0, c.data(), 2);
    const double high = 255.0 * levels * k, low = double(levels) * levels * k;
    const double expected[] = {high, -high, -low, low};
    for (int i = 0; i < 4; ++i) CHECK_NEAR(c[i] / expected[i], 1, 1e-6);
  }
}

// Half a step of each side, at most, on every product.
TEST(gemm_int8_error_is_that_of_rounding) {
  const int64_t m = 9, n = 45, k = 512;
  const auto a = normal(m * k, 3), weight = normal(n * k, 4), bias = normal(n, 5);
  const PackedMatrix w = pack(weight.data(), bias.data(), n, k, Number::int8);
  std::vector<float> c(m * n);
  gemm(a.data(), k, m, w, Activation::none, nullptr, 0, c.data(), n);
  double squares = 0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const double exact = dot(&a[i * k], &weight[j * k], k) + bias[j];
      squares += (c[i * n + j] - exact) * (c[i * n + j] - exact) / (m * n * k);
    }
  CHECK(std::sqrt(squares) < (weight_levels() == 127 ? 0.013 : 0.02));  // of numbers of size 1
}

TEST(gemm_low_precision_rows_are_independent) {
  for (Number number : {Number::int8, Number::bfloat16})
    for (int64_t k : {512, 67}) {
      const int64_t m = 97, n = 75;
      const auto a = normal(m * k, 5), weight = normal(n * k, 6), bias = normal(n, 7);
      const PackedMatrix w = pack(weight.data(), bias.data(), n, k, number);
      std::vector<float> whole(m * n), part(m * n);
      gemm(a.data(), k, m, w, Activation::relu, nullptr, 0, whole.data(), n);
      for (int64_t height = 1; height <= 34; ++height) {
        for (int64_t i = 0; i < m; i += height)
          gemm(&a[i * k], k, std::min(height, m - i), w, Activation::relu, nullptr, 0, &part[i * n], n);
        CHECK(same_bits(whole.data(), part.data(), m * n));
      }
    }
}

TEST(gemm_low_precision_what_is_no_number_stays_in_its_row) {
  const int64_t m = 20, n = 40, k = 130;
  const auto weight = normal(n * k, 13);
  for (Number number : {Number::int8, Number::bfloat16})
    for (float bad : {std::nanf(""), kInfinity, -kInfinity}) {
      auto a = normal(m * k, 12);
      const PackedMatrix w = pack(weight.data(), nullptr, n, k, number);
      std::vector<float> clean(m * n), dirty(m * n);
      gemm(a.data(), k, m, w, Activation::none, nullptr, 0, clean.data(), n);
      a[7 * k + 129] = bad;
      gemm(a.data(), k, m, w, Activation::none, nullptr, 0, dirty.data(), n);
      CHECK(same_bits(clean.data(), dirty.data(), 7 * n));
      CHECK(same_bits(&clean[8 * n], &dirty[8 * n], (m - 8) * n));
      for (int64_t j = 0; j < n; ++j) CHECK(!std::isfinite(dirty[7 * n + j]));
    }
}

TEST(gemm_int8_rows_and_columns_of_zeros) {
  const int64_t k = 100;
  std::vector<float> a(2 * k, 0.0f), weight(2 * k, 0.0f), c(4, 77.0f);
  std::fill(a.begin() + k, a.end(), 3.0f);  // all alike, none negative
  std::fill(weight.begin() + k, weight.end(), -2.0f);
  const float bias[] = {0.25f, 0.5f};
  gemm(a.data(), k, 2, pack(weight.data(), bias, 2, k, Number::int8), Activation::none, nullptr, 0, c.data(), 2);
  CHECK(c[0] == 0.25f && c[1] == 0.5f && c[2] == 0.25f);
  CHECK_NEAR(c[3], -599.5, 1e-3);
}

// The integers do not depend on the order of channels, nor on what stands in the others: a copy of the weights in
// another order, packed anew, gives the same bits.
TEST(gemm_int8_channels_are_independent) {
  const int64_t m = 5, n = 50, k = 96;
  const auto a = normal(m * k, 14), weight = normal(n * k, 15);
  std::vector<float> reversed(n * k), c(m * n), other(m * n);
  for (int64_t j = 0; j < n; ++j) std::copy_n(&weight[j * k], k, &reversed[(n - 1 - j) * k]);
  gemm(a.data(), k, m, pack(weight.data(), nullptr, n, k, Number::int8), Activation::none, nullptr, 0, c.data(), n);
  gemm(a.data(), k, m, pack(reversed.data(), nullptr, n, k, Number::int8), Activation::none, nullptr, 0, other.data(),
       n);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) CHECK(c[i * n + j] == other[i * n + n - 1 - j]);
}
