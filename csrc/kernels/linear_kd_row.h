// One row of linear_kd.h, once for both devices; Group as in linear_kd_reading.h.
//
// The terms (csrc/terms) measure themselves first, while z holds logits; each adds its share of the gradient as
// multiples of p^T (`dense`), as entries in single columns, or, with a dense teacher, as a slope column by column. Then
// one last pass writes the gradient over the logits, rounded once.
#pragma once
#include "kernels/linear_kd_reading.h"
#include "terms/dense.h"
#include "terms/nll.h"
#include "terms/ranking.h"
#include "terms/sparse_kl.h"
#include "terms/top1.h"

namespace distilmt {

// The term's value; its multiples of p^T and its entries are noted. k: its place among the dense terms.
template <class Row, class Term, class State>
DISTILMT_HD auto measure(Row& row, const Term& term, int k, State* states) {
  switch (term.kind) {
    case TermKind::nll: return measure_nll(row, term);
    case TermKind::top1: return measure_top1(row, term, k);
    case TermKind::ranking: return measure_ranking(row, term, k);
    case TermKind::sparse_kl: return measure_sparse_kl(row, term);
    case TermKind::top1_to_gold:
      return measure_dense(row, term, k, states[k]) + move_top1_to_gold(row, term, states[k]);
    default: return measure_dense(row, term, k, states[k]);
  }
}

// d loss / d z over the logits.
template <class Row, class State>
DISTILMT_HD void write_gradient(const Row& row, const State* states) {
  using scalar = typename Row::scalar;
  using real = typename Row::real;
  const auto& rows = row.rows;
  const auto& group = row.group;
  const auto* const v0 = row.teacher(0);
  const auto* const v1 = row.teacher(1);
  Slope<scalar> slopes[Row::kDense];
  row.each_dense(row.slopes, [&](int k, const KDTerm<scalar>& term) {
    slopes[k] = {term, states[k], row.log_z[term.slot], row.z_max, row.v_max[term.teacher]};
  });
  struct Softmax {
    scalar per_t, log_z, dense, unknown, log_others;  // shares of p^T, and in the columns outside K of p^T / (1 - P)
  } softmax[kMaxTemperatures];
  int slots = 1;
  bool rest = false;
  for (int s = 0; s < rows.temperature_count; ++s) {
    softmax[s] = {1 / rows.temperatures[s], row.log_z[s], row.dense[s], row.unknown[s], row.log_z[s] + row.outside[s]};
    if (row.dense[s] != 0) slots = s + 1;
    rest = rest || row.unknown[s] != 0;
  }
  const int temperatures = rows.temperature_count;
  const uint32_t sloped = row.slopes;
  const scalar z_max = row.z_max, v0_max = row.v_max[0], v1_max = row.v_max[1];
  // d loss / d z without entries.
  const auto gradient = [&](auto at, bool known) {
    const real x = row.student_logit(at) - z_max;
    real grad(0);
    row.each_dense(sloped, [&](int k, const KDTerm<scalar>&) {
      const Slope<scalar>& slope = slopes[k];
      grad = grad + slope(x, slope.term.teacher ? row.teacher_logit(v1, 1, at) - v1_max
                                                : row.teacher_logit(v0, 0, at) - v0_max);
    });
    grad = grad + exp(x - softmax[0].log_z) * softmax[0].dense;
    DISTILMT_UNROLL
    for (int s = 1; s < kMaxTemperatures; ++s) {
      if (s >= slots) break;
      grad = grad + exp(x * softmax[s].per_t - softmax[s].log_z) * softmax[s].dense;
    }
    if (rest && !known)
      for (int s = 0; s < temperatures; ++s)
        grad = grad + exp(x * softmax[s].per_t - softmax[s].log_others) * softmax[s].unknown;
    return grad;
  };

  // Columns with entries are summed before they are rounded: their sum of all is in entry_totals of each.
  const int64_t entries = row.row * rows.entries;
  const int64_t* const ids = rows.entry_ids + entries;
  group.sync();
  group.each_entry(rows.entries, [&](int j) {
    if (ids[j] < 0) return;
    bool known = false;
    scalar sum = 0;
    for (int i = 0; i < rows.term_count; ++i)
      for (int other = rows.terms[i].first_entry; other < rows.terms[i].first_entry + gradient_entries(rows.terms[i]);
           ++other)
        if (ids[other] == ids[j]) {
          known = known || has_rest(rows.terms[i]);
          sum += rows.entry_values[entries + other];
        }
    rows.entry_totals[entries + j] = group.first(gradient(group.column(ids[j]), known)) + sum;
  });
  group.sync();
  group.each(row.vocab, [&](auto at) { group.store(row.z, at, gradient(at, false)); });
  group.sync();
  if (!group.leader()) return;
  for (int64_t j = 0; j < rows.entries; ++j)
    if (ids[j] >= 0) put(row.z + ids[j], rows.entry_totals[entries + j]);
}

// A row that is no target, or has a target that cannot be: `what` in its loss and gradient.
template <class Row>
DISTILMT_HD void write_nothing(const Row& row, typename Row::scalar what) {
  const auto& rows = row.rows;
  const auto& group = row.group;
  if (rows.with_grad) group.each(row.vocab, [&](auto at) { group.store(row.z, at, typename Row::real(what)); });
  if (!group.leader()) return;
  for (int i = 0; i < rows.term_count; ++i) rows.values[i * rows.value_stride + row.row] = 0;
  rows.agreement[row.row] = rows.looked[row.row] = 0;
  rows.nll[row.row] = rows.loss[row.row] = what;
  if (rows.uniform) rows.shift[row.row] = 0;
}

template <int kDense, class Group, class scalar, class storage>
DISTILMT_HD void linear_kd_row(const Group& group, const LinearKDRows<scalar, storage>& rows, int64_t at) {
  KDRow<Group, scalar, storage, kDense> row(group, rows, at);
  if (row.target == kNoTarget) return write_nothing(row, scalar(0));
  if (row.target < 0 || row.target >= row.vocab) return write_nothing(row, scalar(NAN));
  row.read();
  group.each_entry(rows.entries, [&](int j) { rows.entry_ids[at * rows.entries + j] = -1; });
  if (rows.uniform && group.leader()) rows.shift[at] = 0;
  group.sync();
  DenseTerm<scalar> states[kDense];
  const scalar nll = -row.log_p(row.target, 0);
  scalar loss = rows.scores && rows.scores[at] != rows.scores[at] ? scalar(NAN) : scalar(0);
  for (int i = 0; i < rows.term_count; ++i) {
    const bool looks = row.looks(rows.terms[i]);
    const scalar value = looks ? measure(row, rows.terms[i], kDense == 1 ? 0 : i, states) : scalar(0);
    loss += weigh(rows.terms[i].weight, value);
    if (group.leader()) rows.values[i * rows.value_stride + at] = value;
  }
  if (group.leader()) {
    rows.agreement[at] = row.agrees;
    rows.looked[at] = row.chosen;
    rows.nll[at] = nll;
    rows.loss[at] = weigh(row.weight, loss);
  }
  if (rows.with_grad) write_gradient(row, states);
}

// How many terms have a dense teacher, as kDense wants it.
template <class scalar, class storage>
bool many_dense(const LinearKDRows<scalar, storage>& rows) {
  int count = 0;
  for (int i = 0; i < rows.term_count; ++i) count += has_dense_teacher(rows.terms[i]);
  return count > 1;
}

}  // namespace distilmt
