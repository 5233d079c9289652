// -log p^T(y), smoothed: (1 - C e) nll + e sum over the C unbanned columns of -log p^T.
//
// e = eps / (C - 1), or eps / C in the older definition; the sum comes in closed form from `uniform`, and its share of
// the gradient leaves with the caller. Source: Szegedy et al. 2016 (arXiv:1512.00567); with T > 1 softmax tempering,
// Dabre & Fujita 2020 (arXiv:2009.09372), whose factor T is part of the term's weight.
#pragma once
#include "kernels/linear_kd.h"

namespace distilmt {

template <class Group, class scalar>
DISTILMT_HD scalar measure_nll(KDRow<Group, scalar>& row, const KDTerm<scalar>& term) {
  const auto& rows = row.rows;
  const scalar per_t = 1 / term.temperature, each = term.a, gold_share = 1 - rows.unbanned * each;
  const scalar scale = row.scale(term) * per_t;
  row.dense[term.slot] += scale;
  if (row.group.leader()) row.entry(term, 0, row.target, -scale * gold_share);
  const scalar nll = -row.log_p(row.target, term.slot);
  if (!rows.uniform) return nll;
  const scalar log_sum = row.z_max * per_t + row.log_z[term.slot];
  return gold_share * nll + each * (rows.unbanned * log_sum - (rows.uniform[row.row] + rows.uniform_bias) * per_t);
}

}  // namespace distilmt
