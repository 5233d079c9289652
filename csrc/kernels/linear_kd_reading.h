// What terms know of a row of linear_kd.h, and the one reading of its logits, once for both devices. A Group is what
// works on a row together: a CPU thread with a vector of columns at a time, or the threads of a CUDA block. It offers
//
//   real                     what a member holds of one array: a vector on the CPU, one number on a GPU
//   kOnline                  whether the largest logits are found on the way, not in a pass of their own
//   each(vocab, f)           f(at) for this member's share of the columns: the same share in every pass
//   column(id)               `at` of a single column; first(x): the number that a real then holds
//   load(p, at, fill)        the entries `at` of p; `fill` where a vector hangs over the end of the row
//   store(p, at, x)
//   largest(x), sum(x)       over all members; everybody gets the result, and sees what others stored before
//   each_entry(k, f)         f(j) for this member's share of 0 .. k - 1, one number at a time, the same in every pass
//   total(x)                 sum over members of one number each
//   tops(logit, vocab, k, ids)   to every member the ids of the k first entries of logit(at) in order of value (larger
//                            first), then id (lower first); 0 for those that are missing where entries are NaN
//   leader()                 true for one member
//   sync()                   waits until all members have come here
#pragma once
#include "divergences/scalar.h"
#include "kernels/linear_kd.h"

namespace distilmt {

// kDense: the most terms with a dense teacher that there are; 1 or kMaxTerms.
template <class Group_, class scalar_, class storage_, int kDense_>
struct KDRow {
  using Group = Group_;
  using scalar = scalar_;
  using storage = storage_;
  using real = typename Group::real;
  static constexpr int kDense = kDense_;

  const Group& group;
  const LinearKDRows<scalar, storage>& rows;
  const int64_t row, vocab, target;
  const bool chosen;
  bool wanted[kMaxTeachers] = {chosen, chosen};
  uint32_t reads = 0, slopes = 0;        // terms with a dense teacher that look at this row; of them those with slopes
  const KDTerm<scalar>* only = nullptr;  // kDense 1: the one
  const scalar weight;
  storage* const z;
  scalar z_max, total_z[kMaxTemperatures], log_z[kMaxTemperatures];  // largest logit; sum exp((z - z_max) / T), its log
  scalar v_max[kMaxTeachers];
  scalar total[kDense], mean[kDense];     // by dense term: sums of its Moment
  bool agrees = false;                    // student and teacher have their largest logits in one column
  scalar dense[kMaxTemperatures] = {};    // the gradient's multiple of p^T
  scalar unknown[kMaxTemperatures] = {};  // and of p^T / (1 - P) in the columns that a sparse teacher does not know,
  scalar outside[kMaxTemperatures] = {};  // log(1 - P)

  DISTILMT_HD KDRow(const Group& group, const LinearKDRows<scalar, storage>& rows, int64_t row)
      : group(group),
        rows(rows),
        row(row),
        vocab(rows.vocab),
        target(rows.targets[row]),
        chosen(!rows.chosen || rows.chosen[row]),
        weight(rows.row_weights[row]),
        z(rows.student + row * rows.stride) {
    for (int i = 0; i < rows.term_count; ++i) {
      const KDTerm<scalar>& term = rows.terms[i];
      if (!has_dense_teacher(term)) continue;
      for (int t = 0; t < kMaxTeachers; ++t) wanted[t] = wanted[t] || (!term.gated && term.teacher == t);
      if (!looks(term)) continue;
      only = &term;
      reads |= 1u << (kDense == 1 ? 0 : i);
      if (has_slope(term)) slopes |= 1u << (kDense == 1 ? 0 : i);
    }
  }

  DISTILMT_HD static constexpr scalar lowest() { return scalar(-HUGE_VAL); }

  // A dense teacher's logits of this row without bias, or null where nothing looks at them.
  DISTILMT_HD const storage* teacher(int t) const {
    const KDTeacher<scalar, storage>& of = rows.teachers[t];
    if (!of.logits || !wanted[t]) return nullptr;
    const int64_t its = of.index ? of.index[row] : row;
    return its < 0 ? nullptr : of.logits + its * rows.stride;
  }

