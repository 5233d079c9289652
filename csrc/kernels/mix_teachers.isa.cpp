// CPU rows of one instruction set; formula in mix_teachers.h.
#include "kernels/mix_teachers_row.h"
#include "kernels/one_thread.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {

void mix_teachers_float(const MixedRows<float>& rows, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) mix_teachers_row(OneThread{}, rows, row);
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
