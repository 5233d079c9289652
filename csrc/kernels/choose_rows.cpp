#include "kernels/choose_rows.h"

#include "kernels/dispatch.h"

namespace distilmt {

DISTILMT_PER_ISA(void choose_rows_float(const ChooseRows<float>& call);
                 void choose_rows_double(const ChooseRows<double>& call);)

void choose_rows(const ChooseRows<float>& call) { DISTILMT_ACTIVE(choose_rows_float)(call); }
void choose_rows(const ChooseRows<double>& call) { DISTILMT_ACTIVE(choose_rows_double)(call); }

}  // namespace distilmt
