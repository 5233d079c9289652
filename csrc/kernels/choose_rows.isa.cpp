// By a CPU thread of one instruction set; algorithm in choose_rows_group.h.
#include "kernels/choose_rows_group.h"
#include "kernels/one_thread.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {

void choose_rows_float(const ChooseRows<float>& call) { choose_rows_group(OneThread{}, call); }
void choose_rows_double(const ChooseRows<double>& call) { choose_rows_group(OneThread{}, call); }

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
