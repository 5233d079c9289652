#include "kernels/project.h"

#include <algorithm>

#include "kernels/dispatch.h"
#include "kernels/row_blocks.h"
#include "kernels/workspace.h"

namespace distilmt {

DISTILMT_PER_PRODUCT_ISA(int64_t project_scratch(int64_t m);)
DISTILMT_PER_PRODUCT_ISA(void project_block(const Projection& p, int64_t first, int64_t m, const PackedView* w,
                                            float* scratch);)

void project(const Projection& p) {
  constexpr int64_t kGiven = 64;  // rows of logits at a time
  const auto block = DISTILMT_ACTIVE_PRODUCT(project_block);
  const int64_t height = p.w ? rows_per_block(*p.w) : kGiven, rows = std::min(p.m, height);
  float* scratch = workspace(DISTILMT_ACTIVE_PRODUCT(project_scratch)(rows) + (p.w ? product_scratch(rows, *p.w) : 0));
  const PackedView view = p.w ? p.w->view() : PackedView{};
  for (int64_t i = 0; i < p.m; i += height) block(p, i, std::min(height, p.m - i), p.w ? &view : nullptr, scratch);
}

}  // namespace distilmt
