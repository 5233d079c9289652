#include "kernels/mix_teachers.h"

#include "kernels/dispatch.h"
#include "kernels/mix_teachers_row.h"
#include "kernels/one_by_one.h"

namespace distilmt {

DISTILMT_PER_ISA(void mix_teachers_float(const MixedRows<float>& rows, int64_t begin, int64_t end);)

void mix_teachers(const MixedRows<float>& rows, int64_t begin, int64_t end) {
  DISTILMT_ACTIVE(mix_teachers_float)(rows, begin, end);
}

void mix_teachers(const MixedRows<double>& rows, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) mix_teachers_row(OneByOne<double>{}, rows, row);
}

}  // namespace distilmt
