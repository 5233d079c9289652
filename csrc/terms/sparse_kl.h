// KL(q || p) with a teacher that is known at K columns alone: saved soft labels, kNN neighbours. Q = sum_K q.
//
//   renormalise   q^S = softmax over K of log q / S      sum_K q (log q - log p)
//   drop          q as it is, uncertain rows count less  sum_K q (log q - log p)
//   rest          "none of them" is one more event       ... + (1 - Q) (log(1 - Q) - log(1 - P)),   P = sum_K p
//
// Sources: renormalise, Tan et al. 2019 (arXiv:1902.10461); drop, the top-k analysis of Zhang et al. 2023
// (arXiv:2305.08096); rest, the exact KL of the two distributions with their tails merged.
#pragma once
#include "kernels/linear_kd.h"

namespace distilmt {

// Whether entry j of the row's teacher is there. An id outside the vocabulary is not, and makes the value NaN.
template <class Row>
DISTILMT_HD bool present(const Row& row, int64_t j) {
  const auto& of = row.rows.sparse;
  const int64_t at = row.row * of.k + j;
  return of.log_probs[at] != row.lowest() && of.ids[at] >= 0 && of.ids[at] < row.vocab;
}

// f() while the known columns are out of the student's logits; the term's totals keep them.
template <class Row, class scalar, class F>
DISTILMT_HD void without_known(const Row& row, const KDTerm<scalar>& term, const F& f) {
  const int64_t* const ids = row.rows.sparse.ids + row.row * row.rows.sparse.k;
  scalar* const kept = row.rows.entry_totals + row.row * row.rows.entries + term.first_entry;
  row.group.sync();
  row.group.each_entry(term.count, [&](int j) {
    if (!present(row, j)) return;
    kept[j] = to_number(row.z[ids[j]]);
    put(row.z + ids[j], row.lowest());
  });
  row.group.sync();
  f();
  row.group.sync();
  row.group.each_entry(term.count, [&](int j) {
    if (present(row, j)) put(row.z + ids[j], kept[j]);
  });
  row.group.sync();
}

template <class Row, class scalar>
DISTILMT_HD scalar measure_sparse_kl(Row& row, const KDTerm<scalar>& term) {
  const auto& group = row.group;
  const int64_t k = term.count;
  const int64_t* ids = row.rows.sparse.ids + row.row * row.rows.sparse.k;
  const scalar* given = row.rows.sparse.log_probs + row.row * row.rows.sparse.k;
  const SparseTail tail = SparseTail(int(term.a));
  const scalar per_t = 1 / term.temperature, per_s = 1 / term.teacher_temperature;

  scalar top = given[0], log_sum = 0;
  if (tail == SparseTail::renormalise) {
    for (int64_t j = 1; j < k; ++j) top = maximum(top, given[j]);
    if (top == row.lowest()) top = 0;  // nothing is known of this row: its value and gradient are 0
    scalar all = 0;
    group.each_entry(k, [&](int j) { all += exp((given[j] - top) * per_s); });
    all = group.total(all);
    log_sum = all > 0 ? log(all) : 0;
  } else {
    top = 0;
  }
  scalar mass = 0, value = 0;
  group.each_entry(k, [&](int j) {
    const scalar lq = (given[j] - top) * per_s - log_sum, q = exp(lq);
    mass += q;
    if (q > 0) value += present(row, j) ? q * (lq - row.log_p(ids[j], term.slot)) : scalar(NAN);
  });
  mass = group.total(mass);
  value = group.total(value);

  const scalar scale = row.scale(term) * per_t;
  scalar left = 0;  // 1 - Q
  if (tail == SparseTail::rest) {
    // 1 - P from the other columns themselves: where P is nearly 1, the difference would have no digit left.
    without_known(row, term, [&] {
      const auto z = [&](auto at) { return row.student_logit(at); };
      const scalar largest = row.largest(z);  // of the others: below the row's own, all might be 0
      const scalar outside = (largest - row.z_max) * per_t + log(row.sum_exp(z, largest, term.temperature)) -
                             row.log_z[term.slot];  // log(1 - P)
      left = outside > row.lowest() ? maximum(1 - mass, scalar(0)) : scalar(0);
      if (left > 0) {
        value += left * (log(left) - outside);
        row.unknown[term.slot] -= scale * left;
        row.outside[term.slot] = outside;
      }
    });
  }
  row.dense[term.slot] += scale * (mass + left);
  group.each_entry(k, [&](int j) {
    const scalar q = exp((given[j] - top) * per_s - log_sum);
    row.entry(term, j, present(row, j) ? ids[j] : -1, -scale * q);
  });
  return value + 0 * mass;  // NaN in the teacher is seen
}

}  // namespace distilmt
