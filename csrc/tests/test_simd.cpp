// Functions of vectors against float64, one sweep over all they promise. Here they are compiled as the portable set;
// the wider ones differ by fused multiply-adds, and are tested through the kernels.
#define DISTILMT_ISA_NAMESPACE as_portable
#include <limits>

#include "kernels/simd.h"
#include "tests/kernels.h"
#include "tests/test.h"

namespace {

namespace simd = distilmt::as_portable;

template <class F>
float lane(const F& f, float x) {
  return f(simd::broadcast(x))[simd::kWidth - 1];
}
float vector_exp(float x) {
  return lane([](simd::vec v) { return simd::exp(v); }, x);
}
float vector_log(float x) {
  return lane([](simd::vec v) { return simd::log(v); }, x);
}

float exp_below(float x) {
  return lane([](simd::vec v) { return simd::exp_below(v); }, x);
}

// |got - expected| in units of the last place of a float of that size.
double ulps(float got, double expected) {
  const float size = std::abs(float(expected));
  return std::abs(got - expected) / (std::nextafter(size, HUGE_VALF) - size);
}

}  // namespace

TEST(simd_log_and_exp_are_within_two_ulps) {
  double log_worst = 0, exp_worst = 0;
  for (float x = std::numeric_limits<float>::min(); x < HUGE_VALF; x *= 1.00037f)
    log_worst = std::max(log_worst, ulps(vector_log(x), std::log(double(x))));
  for (float x = 0.5f; x < 2; x += 1e-5f) log_worst = std::max(log_worst, ulps(vector_log(x), std::log(double(x))));
  for (float x = -86.9f; x <= 88.7f; x += 0.0013f)
    exp_worst = std::max(exp_worst, ulps(vector_exp(x), std::exp(double(x))));
  CHECK_NEAR(log_worst, 0, 2);
  CHECK_NEAR(exp_worst, 0, 2);
}

TEST(simd_exp_below) {
  double worst = 0;
  for (float x = -85; x <= 80; x += 0.0013f)
    worst = std::max(worst, std::abs(exp_below(x) / std::exp(double(x)) - 1) / (1 + std::abs(x)));
  CHECK_NEAR(worst, 0, 2e-7);
  CHECK(exp_below(-distilmt::test::kInfinity) == 0 && exp_below(-160) == 0 && std::isnan(exp_below(NAN)));
}

TEST(simd_log_and_exp_at_their_ends) {
  using distilmt::test::kInfinity;
  for (float x : {0.0f, -0.0f, 1e-40f}) CHECK(vector_log(x) == -kInfinity);
  for (float x : {-1.0f, -1e-30f, -kInfinity, NAN}) CHECK(std::isnan(vector_log(x)));
  CHECK(vector_log(1) == 0 && vector_log(kInfinity) == kInfinity);
  CHECK(vector_exp(0) == 1 && vector_exp(-88) < 1e-38f && vector_exp(-110) == 0 && vector_exp(-kInfinity) == 0);
  CHECK(vector_exp(89) == kInfinity && vector_exp(kInfinity) == kInfinity && std::isnan(vector_exp(NAN)));
}
