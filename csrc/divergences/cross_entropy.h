// H(q, p) = -sum q log p: forward KL plus the teacher's entropy; the same slope, another number in the log.
// Source: Kim & Rush 2016 (arXiv:1606.07947), section 3.1.
#pragma once
#include "divergences/scalar.h"

namespace distilmt {

struct CrossEntropy {
  DISTILMT_HD static constexpr Mean mean() { return {true, -1, 0}; }
};

}  // namespace distilmt
