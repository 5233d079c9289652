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
DISTILMT_HD float maximum(float a, float b) { return a > b ? a : b; }
DISTILMT_HD double maximum(double a, double b) { return a > b ? a : b; }

// w * x, and 0 where w is 0, whatever x: a token that nobody proposes costs nothing even where log(0) is involved.
DISTILMT_HD float weigh(float w, float x) { return w == 0 ? 0 : w * x; }
DISTILMT_HD double weigh(double w, double x) { return w == 0 ? 0 : w * x; }

}  // namespace distilmt
