#include "kernels/gradient_filter.h"

#include "kernels/dispatch.h"

namespace distilmt {

DISTILMT_PER_ISA(void filter_rows_of(const GradientFilter& filter, int64_t begin, int64_t end);
                 void kept_entries_of(const float* g, int64_t vocab, float threshold, int32_t* columns, float* values);
                 void sum_rows_of(const float* matrix, int64_t d, const int32_t* index, const float* values,
                                  int64_t count, bool add, float* out);)

void filter_rows(const GradientFilter& filter, int64_t begin, int64_t end) {
  DISTILMT_ACTIVE(filter_rows_of)(filter, begin, end);
}

void kept_entries(const float* g, int64_t vocab, float threshold, int32_t* columns, float* values) {
  DISTILMT_ACTIVE(kept_entries_of)(g, vocab, threshold, columns, values);
}

void sum_rows(const float* matrix, int64_t d, const int32_t* index, const float* values, int64_t count, bool add,
              float* out) {
  DISTILMT_ACTIVE(sum_rows_of)(matrix, d, index, values, count, add, out);
}

}  // namespace distilmt
