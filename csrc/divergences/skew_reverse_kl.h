// D(p || l p + (1 - l) q), 0 <= l < 1: reverse KL that stays finite where the teacher gives nothing.
// Source: Ko et al. 2024 (DistiLLM, arXiv:2402.03898), definition 1.
#pragma once
#include "divergences/scalar.h"

namespace distilmt {

template <class scalar>
struct SkewReverseKL {
  scalar l;

  template <class real>
  DISTILMT_HD real term(real lp, real lq) const {
    return weigh(exp(lp), -log(m_over_p(lp, lq)));
  }
  template <class real>
  DISTILMT_HD real slope(real lp, real lq) const {  // p (log(p / m) - l p / m), + p, which the shared gradient cancels
    const real m = m_over_p(lp, lq);
    return weigh(exp(lp), -log(m) - real(l) / m);
  }

 private:
  template <class real>
  DISTILMT_HD real m_over_p(real lp, real lq) const {
    return ratio(lq - lp) * (1 - l) + l;
  }
};

}  // namespace distilmt
