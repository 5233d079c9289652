// Hierarchical ranking: the student's order of the tokens that matter should be the teacher's.
//
//   sum_i max(0, p(t_i) - p(t_1)) + sum_i sum_j [q(t_i) > q(s_j)] max(0, p(s_j) - p(t_i)),   i, j = 1 .. k
//
// with t the teacher's and s the student's top-k tokens. Ids and indicators are constants, all probabilities of the
// student have a gradient: with a_w = d value / d p(w), d value / d z_w = p_w (a_w - sum a p) / T.
// Source: Zhang et al. 2023 (TIE-KD, arXiv:2305.08096), equations 8 to 10; strict >, the teacher's order in the
// indicator, compared as logits so that no underflow makes ties.
#pragma once
#include "kernels/linear_kd.h"

namespace distilmt {

template <class Row, class scalar>
DISTILMT_HD scalar measure_ranking(Row& row, const KDTerm<scalar>& term, int place) {
  const auto& group = row.group;
  const auto* const logits = row.teacher(term.teacher);
  const auto teacher = [&](auto at) { return row.teacher_logit(logits, term.teacher, at); };
  const auto student = [&](auto at) { return row.student_logit(at); };
  const auto v = [&](int64_t id) { return group.first(teacher(group.column(id))); };
  const int k = term.count;
  int64_t t[kMaxRanking] = {}, s[kMaxRanking] = {};
  group.tops(teacher, row.vocab, k, t);
  group.tops(student, row.vocab, k, s);
  const auto p = [&](int64_t id) { return exp(row.log_p(id, term.slot)); };
  const auto wrong = [&](int i, int j) { return v(t[i]) > v(s[j]) && p(s[j]) > p(t[i]); };
  const scalar first = p(t[0]), scale = row.scale(term) / term.temperature;
  scalar value = 0, mean = 0;
  group.each_entry(k, [&](int i) {
    const scalar own = p(t[i]);
    scalar slope = own > first ? 1 : 0;
    value += slope * (own - first);
    for (int j = 0; j < k; ++j)
      if (wrong(i, j)) {
        value += p(s[j]) - own;
        slope -= 1;
      }
    if (i == 0)
      for (int other = 1; other < k; ++other) slope -= p(t[other]) > first;
    mean += slope * own;
    row.entry(term, i, t[i], scale * slope * own);
  });
  group.each_entry(k, [&](int j) {
    scalar slope = 0;
    for (int i = 0; i < k; ++i) slope += wrong(i, j);
    mean += slope * p(s[j]);
    row.entry(term, k + j, s[j], scale * slope * p(s[j]));
  });
  row.dense[term.slot] -= scale * group.total(mean);
  return group.total(value) + 0 * log(row.total[place]);  // NaN anywhere in the teacher is seen
}

}  // namespace distilmt
