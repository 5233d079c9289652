// One row of linear_kd.h, once for both devices. A Group is what works on a row together: a CPU thread with a vector of
// columns at a time, or the threads of a CUDA block. It offers
//
//   real                     what a member holds of one array: a vector on the CPU, one number on a GPU
//   each(vocab, f)           f(at) for this member's share of the columns: the same share in every pass
//   load(p, at, fill)        the entries `at` of p; `fill` where a vector hangs over the end of the row
//   store(p, at, x)
//   largest(x), sum(x)       over all members; everybody gets the result, and sees what others stored before
//   each_entry(k, f)         f(j) for this member's share of 0 .. k - 1, one number at a time
//   total(x)                 sum over members of one number each
//   next_top(p, vocab, top)  the entry of p that follows `top` in order of value (larger first), then id (lower first);
//                            of NaN alone: id 0 and NaN
//   leader()                 true for one member
//   sync()                   waits until all members have come here
//
// The terms (csrc/terms) measure themselves first, while z holds logits; each adds its share of the gradient as
// multiples of p^T (`dense`), as entries in single columns, or, with a dense teacher, as a slope column by column. Then
// one last pass writes the gradient over the logits. The row is small enough to stay in a cache near.
#pragma once
#include "divergences/scalar.h"
#include "kernels/linear_kd.h"

namespace distilmt {

template <class scalar>
struct Top {
  scalar value = HUGE_VAL;
  int64_t id = -1;
};

template <class Group, class scalar>
struct KDRow {
  using real = typename Group::real;

  const Group& group;
  const LinearKDRows<scalar>& rows;
  const int64_t row, vocab, target;
  const bool chosen;
  const scalar weight;
  scalar* const z;
  scalar z_max, log_z[kMaxTemperatures];  // largest logit; log of sum exp((z - z_max) / T)
  scalar v_max[kMaxTeachers];
  scalar dense[kMaxTemperatures] = {};  // the gradient's multiple of p^T

  DISTILMT_HD KDRow(const Group& group, const LinearKDRows<scalar>& rows, int64_t row)
      : group(group),
        rows(rows),
        row(row),
        vocab(rows.vocab),
        target(rows.targets[row]),
        chosen(!rows.chosen || rows.chosen[row]),
        weight(rows.row_weights[row]),
        z(rows.student + row * rows.vocab) {
    z_max = add_bias(z, rows.bias);
    for (int t = 0; t < kMaxTeachers; ++t)
      if (scalar* v = teacher(t)) v_max[t] = add_bias(v, rows.teachers[t].bias);
    for (int s = 0; s < rows.temperature_count; ++s) log_z[s] = log_sum(z, z_max, rows.temperatures[s]);
  }

  // Logits of a dense teacher for this row, or null.
  DISTILMT_HD scalar* teacher(int t) const {
    const KDTeacher<scalar>& of = rows.teachers[t];
    if (!of.logits) return nullptr;
    const int64_t its = of.index ? of.index[row] : row;
    return its < 0 ? nullptr : of.logits + its * vocab;
  }

  DISTILMT_HD bool looks(const KDTerm<scalar>& term) const { return !term.gated || chosen; }

  DISTILMT_HD static constexpr scalar lowest() { return scalar(-HUGE_VAL); }

  // Largest logits are subtracted before anything else: logits of +-1e4 lose nothing, and no exponent is above 0.
  DISTILMT_HD scalar log_sum(const scalar* logits, scalar largest, scalar temperature) const {
    const scalar per_t = 1 / temperature;
    real all(0);
    group.each(vocab, [&](auto at) { all = all + exp((group.load(logits, at, lowest()) - largest) * per_t); });
    return log(group.sum(all));
  }

  DISTILMT_HD scalar largest(const scalar* logits) const {
    real top(lowest());
    group.each(vocab, [&](auto at) { top = maximum(top, group.load(logits, at, lowest())); });
    return group.largest(top);
  }

  DISTILMT_HD scalar log_p(int64_t id, int slot) const {
    return (z[id] - z_max) / rows.temperatures[slot] - log_z[slot];
  }

  // d loss / d value of a term; its share of the gradient is this times d value / d z.
  DISTILMT_HD scalar scale(const KDTerm<scalar>& term) const { return weight * term.weight; }

  DISTILMT_HD void entry(const KDTerm<scalar>& term, int j, int64_t id, scalar value) const {
    const int64_t at = row * rows.entries + term.first_entry + j;
    rows.entry_ids[at] = id;
    rows.entry_values[at] = value;
  }

 private:
  // Added once, in place: whoever stores a column is the one who reads it later.
  DISTILMT_HD scalar add_bias(scalar* logits, const scalar* bias) const {
    real top(lowest());
    group.each(vocab, [&](auto at) {
      real x = group.load(logits, at, lowest());
      if (bias) {
        x = x + group.load(bias, at, scalar(0));
        group.store(logits, at, x);
      }
      top = maximum(top, x);
    });
    return group.largest(top);
  }
};

}  // namespace distilmt

