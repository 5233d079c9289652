// Objectives of every term, and rows of logits with all that they need, for test_linear_kd.cpp.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/linear_kd.h"

namespace distilmt::test {

struct Term {
  TermKind kind;
  double a = 0, b = 0;
  int count = 0;
  double temperature = 2, teacher_temperature = 1.5;
  int teacher = 0;
};

struct Objective {
  const char* name;
  std::vector<Term> terms;
};

constexpr int64_t kRows = 3, kSparse = 6;

inline const Objective kObjectives[] = {
    {"no term", {}},
    {"nll", {{TermKind::nll}}},
    {"nll smoothed", {{TermKind::nll, 0.1}}},
    {"forward_kl", {{TermKind::forward_kl}}},
    {"cross_entropy", {{TermKind::cross_entropy}}},
    {"reverse_kl", {{TermKind::reverse_kl}}},
    {"jensen_shannon", {{TermKind::jensen_shannon, 0.3, 1 / (0.3 * 0.7)}}},
    {"skew_kl", {{TermKind::skew_kl, 0.1}}},
    {"skew_reverse_kl", {{TermKind::skew_reverse_kl, 0.1}}},
    {"total_variation", {{TermKind::total_variation}}},
    {"adaptive_kl", {{TermKind::adaptive_kl, 0.5}}},
    {"logit_mse", {{TermKind::logit_mse, 0.8}}},
    {"logit_mse centred", {{TermKind::logit_mse, 0.8, 1}}},
    {"top1", {{TermKind::top1}}},
    {"top1 weighed", {{TermKind::top1, 1}}},
    {"top1_to_gold", {{TermKind::top1_to_gold}}},
    {"ranking", {{TermKind::ranking, 0, 0, 8}}},
    {"sparse renormalised", {{TermKind::sparse_kl, double(SparseTail::renormalise), 0, kSparse}}},
    {"sparse dropped", {{TermKind::sparse_kl, double(SparseTail::drop), 0, kSparse, 2, 1}}},
    {"sparse with rest", {{TermKind::sparse_kl, double(SparseTail::rest), 0, kSparse, 2, 1}}},
    {"snapshot", {{TermKind::forward_kl}, {.kind = TermKind::total_variation, .temperature = 1, .teacher = 1}}},
    {"rest after slopes",
     {{TermKind::reverse_kl},
      {TermKind::total_variation},
      {TermKind::sparse_kl, double(SparseTail::rest), 0, kSparse, 2, 1}}},
    {"all that share scratch",
     {{TermKind::nll, 0.1, 1, 0, 1},
      {TermKind::ranking, 0, 0, 4, 3},
      {TermKind::sparse_kl, double(SparseTail::rest), 0, kSparse, 1, 1},
      {TermKind::reverse_kl},
      {.kind = TermKind::logit_mse, .a = 1, .temperature = 1, .teacher = 1},
      {TermKind::top1_to_gold, 0, 0, 0, 4},
      {TermKind::top1, 1, 0, 0, 3},
      {TermKind::adaptive_kl, 0.7, 0, 0, 2}}},
};

// Halves between -3 and 3: exact in float32, and with ties wherever something is sorted.
inline double half(int64_t i, double phase) { return std::round(6 * std::sin(i * 0.7 + phase)) / 2; }

// Three rows and all that an objective needs, each buffer as long as the contract says. Two columns are banned. In row
// 0 student and teachers agree on the target; of the sparse teacher, row 1 lacks entries and row 2 all. Gated terms do
// not look at row 1, which then has no teacher.
template <class real, class storage = real>
struct Example {
  int64_t vocab, stride;
  std::vector<storage> student, teachers[2];
  std::vector<real> bias, teacher_bias, row_weights{0.5, 2, 0.25}, uniform, log_probs, unbanned{0, 0};
  std::vector<int64_t> targets, index{1, -1, 0}, ids, entry_ids;
  std::vector<real> entry_values, entry_totals, out;
  const bool chosen[kRows] = {true, false, true};
  LinearKDRows<real, storage> rows{};

  static storage stored(double x) {
    storage s;
    put(&s, real(x));
    return s;
  }