  // Student's logits z(at), and the teacher's v(at).
  template <class At>
  DISTILMT_HD real student_logit(At at) const {
    return with_bias(z, rows.bias, at);
  }
  template <class At>
  DISTILMT_HD real teacher_logit(const storage* v, int t, At at) const {
    return with_bias(v, rows.teachers[t].bias, at);
  }
  DISTILMT_HD scalar student_number(int64_t id) const { return group.first(student_logit(group.column(id))); }

  DISTILMT_HD bool looks(const KDTerm<scalar>& term) const { return !term.gated || chosen; }

  // f(k, term) for the terms k whose bit is in `which`, `reads` or `slopes`.
  template <class F>
  DISTILMT_HD void each_dense(uint32_t which, const F& f) const {
    if constexpr (kDense == 1) {
      if (which) f(0, *only);
    } else {
      DISTILMT_UNROLL
      for (int k = 0; k < kDense; ++k) {
        if (which >> k == 0) break;
        if (which >> k & 1) f(k, rows.terms[k]);
      }
    }
  }

  // Largest logits are subtracted before anything else: logits of +-1e4 lose nothing, and no exponent is above 0.
  template <class Logit>
  DISTILMT_HD scalar sum_exp(const Logit& logit, scalar largest, scalar temperature) const {
    const scalar per_t = 1 / temperature;
    real all(0);
    group.each(vocab, [&](auto at) { all = all + exp((logit(at) - largest) * per_t); });
    return group.sum(all);
  }

  template <class Logit>
  DISTILMT_HD scalar largest(const Logit& logit) const {
    real top(bottom());
    group.each(vocab, [&](auto at) { top = maximum(top, logit(at)); });
    return group.largest(top);
  }

  DISTILMT_HD scalar log_p(int64_t id, int slot) const {
    return (student_number(id) - z_max) / rows.temperatures[slot] - log_z[slot];
  }

  // d loss / d value of a term; its share of the gradient is this times d value / d z.
  DISTILMT_HD scalar scale(const KDTerm<scalar>& term) const { return weight * term.weight; }

  DISTILMT_HD void entry(const KDTerm<scalar>& term, int j, int64_t id, scalar value) const {
    const int64_t at = row * rows.entries + term.first_entry + j;
    rows.entry_ids[at] = id;
    rows.entry_values[at] = value;
  }

