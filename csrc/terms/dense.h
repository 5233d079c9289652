// Terms that compare the student with a dense teacher, column by column.
//
// For a divergence, sum over columns of term(lp, lq), the softmax Jacobian gives the gradient of all alike:
//   d / d z_v = (slope_v - p_v sum slope) / T        slope = p * d(term)/dp
// The first part is this file's `slope`; the second goes to the row's multiples of p^T. Divergences that are means have
// been added up by the one reading (KDRow::read); all others read the logits again, now that their normalisers are
// known.
//
// logit_mse compares logits: mean over the vocabulary of (z - a v)^2, or of the centred difference. No temperature, no
// softmax. Columns that either side bans (-inf) are left out. Source: Jafari et al. 2021 (Annealing KD,
// arXiv:2104.07163), equation 3; centring because logits are defined up to a shift.
#pragma once
#include "divergences/adaptive_kl.h"
#include "divergences/cross_entropy.h"
#include "divergences/forward_kl.h"
#include "divergences/jensen_shannon.h"
#include "divergences/reverse_kl.h"
#include "divergences/skew_kl.h"
#include "divergences/skew_reverse_kl.h"
#include "divergences/total_variation.h"
#include "kernels/linear_kd.h"

namespace distilmt {

// What a dense term remembers between its measure and its slope.
template <class scalar>
struct DenseTerm {
  scalar log_v;
  scalar a;      // adaptive_kl: its share of forward KL; logit_mse: the mean difference
  scalar scale;  // of the slope
};

// log q^S of a row.
template <class Row>
DISTILMT_HD auto log_q(const Row& row, const KDTerm<typename Row::scalar>& term, typename Row::scalar log_v) {
  const auto* const v = row.teacher(term.teacher);
  const typename Row::scalar per_s = 1 / term.teacher_temperature, v_max = row.v_max[term.teacher];
  return [=, &row](auto at) { return (row.teacher_logit(v, term.teacher, at) - v_max) * per_s - log_v; };
}

template <class Row>
DISTILMT_HD auto log_p(const Row& row, const KDTerm<typename Row::scalar>& term) {
  const typename Row::scalar per_t = 1 / term.temperature, z_max = row.z_max, log_z = row.log_z[term.slot];
  return [=, &row](auto at) { return (row.student_logit(at) - z_max) * per_t - log_z; };
}

// Share of |p - q| that lies in the teacher's head: its most likely columns, as many as have a mass of at most
// `mass`, and at least the first. Columns of equal probability are in it together.
// Source: Wu et al. 2024 (AKL, arXiv:2404.02657), section 4; they break ties by the sort.
template <class Row, class scalar>
DISTILMT_HD scalar head_share(const Row& row, const KDTerm<scalar>& term, scalar log_v) {
  using real = typename Row::real;
  const auto& group = row.group;
  const auto lp = log_p(row, term);
  const auto v = log_q(row, term, scalar(0));  // less its largest
  const scalar mass = term.a;
  const auto mass_above = [&](scalar bound) {
    real all(0);
    group.each(row.vocab, [&](auto at) {
      const real x = v(at);
      all = all + at_least(x, real(bound)) * exp(x - log_v);
    });
    return group.sum(all);
  };
  const bool single = sizeof(scalar) == 4;
  scalar above = 0, below = single ? -88 : -700;  // the head begins between: mass(above) fits, or is the first alone
  if (mass_above(below) <= mass) above = below;
  for (int i = 0; i < (single ? 32 : 60) && above > below; ++i) {
    const scalar middle = (above + below) / 2;
    (mass_above(middle) <= mass ? above : below) = middle;
  }
  real head(0), all(0);
  group.each(row.vocab, [&](auto at) {
    const real x = v(at), gap = absolute(exp(lp(at)) - exp(x - log_v));
    all = all + gap;
    head = head + at_least(x, real(above)) * gap;
  });
  const scalar whole = group.sum(all), first = group.sum(head);
  return whole > 0 ? first / whole : scalar(0.5);
}

// f(divergence) with the divergence of a term that is no mean.
template <class scalar, class F>
DISTILMT_HD void with_nonlinear(const KDTerm<scalar>& term, scalar share, const F& f) {
  switch (term.kind) {
    case TermKind::jensen_shannon: return f(JensenShannon<scalar>{term.a, term.b});
    case TermKind::skew_kl: return f(SkewKL<scalar>{term.a});
    case TermKind::skew_reverse_kl: return f(SkewReverseKL<scalar>{term.a});
    case TermKind::total_variation: return f(TotalVariation{});
    default: return f(AdaptiveKL<scalar>{share});
  }
}

// The divergence as a mean, where it is one.
DISTILMT_HD constexpr bool is_mean(TermKind kind) {
  return kind == TermKind::forward_kl || kind == TermKind::reverse_kl || kind == TermKind::cross_entropy ||
         kind == TermKind::top1_to_gold;
}
DISTILMT_HD constexpr Mean mean_of(TermKind kind) {
  return kind == TermKind::forward_kl   ? ForwardKL::mean()
         : kind == TermKind::reverse_kl ? ReverseKL::mean()
                                        : CrossEntropy::mean();
}

// What KDRow::read adds up for a term, from its other fields.
template <class scalar>
DISTILMT_HD Moment<scalar> moment_of(const KDTerm<scalar>& term) {
  using Of = Moment<scalar>;
  const scalar per_t = 1 / term.temperature, per_s = 1 / term.teacher_temperature;
  if (term.kind == TermKind::logit_mse) return {Of::columns, per_t, per_s, 0, 0};
  if (!is_mean(term.kind)) return {Of::none, per_t, per_s, 0, 0};
  const Mean mean = mean_of(term.kind);
  return {mean.teacher ? Of::teacher : Of::student, per_t, per_s, mean.of_p * per_t, mean.of_q * per_s};
}

// z - a v where neither side bans the column, else 0.
template <class real, class scalar>
DISTILMT_HD real logit_gap(real z, real v, const KDTerm<scalar>& term, scalar mean) {
  return weigh(possible(z) * possible(v), z - v * term.a - mean);
}

// sum of squares / C over the C unbanned columns: read once, or where centred again with the mean.
template <class Row, class scalar>
DISTILMT_HD scalar measure_logit_mse(Row& row, const KDTerm<scalar>& term, int k, DenseTerm<scalar>& s) {
  using real = typename Row::real;
  s.scale = row.scale(term) * 2 / row.total[k];
  s.a = 0;
  if (term.b == 0) return row.mean[k] / row.total[k];
  s.a = row.mean[k] / row.total[k];
  const auto* const v = row.teacher(term.teacher);
  real squares(0);
  row.group.each(row.vocab, [&](auto at) {
    const real gap = logit_gap(row.student_logit(at), row.teacher_logit(v, term.teacher, at), term, s.a);
    squares = squares + gap * gap;
  });
  return row.group.sum(squares) / row.total[k];
}

// Value of a term with slopes; k: its place among the dense ones.
template <class Row, class scalar>
DISTILMT_HD scalar measure_dense(Row& row, const KDTerm<scalar>& term, int k, DenseTerm<scalar>& s) {
  using real = typename Row::real;
  if (term.kind == TermKind::logit_mse) return measure_logit_mse(row, term, k, s);
  s.log_v = log(row.total[k]);
  s.scale = row.scale(term) / term.temperature;
  scalar value, slopes;  // sums over the columns
  if (is_mean(term.kind)) {
    const Mean mean = mean_of(term.kind);
    value = row.mean[k] / (mean.teacher ? row.total[k] : row.total_z[term.slot]) - mean.of_p * row.log_z[term.slot] -
            mean.of_q * s.log_v;
    slopes = mean.teacher ? scalar(-1) : value;
  } else {
    if (term.kind == TermKind::adaptive_kl) s.a = head_share(row, term, s.log_v);
    const auto lp = log_p(row, term);
    const auto lq = log_q(row, term, s.log_v);
    real terms(0), all(0);
    with_nonlinear(term, s.a, [&](auto divergence) {
      row.group.each(row.vocab, [&](auto at) {
        const real p = lp(at), q = lq(at);
        terms = terms + divergence.term(p, q);
        all = all + divergence.slope(p, q);
      });
    });
    value = row.group.sum(terms);
    slopes = row.group.sum(all);
  }
  row.dense[term.slot] -= s.scale * slopes;
  return value;
}

// A column's own part of the gradient, from its logits less the largest ones. A copy of all it needs, so that a loop
// that writes logits keeps it in registers.
template <class scalar>
struct Slope {
  KDTerm<scalar> term;
  DenseTerm<scalar> state;
  scalar log_z, z_max, v_max;

  // Means under the teacher all have forward KL's. In line: a call would cost the loop its registers.
  template <class real>
  DISTILMT_HD real operator()(real x, real y) const {
    if (term.moment.weight != Moment<scalar>::teacher) return of_others(x, y);
    return ForwardKL{}.slope(x, y * term.moment.per_s - state.log_v) * state.scale;
  }

 private:
  template <class real>
  DISTILMT_HD real of_others(real x, real y) const {
    if (term.kind == TermKind::logit_mse) return logit_gap(x + z_max, y + v_max, term, state.a) * state.scale;
    const real lp = x * term.moment.per_t - log_z, lq = y * term.moment.per_s - state.log_v;
    real slope(0);
    const auto take = [&](auto divergence) { slope = divergence.slope(lp, lq); };
    term.kind == TermKind::reverse_kl ? take(ReverseKL{}) : with_nonlinear(term, state.a, take);
    return slope * state.scale;
  }
};

}  // namespace distilmt
