// 1/2 sum |p - q|: bounded by 1, symmetric, deaf to ratios.
// Source: Wen et al. 2023 (f-distill, arXiv:2307.15190), section 3.
#pragma once
#include "divergences/scalar.h"

namespace distilmt {

struct TotalVariation {
  template <class real>
  DISTILMT_HD real term(real lp, real lq) const {
    return absolute(exp(lp) - exp(lq)) * 0.5f;
  }
  template <class real>
  DISTILMT_HD real slope(real lp, real lq) const {
    const real p = exp(lp);
    return p * sign(p - exp(lq)) * 0.5f;
  }
};

}  // namespace distilmt
