#include "kernels/project.h"

#include <algorithm>

#include "kernels/dispatch.h"
#include "kernels/row_blocks.h"
#include "kernels/workspace.h"

namespace distilmt {

DISTILMT_PER_ISA(int64_t project_scratch(int64_t m, int64_t d);)
DISTILMT_PER_ISA(void project_block(const float* hidden, int64_t ldh, int64_t m, const float* panels, const float* bias,
                                    int64_t vocab, int64_t d, const int32_t* banned, int64_t n_banned, int64_t k,
                                    const int32_t* picked, float* picked_logit, Candidate* top, float* log_sum_exp,
                                    Spread* spread, int64_t spread_k, float* scratch);)

void project_top_k(const float* hidden, int64_t ldh, int64_t m, const PackedMatrix& w, const int32_t* banned,
                   int64_t n_banned, int64_t k, const int32_t* picked, float* picked_logit, Candidate* top,
                   float* log_sum_exp, Spread* spread, int64_t spread_k) {
  const auto block = DISTILMT_ACTIVE(project_block);
  const int64_t height = rows_per_block(w.k);
  float* scratch = workspace(DISTILMT_ACTIVE(project_scratch)(std::min(m, height), w.k));
  for (int64_t i = 0; i < m; i += height)
    block(hidden + i * ldh, ldh, std::min(height, m - i), w.data.get(), w.bias.get(), w.n, w.k, banned, n_banned, k,
          picked ? picked + i : nullptr, picked ? picked_logit + i : nullptr, k > 0 ? top + i * k : nullptr,
          log_sum_exp + i, spread ? spread + i : nullptr, spread_k, scratch);
}

}  // namespace distilmt
