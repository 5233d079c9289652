// What a divergence may call, for one float or double, host and device. The CPU's vectors bring overloads of their own,
// found by their argument. No std:: here: its inline overloads would be compiled once per instruction set (ODR).
#pragma once
#include <math.h>

#include "common/platform.h"

namespace distilmt {

DISTILMT_HD float exp(float x) { return ::expf(x); }
DISTILMT_HD double exp(double x) { return ::exp(x); }
DISTILMT_HD float log(float x) { return ::logf(x); }
DISTILMT_HD double log(double x) { return ::log(x); }
DISTILMT_HD float absolute(float x) { return ::fabsf(x); }
DISTILMT_HD double absolute(double x) { return ::fabs(x); }
DISTILMT_HD float maximum(float a, float b) { return a > b ? a : b; }
DISTILMT_HD double maximum(double a, double b) { return a > b ? a : b; }

// -1, 0 or 1.
DISTILMT_HD float sign(float x) { return float(x > 0) - float(x < 0); }
DISTILMT_HD double sign(double x) { return double(x > 0) - double(x < 0); }

// w * x, and 0 where w is 0, whatever x: a token that nobody proposes costs nothing even where log(0) is involved.
DISTILMT_HD float weigh(float w, float x) { return w == 0 ? 0 : w * x; }
DISTILMT_HD double weigh(double w, double x) { return w == 0 ? 0 : w * x; }

// 1 or 0: x >= bound, and x is not -inf.
DISTILMT_HD float at_least(float x, float bound) { return x >= bound; }
DISTILMT_HD double at_least(double x, double bound) { return x >= bound; }
DISTILMT_HD float possible(float x) { return x > -HUGE_VALF; }
DISTILMT_HD double possible(double x) { return x > -HUGE_VAL; }

// e^x, at most e^80: for ratios of probabilities under a logarithm. Where the ratio is larger, its weight is below
// e^-80.
template <class real>
DISTILMT_HD real ratio(real x) {
  return exp(-maximum(real(-80.0f), -x));  // in this order NaN stays NaN
}

// A divergence that is the mean of of_p log p + of_q log q under the teacher's q, or under p: its value needs one
// reading of the logits, since normalisers are constants of such a mean.
struct Mean {
  bool teacher;
  int of_p, of_q;

  template <class real>
  DISTILMT_HD real term(real lp, real lq) const {
    return weigh(exp(teacher ? lq : lp), lp * real(float(of_p)) + lq * real(float(of_q)));
  }
};

}  // namespace distilmt
