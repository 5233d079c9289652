#include "kernels/linear_kd.h"

#include "kernels/dispatch.h"
#include "kernels/linear_kd_row.h"
#include "kernels/one_by_one.h"

namespace distilmt {

DISTILMT_PER_ISA(void linear_kd_one(const LinearKDRows<float>& rows, int64_t begin, int64_t end);
                 void linear_kd_many(const LinearKDRows<float>& rows, int64_t begin, int64_t end);
                 void linear_kd_one_bfloat16(const LinearKDRows<float, bfloat16>& rows, int64_t begin, int64_t end);
                 void linear_kd_many_bfloat16(const LinearKDRows<float, bfloat16>& rows, int64_t begin, int64_t end);)

namespace {

template <class scalar, class storage>
void one_by_one(const LinearKDRows<scalar, storage>& rows, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) linear_kd_row<kMaxTerms>(OneByOne<scalar>{}, rows, row);
}

}  // namespace

void prepare(KDTerm<float>& term) { term.moment = moment_of(term); }
void prepare(KDTerm<double>& term) { term.moment = moment_of(term); }

void linear_kd_rows(const LinearKDRows<float>& rows, int64_t begin, int64_t end) {
  (many_dense(rows) ? DISTILMT_ACTIVE(linear_kd_many) : DISTILMT_ACTIVE(linear_kd_one))(rows, begin, end);
}
void linear_kd_rows(const LinearKDRows<float, bfloat16>& rows, int64_t begin, int64_t end) {
  (many_dense(rows) ? DISTILMT_ACTIVE(linear_kd_many_bfloat16) : DISTILMT_ACTIVE(linear_kd_one_bfloat16))(rows, begin,
                                                                                                          end);
}
void linear_kd_rows(const LinearKDRows<double>& rows, int64_t begin, int64_t end) { one_by_one(rows, begin, end); }
void linear_kd_rows(const LinearKDRows<float, float16>& rows, int64_t begin, int64_t end) {
  one_by_one(rows, begin, end);
}

}  // namespace distilmt
