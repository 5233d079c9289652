// D(q || l q + (1 - l) p), 0 <= l < 1: forward KL that stays finite, its gradient tamed where p is tiny.
// Source: Ko et al. 2024 (DistiLLM, arXiv:2402.03898), definition 1.
#pragma once
#include "divergences/scalar.h"

namespace distilmt {

template <class scalar>
struct SkewKL {
  scalar l;

  template <class real>
  DISTILMT_HD real term(real lp, real lq) const {
    return weigh(exp(lq), -log(ratio(lp - lq) * (1 - l) + l));
  }
  template <class real>
  DISTILMT_HD real slope(real lp, real lq) const {  // -(1 - l) q p / m
    return weigh(exp(lq), real(l - 1) / (ratio(lq - lp) * l + (1 - l)));
  }
};

}  // namespace distilmt
