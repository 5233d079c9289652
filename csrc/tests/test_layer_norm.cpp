#include "kernels/layer_norm.h"
#include "tests/kernels.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

TEST(layer_norm_every_width) {
  for (int64_t rows : {0, 1, 5})
    for (int64_t d : {1, 2, 3, 7, 8, 15, 16, 17, 33, 64, 100, 512}) {
      auto x = normal(rows * d, 1, 3.0f);
      for (float& value : x) value += 100.0f;  // a large mean must not cancel the variance away
      const auto gamma = normal(d, 2), beta = normal(d, 3);
      std::vector<float> out(rows * d), single(d);
      layer_norm(x.data(), gamma.data(), beta.data(), 1e-5f, rows, d, out.data());
      for (int64_t i = 0; i < rows; ++i) {
        double mean = 0, variance = 0;
        for (int64_t c = 0; c < d; ++c) mean += x[i * d + c] / double(d);
        for (int64_t c = 0; c < d; ++c) variance += (x[i * d + c] - mean) * (x[i * d + c] - mean) / d;
        for (int64_t c = 0; c < d; ++c) {
          const double y = (x[i * d + c] - mean) / std::sqrt(variance + 1e-5) * gamma[c] + beta[c];
          CHECK_NEAR(out[i * d + c], y, d == 1 ? 1e-6 : 3e-5);  // half an ulp of a mean near 100 is 4e-6
        }
        layer_norm(x.data() + i * d, gamma.data(), beta.data(), 1e-5f, 1, d, single.data());
        CHECK(same_bits(single.data(), &out[i * d], d));
      }
      layer_norm(x.data(), gamma.data(), beta.data(), 1e-5f, rows, d, x.data());
      CHECK(same_bits(x.data(), out.data(), rows * d));
    }
}

TEST(layer_norm_of_a_constant_row_is_beta) {
  const std::vector<float> x(24, 3.25f), gamma(24, 2.0f), beta = normal(24, 4);
  std::vector<float> out(24);
  layer_norm(x.data(), gamma.data(), beta.data(), 1e-5f, 1, 24, out.data());
  CHECK(same_bits(out.data(), beta.data(), 24));
}
