// Terms that know the teacher's top token alone, or everything but it.
//
// top1: -w log p(t_1), w = 1 or q(t_1). top1_to_gold: cross-entropy with the teacher whose mass of t_1 stands on the
// target instead; added to the cross-entropy of dense.h.
// Source: the analyses of Zhang et al. 2023 (TIE-KD, arXiv:2305.08096), section 3.
#pragma once
#include "terms/dense.h"

namespace distilmt {

template <class Row>
DISTILMT_HD int64_t teachers_top(const Row& row, int t) {
  const auto* const v = row.teacher(t);
  int64_t top;
  row.group.tops([&](auto at) { return row.teacher_logit(v, t, at); }, row.vocab, 1, &top);
  return top;
}

template <class Row, class scalar>
DISTILMT_HD scalar measure_top1(Row& row, const KDTerm<scalar>& term, int k) {
  const int64_t top = teachers_top(row, term.teacher);
  const scalar log_v = log(row.total[k]), share = term.a != 0 ? exp(-log_v) : scalar(1);
  const scalar scale = row.scale(term) * share / term.temperature;
  row.dense[term.slot] += scale;
  if (row.group.leader()) row.entry(term, 0, top, -scale);
  return weigh(share, -row.log_p(top, term.slot)) + 0 * log_v;  // NaN anywhere in the teacher is seen
}

template <class Row, class scalar>
DISTILMT_HD scalar move_top1_to_gold(Row& row, const KDTerm<scalar>& term, const DenseTerm<scalar>& s) {
  const int64_t top = teachers_top(row, term.teacher);
  const scalar mass = exp(-s.log_v), scale = row.scale(term) * mass / term.temperature;
  if (row.group.leader()) {
    row.entry(term, 0, top, scale);
    row.entry(term, 1, row.target, -scale);
  }
  return top == row.target ? 0 : mass * (row.log_p(top, term.slot) - row.log_p(row.target, term.slot));
}

}  // namespace distilmt
