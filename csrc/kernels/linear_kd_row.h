// One row of linear_kd.h, once for both devices. A Group is what works on a row together: a CPU thread with a vector of
// columns at a time, or the threads of a CUDA block. It offers
//
//   real                     what a member holds of one array: a vector on the CPU, one number on a GPU
//   each(vocab, f)           f(at) for this member's share of the columns: the same share in every pass
//   load(p, at, fill)        the entries `at` of p; `fill` where a vector hangs over the end of the row
//   store(p, at, x)
//   largest(x), sum(x)       over all members; everybody gets the result, and sees what others stored before
//   leader()                 true for one member
//   sync()                   waits until all members have come here
//
// Four passes: largest logits, softmax denominators, divergence, gradient. The row is small enough to stay in a cache
// near.
#pragma once
#include "divergences/scalar.h"
#include "kernels/linear_kd.h"

namespace distilmt {

template <class Divergence, class Group, class scalar>
DISTILMT_HD void linear_kd_row(const Group& group, const LinearKDRows<scalar>& rows, int64_t row) {
  using real = typename Group::real;
  const scalar lowest = -HUGE_VAL;
  const int64_t vocab = rows.vocab, target = rows.targets[row];
  const scalar t = rows.temperature, per_t = 1 / t;
  const bool tempered = t != 1;
  scalar* const z = rows.student + row * vocab;
  scalar* const v = rows.teacher ? rows.teacher + row * vocab : nullptr;

  // Biases are added once, in place: whoever stores a column is the one who reads it later.
  const auto add_bias = [&](scalar* logits, const scalar* bias, auto at) {
    real x = group.load(logits, at, lowest);
    if (bias) {
      x = x + group.load(bias, at, scalar(0));
      group.store(logits, at, x);
    }
    return x;
  };
  real z_top(lowest), v_top(lowest);
  group.each(vocab, [&](auto at) {
    z_top = maximum(z_top, add_bias(z, rows.bias, at));
    if (v) v_top = maximum(v_top, add_bias(v, rows.teacher_bias, at));
  });
  const scalar z_max = group.largest(z_top), v_max = v ? group.largest(v_top) : 0;
  const scalar gold = z[target] - z_max;  // read now: the gradient will be written over it

  // Largest logits are subtracted before anything else: logits of +-1e4 lose nothing, and no exponent is above 0.
  real z_sum(0), z_sum_t(0), v_sum_t(0);
  group.each(vocab, [&](auto at) {
    const real x = group.load(z, at, lowest) - z_max;
    z_sum = z_sum + exp(x);
    if (v && tempered) z_sum_t = z_sum_t + exp(x * per_t);
    if (v) v_sum_t = v_sum_t + exp((group.load(v, at, lowest) - v_max) * per_t);
  });
  const scalar log_z = log(group.sum(z_sum));
  const scalar log_z_t = v ? (tempered ? log(group.sum(z_sum_t)) : log_z) : 0;
  const scalar log_v_t = v ? log(group.sum(v_sum_t)) : 0;
  const auto lp = [&](auto at) { return (group.load(z, at, lowest) - z_max) * per_t - log_z_t; };
  const auto lq = [&](auto at) { return (group.load(v, at, lowest) - v_max) * per_t - log_v_t; };

  scalar kl = 0, slopes = 0;
  if (v) {
    real terms(0), slope_sum(0);
    group.each(vocab, [&](auto at) {
      terms = terms + Divergence::term(lp(at), lq(at));
      slope_sum = slope_sum + Divergence::slope(lp(at), lq(at));
    });
    kl = group.sum(terms);
    slopes = group.sum(slope_sum);
  }

  const scalar weight = rows.row_weights[row];
  const scalar gold_share = 1 - rows.unbanned * rows.smoothing;
  if (group.leader()) {
    const scalar nll = log_z - gold;
    scalar smoothed = nll;
    if (rows.uniform) {
      const scalar spread = rows.unbanned * (z_max + log_z) - rows.uniform[row] - rows.uniform_bias;
      smoothed = gold_share * nll + rows.smoothing * spread;
    }
    rows.nll[row] = nll;
    rows.smoothed_nll[row] = smoothed;
    rows.kl[row] = kl;
    rows.loss[row] = weight * (rows.nll_weight * smoothed + rows.kd_weight * t * t * kl);
  }
  if (!rows.with_grad) return;

  // Softmax Jacobian, the same for every divergence: d/dz_v = T^2 / T * (slope_v - p_v * sum of slopes).
  const scalar to_nll = weight * rows.nll_weight, to_kd = v ? weight * rows.kd_weight * t : 0;
  group.each(vocab, [&](auto at) {
    const bool shared = v && !tempered;  // p^T is p: one exponential serves both terms
    real grad(0);
    if (v) {
      const real p_t = exp(lp(at));
      grad = (Divergence::slope(lp(at), lq(at)) - p_t * slopes) * to_kd;
      if (shared) grad = grad + p_t * to_nll;
    }
    if (!shared) grad = grad + exp(group.load(z, at, lowest) - z_max - log_z) * to_nll;
    group.store(z, at, grad);
  });
  group.sync();
  if (group.leader()) z[target] -= to_nll * gold_share;
}

}  // namespace distilmt
