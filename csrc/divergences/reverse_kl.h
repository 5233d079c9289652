// D(p || q) = sum p log(p / q): the student may ignore what the teacher finds likely, but not invent.
// Source: Gu et al. 2024 (MiniLLM, arXiv:2306.08543), here per token.
#pragma once
#include "divergences/scalar.h"

namespace distilmt {

struct ReverseKL {
  template <class real>
  DISTILMT_HD real term(real lp, real lq) const {
    return weigh(exp(lp), lp - lq);
  }
  template <class real>
  DISTILMT_HD real slope(real lp, real lq) const {  // + p, which the shared gradient cancels
    return term(lp, lq);
  }
};

}  // namespace distilmt
