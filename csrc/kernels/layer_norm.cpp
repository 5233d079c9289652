#include "kernels/layer_norm.h"

#include "kernels/dispatch.h"

namespace distilmt {

DISTILMT_PER_ISA(void layer_norm(const float* x, const float* gamma, const float* beta, float eps, int64_t rows,
                                 int64_t d, float* out);)

void layer_norm(const float* x, const float* gamma, const float* beta, float eps, int64_t rows, int64_t d, float* out) {
  DISTILMT_ACTIVE(layer_norm)(x, gamma, beta, eps, rows, d, out);
}

}  // namespace distilmt
