// Layer normalisation of one instruction set; contract in layer_norm.h.
#include "kernels/simd.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {

void layer_norm(const float* x, const float* gamma, const float* beta, float eps, int64_t rows, int64_t d, float* out) {
  const int64_t whole = d / kWidth * kWidth, left = d - whole;
  for (int64_t i = 0; i < rows; ++i, x += d, out += d) {
    vec total = {};
    for (int64_t c = 0; c < whole; c += kWidth) total += load(x + c);
    if (left) total += load_part(x + whole, left, 0.0f);
    const float mean = sum(total) / d;
    vec squares = {};
    for (int64_t c = 0; c < whole; c += kWidth) {
      const vec deviation = load(x + c) - mean;
      squares = fma(deviation, deviation, squares);
    }
    if (left) {
      const vec deviation = load_part(x + whole, left, mean) - mean;
      squares = fma(deviation, deviation, squares);
    }
    const float scale = 1.0f / __builtin_sqrtf(sum(squares) / d + eps);
    for (int64_t c = 0; c < whole; c += kWidth)
      store(out + c, fma((load(x + c) - mean) * scale, load(gamma + c), load(beta + c)));
    if (left) {
      const vec normal = (load_part(x + whole, left, mean) - mean) * scale;
      store_part(out + whole, left,
                 fma(normal, load_part(gamma + whole, left, 0.0f), load_part(beta + whole, left, 0.0f)));
    }
  }
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