  // The one reading of all logits.
  DISTILMT_HD void read() {
    const storage* const vs[kMaxTeachers] = {teacher(0), teacher(1)};
    scalar tops[1 + kMaxTeachers] = {bottom(), bottom(), bottom()};  // of z, v0, v1: of all columns, or of those read
    if constexpr (!Group::kOnline) {
      tops[0] = largest([&](auto at) { return student_logit(at); });
      for (int t = 0; t < kMaxTeachers; ++t)
        if (vs[t]) tops[1 + t] = largest([&](auto at) { return teacher_logit(vs[t], t, at); });
    }
    scalar per_t[kMaxTemperatures];
    for (int s = 0; s < kMaxTemperatures; ++s) per_t[s] = s < rows.temperature_count ? 1 / rows.temperatures[s] : 0;
    real all_z[kMaxTemperatures] = {}, all[kDense] = {}, sums[kDense] = {}, nearest(lowest());

    // Everything that has been added up, less larger logits.
    const auto raise = [&](scalar z_top, scalar v0_top, scalar v1_top) {
      const scalar by[1 + kMaxTeachers] = {z_top - tops[0], v0_top - tops[1], v1_top - tops[2]};
      each_dense(reads, [&](int k, const KDTerm<scalar>& term) {
        const Moment<scalar>& m = term.moment;
        if (m.weight == Moment<scalar>::columns) return;
        const scalar v_by = term.teacher ? by[2] : by[1];
        const bool student = m.weight == Moment<scalar>::student;
        const scalar less = exp(-v_by * m.per_s);
        scalar weights = group.first(all[k]);
        DISTILMT_UNROLL
        for (int s = 0; s < kMaxTemperatures; ++s)
          if (student && s == term.slot) weights = group.first(all_z[s]);
        sums[k] = weigh(real(student ? exp(-by[0] * m.per_t) : less),
                        sums[k] - weigh(weights, m.of_z * by[0] + m.of_v * v_by));
        all[k] = all[k] * less;
      });
      DISTILMT_UNROLL
      for (int s = 0; s < kMaxTemperatures; ++s) all_z[s] = all_z[s] * exp(-by[0] * per_t[s]);
      nearest = nearest - (by[0] + by[1]);
      tops[0] = z_top;
      tops[1] = v0_top;
      tops[2] = v1_top;
    };

    group.each(vocab, [&](auto at) {
      const real z = student_logit(at), v0 = vs[0] ? teacher_logit(vs[0], 0, at) : real(bottom()),
                 v1 = vs[1] ? teacher_logit(vs[1], 1, at) : real(bottom());
      if constexpr (Group::kOnline)
        if (z > tops[0] || v0 > tops[1] || v1 > tops[2])
          raise(maximum(tops[0], z), maximum(tops[1], v0), maximum(tops[2], v1));
      const real x = z - tops[0], x0 = v0 - tops[1], x1 = v1 - tops[2];
      all_z[0] = all_z[0] + exp(x);
      DISTILMT_UNROLL
      for (int s = 1; s < kMaxTemperatures; ++s) {
        if (s >= rows.temperature_count) break;
        all_z[s] = all_z[s] + exp(x * per_t[s]);
      }
      nearest = maximum(nearest, x + x0);
      each_dense(reads, [&](int k, const KDTerm<scalar>& term) {
        const Moment<scalar>& m = term.moment;
        if (m.weight == Moment<scalar>::columns) {
          const real open = possible(z) * possible(term.teacher ? v1 : v0);
          const real gap = weigh(open, z - (term.teacher ? v1 : v0) * term.a);
          all[k] = all[k] + open;
          sums[k] = sums[k] + (term.b != 0 ? gap : gap * gap);
          return;
        }
        const real y = term.teacher ? x1 : x0, weight = exp(y * m.per_s);
        all[k] = all[k] + weight;
        if (m.weight != Moment<scalar>::none)
          sums[k] =
              sums[k] + weigh(m.weight == Moment<scalar>::student ? exp(x * m.per_t) : weight, x * m.of_z + y * m.of_v);
      });
    });

    if constexpr (Group::kOnline) {
      const scalar z_top = group.largest(tops[0]), v0_top = vs[0] ? group.largest(tops[1]) : bottom();
      raise(z_top, v0_top, vs[1] ? group.largest(tops[2]) : bottom());
    }
    z_max = tops[0];
    for (int t = 0; t < kMaxTeachers; ++t) v_max[t] = tops[1 + t];
    for (int s = 0; s < rows.temperature_count; ++s) log_z[s] = log(total_z[s] = group.sum(all_z[s]));
    each_dense(reads, [&](int k, const KDTerm<scalar>&) {
      total[k] = group.sum(all[k]);
      mean[k] = group.sum(sums[k]);
    });
    agrees = rows.teachers[0].logits ? vs[0] && group.largest(nearest) == 0 : agrees_with_sparse();
  }

 private:
  // Whether a likeliest word of the sparse teacher, where a term looks at it, has the largest logit.
  DISTILMT_HD bool agrees_with_sparse() const {
    bool looked = false;
    for (int i = 0; i < rows.term_count; ++i)
      looked = looked || (rows.terms[i].kind == TermKind::sparse_kl && looks(rows.terms[i]));
    if (!looked) return false;
    const int64_t first = row * rows.sparse.k;
    scalar top = lowest();
    for (int64_t j = 0; j < rows.sparse.k; ++j) top = maximum(top, rows.sparse.log_probs[first + j]);
    for (int64_t j = 0; j < rows.sparse.k; ++j) {
      const int64_t id = rows.sparse.ids[first + j];
      if (top > lowest() && rows.sparse.log_probs[first + j] == top && id >= 0 && id < vocab &&
          student_number(id) == z_max)
        return true;
    }
    return false;
  }

  // Below all logits but those of banned columns, whose difference from it is -inf as it should be.
  DISTILMT_HD static constexpr scalar bottom() { return sizeof(scalar) == 4 ? scalar(-3e38) : scalar(-1e308); }

  template <class At>
  DISTILMT_HD real with_bias(const storage* logits, const scalar* bias, At at) const {
    const real x = group.load(logits, at, lowest());
    return bias ? x + group.load(bias, at, scalar(0)) : x;
  }
};

}  // namespace distilmt
