// D(q || p) = sum q log(q / p): the student must cover whatever the teacher finds likely.
// Source: Hinton, Vinyals & Dean 2015 (arXiv:1503.02531); word-level KD in Kim & Rush 2016 (arXiv:1606.07947).
#pragma once
#include "divergences/scalar.h"

namespace distilmt {

struct ForwardKL {
  DISTILMT_HD static constexpr Mean mean() { return {true, -1, 1}; }

  // p * d(term)/dp, from lp = log p (student) and lq = log q (teacher): all that the shared gradient needs to know of
  // this divergence.
  template <class real>
  DISTILMT_HD real slope(real, real lq) const {
    return -exp(lq);
  }
};

}  // namespace distilmt