  // Between the rows of logits lie columns that nobody may look at.
  Example(const Objective& objective, int64_t vocab, bool gated)
      : vocab(vocab), stride(vocab + 3), targets{7, vocab - 1, 0} {
    const real lowest = -HUGE_VAL;
    const auto banned = [&](int64_t column) { return column == 5 || column == vocab - 2; };
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t v = 0; v < stride; ++v) {
        const int64_t i = r * vocab + v;
        student.push_back(stored(v < vocab ? half(i, 0) + 8 * (r == 0 && v == 7) : NAN));
        if (!gated || r < 2)
          teachers[0].push_back(stored(v < vocab ? half(i, 1) * 0.5 + 8 * (r == (gated ? 1 : 0) && v == 7) : NAN));
        teachers[1].push_back(stored(v < vocab ? banned(v) ? lowest : half(i, 2) : NAN));
      }
    for (int64_t v = 0; v < vocab; ++v) {
      bias.push_back(banned(v) ? lowest : real(half(v, 3)));
      teacher_bias.push_back(banned(v) ? lowest : real(half(v, 4)));
      if (!banned(v)) unbanned[1] += bias[v];
      unbanned[0] += !banned(v);
    }
    for (int64_t r = 0; r < kRows; ++r) {
      uniform.push_back(0);
      for (int64_t v = 0; v < vocab; ++v) uniform[r] += banned(v) ? real(0) : real(to_number(student[r * stride + v]));
      for (int64_t j = 0; j < kSparse; ++j) {
        const bool absent = r == 2 || (r == 1 && j % 2);
        ids.push_back(absent ? -1 - (int64_t(1) << 40) : r + j == 0 ? 7 : 6 * j + r);
        log_probs.push_back(absent ? lowest : real(-1.25 - 0.5 * j));
      }
    }

    rows.temperatures[0] = 1;
    rows.temperature_count = 1;
    for (const Term& term : objective.terms) {
      int slot = 0;
      while (slot < rows.temperature_count && rows.temperatures[slot] != term.temperature) ++slot;
      rows.temperatures[slot] = term.temperature;
      rows.temperature_count = std::max(rows.temperature_count, slot + 1);
      auto& its = rows.terms[rows.term_count++];
      its = {term.kind,
             term.teacher,
             slot,
             term.count,
             int(rows.entries),
             gated,
             real(0.5) / rows.term_count,
             real(term.temperature),
             real(term.teacher_temperature),
             real(term.a),
             real(term.b),
             {}};
      prepare(its);
      rows.entries += gradient_entries(its);
      if (term.kind == TermKind::nll && term.a > 0) rows.uniform = uniform.data();
      if (has_dense_teacher(its))
        rows.teachers[0] = {teachers[0].data(), teacher_bias.data(), gated ? index.data() : nullptr};
    }
    entry_ids.resize(kRows * rows.entries);
    entry_values.resize(kRows * rows.entries);
    entry_totals.resize(kRows * rows.entries);
    out.assign((5 + rows.term_count) * kRows, NAN);

    rows.student = student.data();
    rows.bias = bias.data();
    rows.targets = targets.data();
    rows.row_weights = row_weights.data();
    rows.chosen = gated ? chosen : nullptr;
    rows.teachers[1] = {teachers[1].data(), nullptr, nullptr};
    rows.sparse = {ids.data(), log_probs.data(), kSparse};
    rows.unbanned = unbanned.data();
    rows.entry_ids = entry_ids.data();
    rows.entry_values = entry_values.data();
    rows.entry_totals = entry_totals.data();
    rows.loss = out.data();
    rows.nll = rows.loss + kRows;
    rows.agreement = rows.nll + kRows;
    rows.looked = rows.agreement + kRows;
    rows.values = rows.looked + kRows;
    rows.shift = rows.values + rows.term_count * kRows;
    if (!rows.uniform) std::fill_n(rows.shift, kRows, real(0));
    rows.value_stride = rows.rows = kRows;
    rows.vocab = vocab;
    rows.stride = stride;
    rows.with_grad = true;
  }

  // The gradient, or before the call the logits, of all rows.
  std::vector<real> gradient() const {
    std::vector<real> all;
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t v = 0; v < vocab; ++v) all.push_back(to_number(student[r * stride + v]));
    return all;
  }
};

}  // namespace distilmt::test
