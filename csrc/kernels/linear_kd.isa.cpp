// CPU rows of one instruction set; formula in linear_kd.h, algorithm in linear_kd_row.h.
#include "kernels/linear_kd_row.h"
#include "kernels/one_thread.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {

namespace {

template <int kDense, class storage>
void each_row(const LinearKDRows<float, storage>& rows, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) linear_kd_row<kDense>(OneThread{}, rows, row);
}

}  // namespace

void linear_kd_one(const LinearKDRows<float>& rows, int64_t begin, int64_t end) { each_row<1>(rows, begin, end); }
void linear_kd_many(const LinearKDRows<float>& rows, int64_t begin, int64_t end) {
  each_row<kMaxTerms>(rows, begin, end);
}
void linear_kd_one_bfloat16(const LinearKDRows<float, bfloat16>& rows, int64_t begin, int64_t end) {
  each_row<1>(rows, begin, end);
}
void linear_kd_many_bfloat16(const LinearKDRows<float, bfloat16>& rows, int64_t begin, int64_t end) {
  each_row<kMaxTerms>(rows, begin, end);
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
