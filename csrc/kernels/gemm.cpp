#include "kernels/gemm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "common/platform.h"
#include "kernels/bfloat16.h"
#include "kernels/dispatch.h"
#include "kernels/row_blocks.h"
#include "kernels/workspace.h"

namespace distilmt {

DISTILMT_PER_PRODUCT_ISA(int64_t gemm_panel();)
DISTILMT_PER_PRODUCT_ISA(float int8_weight_levels();)
DISTILMT_PER_PRODUCT_ISA(void gemm_block(const float* a, int64_t lda, int64_t m, const PackedView& w,
                                         Activation activation, const float* residual, int64_t ldr, float* c,
                                         int64_t ldc, uint32_t* scratch);)

namespace {

// What int8 notes of an output channel.
struct Channel {
  float scale = 1;
  int32_t integers = 0;
};

// k weights of one output channel -> groups, which were zeros. A weight that is no number makes the scale none.
Channel to_groups(const float* weight, int64_t k, Number number, float levels, uint32_t* groups) {
  Channel channel;
  if (number == Number::float32) {
    if (k > 0) std::memcpy(groups, weight, sizeof(float) * k);  // null where there are none
  } else if (number == Number::bfloat16) {
    uint16_t* halves = reinterpret_cast<uint16_t*>(groups);  // little-endian, as all sets are
    for (int64_t c = 0; c < k; ++c) halves[c] = bfloat16_bits(weight[c]);
  } else {
    float largest = 0, zero = 0;
    for (int64_t c = 0; c < k; ++c) {
      largest = std::max(largest, std::abs(weight[c]));
      zero += weight[c] * 0.0f;  // NaN where a weight is no number
    }
    if (zero != 0) return {std::numeric_limits<float>::quiet_NaN(), 0};
    if (largest < std::numeric_limits<float>::min() * levels) return {0, 0};  // quotients would not be numbers
    channel.scale = largest / levels;
    const float inverse = levels / largest;
    int8_t* bytes = reinterpret_cast<int8_t*>(groups);
    for (int64_t c = 0; c < k; ++c) {
      const float x = weight[c] * inverse;
      const int32_t integer = static_cast<int32_t>(x + (x < 0 ? -0.5f : 0.5f));
      channel.integers += integer;
      bytes[c] = static_cast<int8_t>(integer);
    }
  }
  return channel;
}

}  // namespace

PackedMatrix pack(const float* weight, const float* bias, int64_t n, int64_t k, Number number) {
  require(number != Number::int8 || k <= 1 << 16, "int8: sums of more than 65,536 products could overflow");
  const float levels = DISTILMT_ACTIVE_PRODUCT(int8_weight_levels)();
  const int64_t per_group = number == Number::float32 ? 1 : number == Number::bfloat16 ? 2 : 4;
  PackedMatrix w;
  w.number = number;
  w.n = n;
  w.k = k;
  w.panel = DISTILMT_ACTIVE_PRODUCT(gemm_panel)();
  w.groups = number == Number::float32 ? k : (k + 16 * per_group - 1) / (16 * per_group) * 16;
  const int64_t columns = (n + w.panel - 1) / w.panel * w.panel;
  w.data = aligned<uint32_t>(columns * w.groups);
  w.bias = aligned<float>(columns);
  w.scale = aligned<float>(columns);
  w.integers = aligned<int32_t>(columns);
  // A panel's channels behind each other, then turned: every cache line is written once.
  std::vector<uint32_t> channels(w.panel * w.groups);
  for (int64_t first = 0; first < columns; first += w.panel) {
    std::fill(channels.begin(), channels.end(), 0);
    for (int64_t j = first; j < first + w.panel; ++j) {
      Channel channel;
      if (j < n) channel = to_groups(weight + j * k, k, number, levels, channels.data() + (j - first) * w.groups);
      w.bias[j] = j >= n ? -std::numeric_limits<float>::infinity() : bias ? bias[j] : 0.0f;
      w.scale[j] = channel.scale;
      w.integers[j] = channel.integers;
    }
    uint32_t* out = w.data.get() + first * w.groups;
    for (int64_t g = 0; g < w.groups; ++g)
      for (int64_t c = 0; c < w.panel; ++c) *out++ = channels[c * w.groups + g];
  }
  return w;
}

void gemm(const float* a, int64_t lda, int64_t m, const PackedMatrix& w, Activation activation, const float* residual,
          int64_t ldr, float* c, int64_t ldc) {
  const auto block = DISTILMT_ACTIVE_PRODUCT(gemm_block);
  const int64_t height = rows_per_block(w);
  uint32_t* scratch = reinterpret_cast<uint32_t*>(workspace(product_scratch(std::min(m, height), w)));
  for (int64_t i = 0; i < m; i += height)
    block(a + i * lda, lda, std::min(height, m - i), w.view(), activation, residual ? residual + i * ldr : nullptr, ldr,
          c + i * ldc, ldc, scratch);
}

}  // namespace distilmt
