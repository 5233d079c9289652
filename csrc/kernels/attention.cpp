#include "kernels/attention.h"

#include "kernels/dispatch.h"
#include "kernels/workspace.h"

namespace distilmt {

DISTILMT_PER_ISA(int64_t sentence_scratch(int64_t length, int64_t d, int64_t heads);)
DISTILMT_PER_ISA(int64_t query_scratch(int64_t length, int64_t heads);)
DISTILMT_PER_ISA(void attend_sentence(const float* qkv, int64_t length, int64_t d, int64_t heads, float* scratch,
                                      float* out);)
DISTILMT_PER_ISA(void attend_rows_float32(const float* q, const float* const* keys, const float* const* values,
                                          int64_t length, int64_t d, int64_t heads, float* scratch, float* out);)
DISTILMT_PER_ISA(void attend_cross_float32(const float* q, int64_t rows, int64_t ldq, const float* keys,
                                           const float* values, int64_t stride, int64_t length, int64_t d,
                                           int64_t heads, float* scratch, float* out, int64_t ldo, float* weights,
                                           int64_t ldw, const float* next);)
DISTILMT_PER_ISA(void attend_rows_bfloat16(const float* q, const bfloat16* const* keys, const bfloat16* const* values,
                                           int64_t length, int64_t d, int64_t heads, float* scratch, float* out);)
DISTILMT_PER_ISA(void attend_cross_bfloat16(const float* q, int64_t rows, int64_t ldq, const bfloat16* keys,
                                            const bfloat16* values, int64_t stride, int64_t length, int64_t d,
                                            int64_t heads, float* scratch, float* out, int64_t ldo, float* weights,
                                            int64_t ldw, const bfloat16* next);)
DISTILMT_PER_ISA(void to_bfloat16(const float* x, int64_t count, bfloat16* out);)

void attend_sentence(const float* qkv, int64_t length, int64_t d, int64_t heads, float* out) {
  float* scratch = workspace(DISTILMT_ACTIVE(sentence_scratch)(length, d, heads));
  DISTILMT_ACTIVE(attend_sentence)(qkv, length, d, heads, scratch, out);
}

void attend_rows(const float* q, const float* const* keys, const float* const* values, int64_t length, int64_t d,
                 int64_t heads, float* out) {
  float* scratch = workspace(DISTILMT_ACTIVE(query_scratch)(length, heads));
  DISTILMT_ACTIVE(attend_rows_float32)(q, keys, values, length, d, heads, scratch, out);
}

void attend_cross(const float* q, int64_t rows, int64_t ldq, const float* keys, const float* values, int64_t stride,
                  int64_t length, int64_t d, int64_t heads, float* out, int64_t ldo, float* weights, int64_t ldw,
                  const float* next) {
  float* scratch = workspace(DISTILMT_ACTIVE(query_scratch)(length, heads));
  DISTILMT_ACTIVE(attend_cross_float32)(q, rows, ldq, keys, values, stride, length, d, heads, scratch, out, ldo,
                                        weights, ldw, next);
}

void attend_rows(const float* q, const bfloat16* const* keys, const bfloat16* const* values, int64_t length, int64_t d,
                 int64_t heads, float* out) {
  float* scratch = workspace(DISTILMT_ACTIVE(query_scratch)(length, heads));
  DISTILMT_ACTIVE(attend_rows_bfloat16)(q, keys, values, length, d, heads, scratch, out);
}

void attend_cross(const float* q, int64_t rows, int64_t ldq, const bfloat16* keys, const bfloat16* values,
                  int64_t stride, int64_t length, int64_t d, int64_t heads, float* out, int64_t ldo, float* weights,
                  int64_t ldw, const bfloat16* next) {
  float* scratch = workspace(DISTILMT_ACTIVE(query_scratch)(length, heads));
  DISTILMT_ACTIVE(attend_cross_bfloat16)(q, rows, ldq, keys, values, stride, length, d, heads, scratch, out, ldo,
                                         weights, ldw, next);
}

void to_bfloat16(const float* x, int64_t count, bfloat16* out) { DISTILMT_ACTIVE(to_bfloat16)(x, count, out); }

}  // namespace distilmt
