#include "kernels/project.h"

#include <algorithm>

#include "kernels/dispatch.h"
#include "kernels/row_blocks.h"
#include "kernels/workspace.h"

namespace distilmt {

DISTILMT_PER_PRODUCT_ISA(int64_t project_row_scratch();)
DISTILMT_PER_PRODUCT_ISA(void project_block(const float* hidden, int64_t ldh, int64_t m, const PackedView& w,
                                            const int32_t* banned, int64_t n_banned, int64_t k, const int32_t* picked,
                                            float* picked_logit, Candidate* top, float* log_sum_exp,
                                            uint32_t* scratch);)

void project_top_k(const float* hidden, int64_t ldh, int64_t m, const PackedMatrix& w, const int32_t* banned,
                   int64_t n_banned, int64_t k, const int32_t* picked, float* picked_logit, Candidate* top,
                   float* log_sum_exp) {
  const auto block = DISTILMT_ACTIVE_PRODUCT(project_block);
  const int64_t height = rows_per_block(w), rows = std::min(m, height);
  const int64_t floats = product_scratch(rows, w) + rows * DISTILMT_ACTIVE_PRODUCT(project_row_scratch)();
  uint32_t* scratch = reinterpret_cast<uint32_t*>(workspace(floats));
  for (int64_t i = 0; i < m; i += height)
    block(hidden + i * ldh, ldh, std::min(height, m - i), w.view(), banned, n_banned, k, picked ? picked + i : nullptr,
          picked ? picked_logit + i : nullptr, k > 0 ? top + i * k : nullptr, log_sum_exp + i, scratch);
}

}  // namespace distilmt