#include "terms/dense.h"
#include "terms/nll.h"
#include "terms/ranking.h"
#include "terms/sparse_kl.h"
#include "terms/top1.h"

namespace distilmt {

template <class scalar>
struct TermState {
  DenseTerm<scalar> dense;
  SparseTerm<scalar> sparse;
};

// The term's value; its multiples of p^T and its entries are noted.
template <class Group, class scalar>
DISTILMT_HD scalar measure(KDRow<Group, scalar>& row, const KDTerm<scalar>& term, TermState<scalar>& state) {
  switch (term.kind) {
    case TermKind::nll: return measure_nll(row, term);
    case TermKind::top1: return measure_top1(row, term);
    case TermKind::ranking: return measure_ranking(row, term);
    case TermKind::sparse_kl: return measure_sparse_kl(row, term, state.sparse);
    case TermKind::top1_to_gold:
      return measure_dense(row, term, state.dense) + move_top1_to_gold(row, term, state.dense);
    default: return measure_dense(row, term, state.dense);
  }
}

template <class Group, class scalar>
DISTILMT_HD void write_gradient(KDRow<Group, scalar>& row, const TermState<scalar>* states) {
  using real = typename Group::real;
  const auto& rows = row.rows;
  const Group& group = row.group;
  scalar* const more = rows.dense_gradient ? rows.dense_gradient + row.row * row.vocab : nullptr;
  int last = -1;
  bool summed = false;
  for (int i = 0; i < rows.term_count; ++i) {
    if (states[i].sparse.left > 0) {
      add_rest_slope(row, rows.terms[i], states[i].sparse, more, summed);
      summed = true;
    }
    if (!states[i].dense.logits) continue;
    if (last >= 0) {
      with_slope(row, rows.terms[last], states[last].dense, [&](auto slope) {
        group.each(row.vocab, [&](auto at) {
          real x = slope(at);
          if (summed) x = x + group.load(more, at, scalar(0));
          group.store(more, at, x);
        });
      });
      summed = true;
    }
    last = i;
  }
  bool tempered = false;
  for (int s = 1; s < rows.temperature_count; ++s) tempered = tempered || row.dense[s] != 0;
  const auto softmax = [&](real x, int s) { return exp(x * (1 / rows.temperatures[s]) - row.log_z[s]) * row.dense[s]; };
  const auto finish = [&](auto slope) {
    group.sync();  // others may still read logits for their terms
    group.each(row.vocab, [&](auto at) {
      real grad = slope(at);
      if (summed) grad = grad + group.load(more, at, scalar(0));
      const real x = group.load(row.z, at, row.lowest()) - row.z_max;
      grad = grad + exp(x - row.log_z[0]) * row.dense[0];
      if (tempered)
        for (int s = 1; s < rows.temperature_count; ++s) grad = grad + softmax(x, s);
      group.store(row.z, at, grad);
    });
  };
  if (last >= 0)
    with_slope(row, rows.terms[last], states[last].dense, finish);
  else
    finish([](auto) { return real(0); });
  group.sync();
  if (!group.leader()) return;
  for (int i = 0; i < rows.term_count; ++i) {
    if (!row.looks(rows.terms[i])) continue;
    const int64_t begin = row.row * rows.entries + rows.terms[i].first_entry;
    for (int64_t j = begin; j < begin + gradient_entries(rows.terms[i]); ++j)
      row.z[rows.entry_ids[j]] += rows.entry_values[j];
  }
}

template <class Group, class scalar>
DISTILMT_HD void linear_kd_row(const Group& group, const LinearKDRows<scalar>& rows, int64_t at) {
  using real = typename Group::real;
  KDRow<Group, scalar> row(group, rows, at);
  TermState<scalar> states[kMaxTerms];
  const scalar nll = -row.log_p(row.target, 0);
  scalar loss = 0;
  for (int i = 0; i < rows.term_count; ++i) {
    const bool looks = row.looks(rows.terms[i]);
    const scalar value = looks ? measure(row, rows.terms[i], states[i]) : scalar(0);
    loss += weigh(rows.terms[i].weight, value);
    if (group.leader()) rows.values[i * rows.value_stride + at] = value;
  }
  if (const scalar* v = row.teacher(0)) {  // both largest logits in one column: the two distances add up to 0
    real nearest(row.lowest());
    group.each(row.vocab, [&](auto c) {
      nearest = maximum(
          nearest, group.load(row.z, c, row.lowest()) - row.z_max + (group.load(v, c, row.lowest()) - row.v_max[0]));
    });
    const scalar agrees = group.largest(nearest) == 0;
    if (group.leader()) rows.agreement[at] = agrees;
  } else if (group.leader()) {
    rows.agreement[at] = 0;
  }
  if (group.leader()) {
    rows.nll[at] = nll;
    rows.loss[at] = weigh(row.weight, loss);
  }
  if (rows.with_grad) write_gradient(row, states);
}

}  // namespace distilmt
