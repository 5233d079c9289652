// a D(q || p) + (1 - a) D(p || q), a the share of |p - q| that lies in the teacher's head (terms/dense.h).
// Source: Wu et al. 2024 (AKL, arXiv:2404.02657), section 4.
#pragma once
#include "divergences/forward_kl.h"
#include "divergences/reverse_kl.h"

namespace distilmt {

template <class scalar>
struct AdaptiveKL {
  scalar a;

  template <class real>
  DISTILMT_HD real term(real lp, real lq) const {
    return ForwardKL::mean().term(lp, lq) * a + ReverseKL::mean().term(lp, lq) * (1 - a);
  }
  template <class real>
  DISTILMT_HD real slope(real lp, real lq) const {
    return ForwardKL{}.slope(lp, lq) * a + ReverseKL{}.slope(lp, lq) * (1 - a);
  }
};

}  // namespace distilmt
