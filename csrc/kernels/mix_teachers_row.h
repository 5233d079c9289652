// One row of mix_teachers.h, once for both devices; Group as in linear_kd_reading.h.
#pragma once
#include "divergences/scalar.h"
#include "kernels/mix_teachers.h"

namespace distilmt {

template <class Group, class scalar>
DISTILMT_HD void mix_teachers_row(const Group& group, const MixedRows<scalar>& rows, int64_t row) {
  using real = typename Group::real;
  const scalar lowest = -HUGE_VAL;
  const scalar* v = rows.logits + row * rows.stride;
  scalar* const mixed = rows.mixed + row * rows.stride;
  const auto logit = [&](auto at) {
    const real x = group.load(v, at, lowest);
    return rows.bias ? x + group.load(rows.bias, at, scalar(0)) : x;
  };
  real top(lowest), all(0);
  group.each(rows.vocab, [&](auto at) { top = maximum(top, logit(at)); });
  const scalar v_max = group.largest(top);
  group.each(rows.vocab, [&](auto at) { all = all + exp(logit(at) - v_max); });
  const scalar shift = v_max + log(group.sum(all)), w = rows.weights[row], log_w = log(w);
  group.each(rows.vocab, [&](auto at) {
    const real lq = logit(at) - shift;
    real x = rows.geometric ? weigh(real(w), lq) : lq + log_w;
    if (!rows.first) {
      const real before = group.load(mixed, at, lowest);
      if (rows.geometric) {
        x = x + before;
      } else {  // the floor keeps -inf - -inf away: two impossible tokens stay one
        const real larger = maximum(maximum(x, before), real(-1e30f));
        x = log(exp(x - larger) + exp(before - larger)) + larger;
      }
    }
    group.store(mixed, at, x);
  });
}

}  // namespace distilmt
