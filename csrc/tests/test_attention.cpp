// Attention against double loops; beams and pointers must change nothing, bit for bit.
#include "kernels/attention.h"
#include "tests/kernels.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

struct Shape {
  int64_t length, d, heads;
};

// One query in double; key and value rows `stride` floats apart.
static std::vector<double> attention(const float* q, const float* keys, const float* values, int64_t stride, Shape s) {
  const int64_t size = s.d / s.heads;
  std::vector<double> out(s.d), p(s.length);
  for (int64_t h = 0; h < s.heads; ++h) {
    double highest = -1e300, total = 0;
    for (int64_t t = 0; t < s.length; ++t) {
      p[t] = dot(q + h * size, keys + t * stride + h * size, size) / std::sqrt(double(size));
      highest = std::max(highest, p[t]);
    }
    for (double& x : p) total += x = std::exp(x - highest);
    for (int64_t t = 0; t < s.length; ++t)
      for (int64_t c = h * size; c < (h + 1) * size; ++c) out[c] += p[t] / total * values[t * stride + c];
  }
  return out;
}

static const Shape kShapes[] = {{1, 8, 2},    {2, 12, 3},   {3, 32, 4},   {7, 40, 2},   {16, 64, 8},
                                {17, 64, 1},  {31, 128, 2}, {33, 80, 4},  {5, 5, 5},    {50, 512, 8},
                                {97, 192, 4}, {130, 96, 2}, {29, 160, 2}, {64, 256, 16}};

TEST(attend_sentence_every_shape) {
  for (const Shape& s : kShapes) {
    const auto qkv = normal(s.length * 3 * s.d, 1);
    std::vector<float> out(s.length * s.d);
    attend_sentence(qkv.data(), s.length, s.d, s.heads, out.data());
    for (int64_t i = 0; i < s.length; ++i) {
      const auto expected = attention(&qkv[i * 3 * s.d], &qkv[s.d], &qkv[2 * s.d], 3 * s.d, s);
      for (int64_t c = 0; c < s.d; ++c) CHECK_NEAR(out[i * s.d + c], expected[c], 2e-6);
    }
  }
}

TEST(attend_cross_every_shape) {
  for (const Shape& s : kShapes) {
    const int64_t beams = 13, ldq = s.d + 2, ldo = s.d + 4, stride = 2 * s.d + 1;
    const auto q = normal(beams * ldq, 2), cache = normal(s.length * stride, 3);
    const float *keys = cache.data(), *values = keys + s.d;
    std::vector<const float*> key_rows, value_rows;
    for (int64_t t = 0; t < s.length; ++t) {
      key_rows.push_back(keys + t * stride);
      value_rows.push_back(values + t * stride);
    }
    std::vector<float> single(s.d);
    for (int64_t rows = 0; rows <= beams; ++rows) {
      std::vector<float> out(beams * ldo, 77.0f);
      attend_cross(q.data(), rows, ldq, keys, values, stride, s.length, s.d, s.heads, out.data(), ldo);
      for (int64_t i = 0; i < rows; ++i) {
        const float* row = &out[i * ldo];
        attend_rows(&q[i * ldq], key_rows.data(), value_rows.data(), s.length, s.d, s.heads, single.data());
        CHECK(same_bits(row, single.data(), s.d));
        CHECK(row[s.d] == 77.0f);
        if (rows < beams) continue;
        const auto expected = attention(&q[i * ldq], keys, values, stride, s);
        for (int64_t c = 0; c < s.d; ++c) CHECK_NEAR(row[c], expected[c], 2e-6);
      }
      for (size_t c = rows * ldo; c < out.size(); ++c) CHECK(out[c] == 77.0f);
    }
  }
}

TEST(attention_may_overwrite_its_query) {
  const int64_t rows = 6, length = 9, d = 48, heads = 4;
  auto q = normal(rows * d, 4);
  const auto keys = normal(length * d, 5), values = normal(length * d, 6);
  std::vector<float> out(rows * d);
  attend_cross(q.data(), rows, d, keys.data(), values.data(), d, length, d, heads, out.data(), d);
  attend_cross(q.data(), rows, d, keys.data(), values.data(), d, length, d, heads, q.data(), d);
  CHECK(same_bits(q.data(), out.data(), rows * d));
}

// Scores of 1e4 and beyond: the largest takes all, nothing overflows.
TEST(attention_with_huge_scores) {
  const int64_t length = 20, d = 32;
  std::vector<float> q(d, 100.0f), keys(length * d, 0.0f);
  const auto values = normal(length * d, 7);
  for (int64_t c = 0; c < d; ++c) keys[13 * d + c] = 100.0f;
  std::vector<float> out(d);
  attend_cross(q.data(), 1, d, keys.data(), values.data(), d, length, d, 1, out.data(), d);
  CHECK(same_bits(out.data(), &values[13 * d], d));
}
