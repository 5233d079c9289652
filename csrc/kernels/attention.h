// Multi-head attention over the positions that exist: out = softmax(q k^T / sqrt(d / heads)) v for each head, float32.
//
// No mask and no padding: the caller hands over real positions only. Head h owns columns [h * d / heads, (h+1) * d /
// heads). d must be a multiple of heads, and length at least 1. Temporary memory belongs to the calling thread. Source:
// Vaswani et al. 2017 (arXiv:1706.03762); q is scaled before the product, as Hugging Face's Marian does.
#pragma once
#include <cstdint>

#include "kernels/bfloat16.h"

namespace distilmt {

// Encoder self-attention of ONE sentence. qkv [length, 3 * d]: each row is q | k | v. out [length, d].
void attend_sentence(const float* qkv, int64_t length, int64_t d, int64_t heads, float* out);

// Decoder self-attention of ONE query row q [d] over `length` positions: keys[t] and values[t] point to rows [d],
// anywhere (the engine resolves its ancestor table into pointers). out [d]; may be q itself.
void attend_rows(const float* q, const float* const* keys, const float* const* values, int64_t length, int64_t d,
                 int64_t heads, float* out);

// Cross-attention of `rows` queries q [rows, d] (the beams of one sentence) over one source: keys and values [length,
// d]. ldq, stride, ldo: distance between rows of q, of keys and values, and of out, in floats. The beams share each
// load of a key; row i of out is bit-identical to what rows = 1 gives, and to attend_rows over the same rows. out may
// be q itself. weights, where not null: the attention [rows, length], mean over the heads, rows ldw apart.
void attend_cross(const float* q, int64_t rows, int64_t ldq, const float* keys, const float* values, int64_t stride,
                  int64_t length, int64_t d, int64_t heads, float* out, int64_t ldo, float* weights = nullptr,
                  int64_t ldw = 0, const float* next = nullptr);

// The same over keys and values kept as bfloat16; all arithmetic is float32.
void attend_rows(const float* q, const bfloat16* const* keys, const bfloat16* const* values, int64_t length, int64_t d,
                 int64_t heads, float* out);
void attend_cross(const float* q, int64_t rows, int64_t ldq, const bfloat16* keys, const bfloat16* values,
                  int64_t stride, int64_t length, int64_t d, int64_t heads, float* out, int64_t ldo, float* weights,
                  int64_t ldw, const bfloat16* next = nullptr);

// x [count] to the nearest bfloat16, ties to even; a NaN stays one.
void to_bfloat16(const float* x, int64_t count, bfloat16* out);

}  // namespace distilmt
