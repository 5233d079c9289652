#include "kernels/mix_teachers.h"

#include "kernels/dispatch.h"

namespace distilmt {

DISTILMT_PER_ISA(void mix_teachers_float(const MixedRows<float>& rows, int64_t begin, int64_t end);
                 void mix_teachers_double(const MixedRows<double>& rows, int64_t begin, int64_t end);)

void mix_teachers(const MixedRows<float>& rows, int64_t begin, int64_t end) {
  DISTILMT_ACTIVE(mix_teachers_float)(rows, begin, end);
}

void mix_teachers(const MixedRows<double>& rows, int64_t begin, int64_t end) {
  DISTILMT_ACTIVE(mix_teachers_double)(rows, begin, end);
}

}  // namespace distilmt
