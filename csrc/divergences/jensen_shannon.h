// b D(q || m) + (1 - b) D(p || m) with m = b q + (1 - b) p, 0 < b < 1: between forward (b near 0) and reverse KL.
// Source: Agarwal et al. 2024 (GKD, arXiv:2306.13649), equation 1: b multiplies the teacher.
#pragma once
#include "divergences/scalar.h"

namespace distilmt {

template <class scalar>
struct JensenShannon {
  scalar b;
  scalar scale = 1;  // 1, or 1 / (b (1 - b)): the family that tends to the two KLs instead of to 0

  template <class real>
  DISTILMT_HD real term(real lp, real lq) const {
    return (weigh(exp(lq), -log(ratio(lp - lq) * (1 - b) + b)) * b + slope_unscaled(lp, lq)) * scale;
  }
  template <class real>
  DISTILMT_HD real slope(real lp, real lq) const {
    return slope_unscaled(lp, lq) * scale;
  }

 private:
  template <class real>
  DISTILMT_HD real slope_unscaled(real lp, real lq) const {
    return weigh(exp(lp), -log(ratio(lq - lp) * b + (1 - b))) * (1 - b);
  }
};

}  // namespace distilmt
