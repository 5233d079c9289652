#include "kernels/linear_kd.h"

#include "kernels/dispatch.h"

namespace distilmt {

DISTILMT_PER_ISA(void linear_kd_float(const LinearKDRows<float>& rows, int64_t begin, int64_t end);
                 void linear_kd_double(const LinearKDRows<double>& rows, int64_t begin, int64_t end);)

void linear_kd_rows(const LinearKDRows<float>& rows, int64_t begin, int64_t end) {
  DISTILMT_ACTIVE(linear_kd_float)(rows, begin, end);
}

void linear_kd_rows(const LinearKDRows<double>& rows, int64_t begin, int64_t end) {
  DISTILMT_ACTIVE(linear_kd_double)(rows, begin, end);
}

}  // namespace distilmt
