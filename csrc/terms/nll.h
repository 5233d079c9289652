// -log p^T(y), smoothed: (1 - C e) nll + e sum over the C unbanned columns of -log p^T.
//
// e = eps / (C - 1), or eps / C in the older definition, where a lone column has nobody to share with; the sum comes in
// closed form from `uniform`, and its share of the gradient leaves with the caller, by `shift`. Source: Szegedy et al.
// 2016 (arXiv:1512.00567); with T > 1 softmax tempering, Dabre & Fujita 2020 (arXiv:2009.09372), whose factor T is part
// of the term's weight.
#pragma once
#include "kernels/linear_kd.h"

namespace distilmt {

template <class Row, class scalar>
DISTILMT_HD scalar measure_nll(Row& row, const KDTerm<scalar>& term) {
  const auto& rows = row.rows;
  const scalar per_t = 1 / term.temperature, scale = row.scale(term) * per_t, nll = -row.log_p(row.target, term.slot);
  scalar gold_share = 1, value = nll;
  if (rows.uniform) {
    const scalar columns = rows.unbanned[0], others = term.b != 0 ? columns : columns - 1;
    const scalar each = others > 0 ? term.a / others : 0, log_sum = row.z_max * per_t + row.log_z[term.slot];
    gold_share = 1 - columns * each;
    value = gold_share * nll + each * (columns * log_sum - (rows.uniform[row.row] + rows.unbanned[1]) * per_t);
    if (row.group.leader()) rows.shift[row.row] = -scale * each;
  }
  row.dense[term.slot] += scale;
  if (row.group.leader()) row.entry(term, 0, row.target, -scale * gold_share);
  return value;
}

}  // namespace distilmt
