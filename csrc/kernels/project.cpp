#include "kernels/project.h"

#include <algorithm>

#include "kernels/dispatch.h"
#include "kernels/row_blocks.h"
#include "kernels/workspace.h"

namespace distilmt {

DISTILMT_PER_ISA(int64_t project_scratch(int64_t m, int64_t d);)
DISTILMT_PER_ISA(void project_block(const Projection& p, int64_t first, int64_t m, const float* panels,
                                    const float* bias, int64_t vocab, int64_t d, float* scratch);)

void project(const Projection& p) {
  const auto block = DISTILMT_ACTIVE(project_block);
  const int64_t d = p.w ? p.w->k : 0, vocab = p.w ? p.w->n : p.ldh, height = rows_per_block(d);
  float* scratch = workspace(DISTILMT_ACTIVE(project_scratch)(std::min(p.m, height), d));
  for (int64_t i = 0; i < p.m; i += height)
    block(p, i, std::min(height, p.m - i), p.w ? p.w->data.get() : nullptr, p.w ? p.w->bias.get() : nullptr, vocab, d,
          scratch);
}

}  // namespace distilmt
