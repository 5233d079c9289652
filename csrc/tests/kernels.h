// What the tests of kernels share: seeded data, comparison bit for bit or by the worst difference.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace distilmt::test {

// Under a sanitizer CUDA threads are threads of the machine: slow, so that fewer rounds must do.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kEase = 25;
#else
constexpr int kEase = 1;
#endif

constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline std::vector<float> normal(int64_t count, unsigned seed, float deviation = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw(0.0f, deviation);
  std::vector<float> x(count);
  for (float& value : x) value = draw(random);
  return x;
}

inline bool same_bits(const float* a, const float* b, int64_t count) {
  return count == 0 || std::memcmp(a, b, sizeof(float) * count) == 0;
}

// Largest |a - b|, where equal infinities differ by 0; infinite where one is NaN.
template <class A, class B>
double worst_difference(const std::vector<A>& a, const std::vector<B>& b) {
  double worst = a.size() == b.size() ? 0 : kInfinity;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double gap = double(a[i]) == double(b[i]) ? 0 : std::abs(double(a[i]) - double(b[i]));
    worst = gap <= worst ? worst : std::isnan(gap) ? kInfinity : gap;
  }
  return worst;
}

// Dot product in double, rows of floats.
inline double dot(const float* a, const float* b, int64_t k) {
  double total = 0;
  for (int64_t c = 0; c < k; ++c) total += double(a[c]) * b[c];
  return total;
}

}  // namespace distilmt::test
