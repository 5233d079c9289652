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

// What the term remembers between its measure and its gradient.
template <class scalar>
struct SparseTerm {
  scalar left = 0, outside = 0;  // 1 - Q, log(1 - P)
};

// Takes the known columns out of the student's logits; the second half of the term's entries keeps them.
template <class Group, class scalar>
DISTILMT_HD void hide_known(const KDRow<Group, scalar>& row, const KDTerm<scalar>& term) {
  const SparseTeacher<scalar>& of = row.rows.sparse;
  row.group.sync();
  row.group.each_entry(term.count, [&](int j) {
    if (of.log_probs[row.row * of.k + j] == row.lowest()) return;
    const int64_t id = of.ids[row.row * of.k + j];
    row.entry(term, term.count + j, id, row.z[id]);
    row.z[id] = row.lowest();
  });
  row.group.sync();
}

template <class Group, class scalar>
DISTILMT_HD void show_known(const KDRow<Group, scalar>& row, const KDTerm<scalar>& term) {
  const SparseTeacher<scalar>& of = row.rows.sparse;
  const int64_t kept = row.row * row.rows.entries + term.first_entry + term.count;
  row.group.sync();
  row.group.each_entry(term.count, [&](int j) {
    if (of.log_probs[row.row * of.k + j] > row.lowest())
      row.z[row.rows.entry_ids[kept + j]] = row.rows.entry_values[kept + j];
  });
  row.group.sync();
}

template <class Group, class scalar>
DISTILMT_HD scalar measure_sparse_kl(KDRow<Group, scalar>& row, const KDTerm<scalar>& term, SparseTerm<scalar>& s) {
  const Group& group = row.group;
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
    if (q > 0) value += q * (lq - row.log_p(ids[j], term.slot));
  });
  mass = group.total(mass);
  value = group.total(value);

  const scalar scale = row.scale(term) * per_t;
  if (tail == SparseTail::rest) {
    // 1 - P from the other columns themselves: where P is nearly 1, the difference would have no digit left.
    hide_known(row, term);
    const scalar largest = row.largest(row.z);  // of the others: below the row's own, all might be 0
    s.outside = (largest - row.z_max) * per_t + row.log_sum(row.z, largest, term.temperature) - row.log_z[term.slot];
    show_known(row, term);
    s.left = largest > row.lowest() ? maximum(1 - mass, scalar(0)) : scalar(0);
    if (s.left > 0) value += s.left * (log(s.left) - s.outside);
  }
  row.dense[term.slot] += scale * (mass + s.left);
  group.each_entry(k, [&](int j) {
    const scalar q = exp((given[j] - top) * per_s - log_sum);
    row.entry(term, j, q > 0 ? ids[j] : row.target, -scale * q);
  });
  return value + 0 * mass;  // NaN in the teacher is seen
}

// The rest's share of the gradient, -(1 - Q) p / (1 - P) in the columns outside K: added to `more`, or stored there.
template <class Group, class scalar>
DISTILMT_HD void add_rest_slope(const KDRow<Group, scalar>& row, const KDTerm<scalar>& term,
                                const SparseTerm<scalar>& s, scalar* more, bool stored) {
  using real = typename Group::real;
  const scalar per_t = 1 / term.temperature, scale = -row.scale(term) * per_t * s.left;
  const scalar shift = row.log_z[term.slot] + s.outside;
  hide_known(row, term);
  row.group.each(row.vocab, [&](auto at) {
    real x = exp((row.group.load(row.z, at, row.lowest()) - row.z_max) * per_t - shift) * scale;
    if (stored) x = x + row.group.load(more, at, scalar(0));
    row.group.store(more, at, x);
  });
  show_known(row, term);
}

}  // namespace distilmt
