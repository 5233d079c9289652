// D(p || q) = sum p log(p / q): the student may ignore what the teacher finds likely, but not invent.
// Source: Gu et al. 2024 (MiniLLM, arXiv:2306.08543), here per token.
#pragma once
#include "divergences/scalar.h"

namespace distilmt {

struct ReverseKL {
  DISTILMT_HD static constexpr Mean mean() { return {false, 1, -1}; }

  template <class real>
  DISTILMT_HD real slope(real lp, real lq) const {  // + p, which the shared gradient cancels
    return mean().term(lp, lq);
  }
};

}  // namespace distilmt
