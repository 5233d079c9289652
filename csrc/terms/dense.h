// Terms that compare the student with a dense teacher, column by column.
//
// For a divergence, sum over columns of term(lp, lq), the softmax Jacobian gives the gradient of all alike:
//   d / d z_v = (slope_v - p_v sum slope) / T        slope = p * d(term)/dp
// The first part is this file's `slope(at)`; the second goes to the row's multiples of p^T.
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
  const scalar* logits = nullptr;  // null: the term has no slope in this row
  scalar v_max, log_v;
  scalar a;           // adaptive_kl: its share of forward KL; logit_mse: the mean difference
  scalar per_column;  // logit_mse: 2 / unbanned columns
};

// Share of |p - q| that lies in the teacher's head: its most likely columns, as many as have a mass of at most
// `mass`, and at least the first. Columns of equal probability are in it together.
// Source: Wu et al. 2024 (AKL, arXiv:2404.02657), section 4; they break ties by the sort.
template <class Group, class scalar>
DISTILMT_HD scalar head_share(const KDRow<Group, scalar>& row, const KDTerm<scalar>& term, const DenseTerm<scalar>& s) {
  using real = typename Group::real;
  const Group& group = row.group;
  const scalar per_t = 1 / term.temperature, per_s = 1 / term.teacher_temperature, mass = term.a;
  const auto v = [&](auto at) { return (group.load(s.logits, at, row.lowest()) - s.v_max) * per_s; };
  const auto mass_above = [&](scalar bound) {
    real all(0);
    group.each(row.vocab, [&](auto at) { all = all + at_least(v(at), real(bound)) * exp(v(at) - s.log_v); });
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
    const real lp = (group.load(row.z, at, row.lowest()) - row.z_max) * per_t - row.log_z[term.slot];
    const real gap = absolute(exp(lp) - exp(v(at) - s.log_v));
    all = all + gap;
    head = head + at_least(v(at), real(above)) * gap;
  });
  const scalar whole = group.sum(all), first = group.sum(head);
  return whole > 0 ? first / whole : scalar(0.5);
}

// f(divergence) with the divergence of a term.
template <class scalar, class F>
DISTILMT_HD void with_divergence(const KDTerm<scalar>& term, const DenseTerm<scalar>& state, const F& f) {
  switch (term.kind) {
    case TermKind::forward_kl: return f(ForwardKL{});
    case TermKind::reverse_kl: return f(ReverseKL{});
    case TermKind::jensen_shannon: return f(JensenShannon<scalar>{term.a, term.b});
    case TermKind::skew_kl: return f(SkewKL<scalar>{term.a});
    case TermKind::skew_reverse_kl: return f(SkewReverseKL<scalar>{term.a});
    case TermKind::total_variation: return f(TotalVariation{});
    case TermKind::adaptive_kl: return f(AdaptiveKL<scalar>{state.a});
    default: return f(CrossEntropy{});  // cross_entropy, top1_to_gold
  }
}

template <class Group, class scalar>
DISTILMT_HD auto log_probs(const KDRow<Group, scalar>& row, const KDTerm<scalar>& term, const DenseTerm<scalar>& s) {
  const scalar per_t = 1 / term.temperature, per_s = 1 / term.teacher_temperature;
  const scalar log_z = row.log_z[term.slot], z_max = row.z_max, v_max = s.v_max, log_v = s.log_v;
  const Group& group = row.group;
  const scalar *z = row.z, *v = s.logits;
  return [=, &group](auto at, auto f) {
    return f((group.load(z, at, scalar(-HUGE_VAL)) - z_max) * per_t - log_z,
             (group.load(v, at, scalar(-HUGE_VAL)) - v_max) * per_s - log_v);
  };
}

// z - a v where neither side bans the column, else 0; and whether it is so.
template <class Group, class scalar, class At>
DISTILMT_HD auto logit_gap(const KDRow<Group, scalar>& row, const KDTerm<scalar>& term, const DenseTerm<scalar>& s,
                           At at, scalar mean) {
  const auto z = row.group.load(row.z, at, row.lowest()), v = row.group.load(s.logits, at, row.lowest());
  return weigh(possible(z) * possible(v), z - v * term.a - mean);
}

template <class Group, class scalar>
DISTILMT_HD scalar measure_logit_mse(KDRow<Group, scalar>& row, const KDTerm<scalar>& term, DenseTerm<scalar>& s) {
  using real = typename Group::real;
  const Group& group = row.group;
  real columns(0), gaps(0);
  group.each(row.vocab, [&](auto at) {
    columns =
        columns + possible(group.load(row.z, at, row.lowest())) * possible(group.load(s.logits, at, row.lowest()));
    gaps = gaps + logit_gap(row, term, s, at, scalar(0));
  });
  const scalar count = group.sum(columns), sum = group.sum(gaps);
  s.a = term.b != 0 ? sum / count : 0;
  s.per_column = 2 / count;
  real squares(0);
  group.each(row.vocab, [&](auto at) {
    const real gap = logit_gap(row, term, s, at, s.a);
    squares = squares + gap * gap;
  });
  return group.sum(squares) / count;
}

template <class Group, class scalar>
DISTILMT_HD scalar measure_dense(KDRow<Group, scalar>& row, const KDTerm<scalar>& term, DenseTerm<scalar>& s) {
  using real = typename Group::real;
  const Group& group = row.group;
  s.logits = row.teacher(term.teacher);
  s.v_max = row.v_max[term.teacher];
  if (term.kind == TermKind::logit_mse) return measure_logit_mse(row, term, s);
  s.log_v = row.log_sum(s.logits, s.v_max, term.teacher_temperature);
  if (term.kind == TermKind::adaptive_kl) s.a = head_share(row, term, s);
  const auto both = log_probs(row, term, s);
  real terms(0), slopes(0);
  with_divergence(term, s, [&](auto divergence) {
    group.each(row.vocab, [&](auto at) {
      both(at, [&](auto lp, auto lq) {
        terms = terms + divergence.term(lp, lq);
        slopes = slopes + divergence.slope(lp, lq);
      });
    });
  });
  row.dense[term.slot] -= row.scale(term) / term.temperature * group.sum(slopes);
  return group.sum(terms);
}

// f(slope) with slope(at), the column's own part of the gradient.
template <class Group, class scalar, class F>
DISTILMT_HD void with_slope(const KDRow<Group, scalar>& row, const KDTerm<scalar>& term, const DenseTerm<scalar>& s,
                            const F& f) {
  if (term.kind == TermKind::logit_mse) {
    const scalar scale = row.scale(term) * s.per_column;
    return f([&, scale](auto at) { return logit_gap(row, term, s, at, s.a) * scale; });
  }
  const scalar scale = row.scale(term) / term.temperature;
  const auto both = log_probs(row, term, s);
  with_divergence(term, s, [&](auto divergence) {
    f([=](auto at) { return both(at, [=](auto lp, auto lq) { return divergence.slope(lp, lq) * scale; }); });
  });
}

}  // namespace distilmt
