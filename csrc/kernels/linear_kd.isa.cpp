// CPU rows of one instruction set; formula in linear_kd.h, algorithm in linear_kd_row.h.
#include "kernels/linear_kd_row.h"
#include "kernels/one_thread.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {

void linear_kd_one(const LinearKDRows<float>& rows, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) linear_kd_row<1>(OneThread{}, rows, row);
}

void linear_kd_many(const LinearKDRows<float>& rows, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) linear_kd_row<kMaxTerms>(OneThread{}, rows, row);
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
