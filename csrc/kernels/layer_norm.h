// Layer normalisation of rows: out = (x - mean) / sqrt(variance + eps) * gamma + beta, float32.
//
//   x, out [rows, d] without gaps; gamma, beta [d]; variance is the mean of squared deviations (no n - 1)
//
// Rows are independent, bit for bit. out may be x itself. Two passes (mean, then deviations), so that a large mean does
// not cancel the variance away. Source: Ba, Kiros & Hinton 2016 (arXiv:1607.06450), as torch.nn.LayerNorm.
#pragma once
#include <cstdint>

namespace distilmt {

void layer_norm(const float* x, const float* gamma, const float* beta, float eps, int64_t rows, int64_t d, float* out);

}  // namespace distilmt
