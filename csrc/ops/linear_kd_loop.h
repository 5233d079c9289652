// The loop of linear_kd over chunks of rows:
//
//   choose the rows that gated terms look at, from scores of all rows        (ops/choice.h; only where asked)
//   for each chunk of the rows that have a target:
//     student [chunk, vocab] = hidden weight^T    teacher likewise, of the rows that need it    (products: Torch)
//     row kernel: values, and g = d loss / d logits over the student's buffer                   (ours)
//     grad_hidden = g weight    grad_weight += g^T hidden    grad_bias += 1^T g                 (products: Torch)
//
// The chunk's buffers are all that grows with chunk * vocab; a choice that needs the scores of the whole batch keeps
// the student's logits of all rows where `selection_bytes` allow, and else projects twice.
//
// On a GPU nothing here waits for it: which rows count is for the kernels to see (`masked`), so that a call can be
// captured in a graph. The price: rows without a target are multiplied like the others, and so is a teacher for rows
// not chosen.
#pragma once
#include <tuple>

#include "ops/choice.h"
#include "ops/filtered_gradients.h"

namespace distilmt::ops {

// loss; values [terms + 3, rows]: the terms, then nll, agreement, chosen; three gradients; gate; scores; queue and its
// state; the share of the gradient that was dropped.
using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// The terms of a call, and the temperatures and gradient entries that they need.
template <class real, class storage>
void read_terms(const Call& c, LinearKDRows<real, storage>& rows) {
  rows.temperatures[0] = 1;
  rows.temperature_count = 1;
  for (size_t i = 0; i < c.kinds.size(); ++i) {
    const double* n = c.numbers.data() + i * Call::kNumbers;
    KDTerm<real>& term = rows.terms[i];
    term.kind = TermKind(c.kinds[i]);
    term.weight = n[0];
    term.temperature = n[1];
    term.teacher_temperature = n[2];
    term.a = n[3];
    term.b = n[4];
    term.count = n[5];
    term.teacher = n[6];
    term.gated = n[7] != 0;
    term.first_entry = rows.entries;
    prepare(term);
    rows.entries += gradient_entries(term);
    int slot = 0;
    while (slot < rows.temperature_count && rows.temperatures[slot] != term.temperature) ++slot;
    STD_TORCH_CHECK(slot < kMaxTemperatures, "linear_kd: more than ", kMaxTemperatures - 1, " temperatures beside 1");
    rows.temperatures[slot] = term.temperature;
    rows.temperature_count = std::max(rows.temperature_count, slot + 1);
    term.slot = slot;
  }
  rows.term_count = c.kinds.size();
}

template <class real, class storage>
struct LinearKDLoop {
  const Call& c;
  const KeptRows kept;
  const Chunk chunk;
  const Head student;
  std::optional<Teacher<real, storage>> teachers[kMaxTeachers];
  const KnownTokens<real> known;
  Choice<real, storage> choice;
  std::optional<LabelSmoothing> smoothing;
  LinearKDRows<real, storage> rows{};
  Tensor row_weights, losses, values;            // [kept rows], [kept rows], [terms + 3, kept rows]
  Tensor entry_ids, entry_values, entry_totals;  // [chunk, entries]

  explicit LinearKDLoop(const Call& call)
      : c(call),
        kept(keep_rows(c.targets, c.vocab(), c.masked)),
        chunk(plan_chunks<real, storage>(c, kept.count)),
        student(c.hidden, c.weight, c.bias, chunk.logits(c.hidden, chunk.keep ? kept.count : chunk.rows),
                product_dtype(c, c.hidden, chunk.computing, false), chunk.computing, c.masked),
        known(c, kept),
        choice(c, kept, chunk) {
    read_terms(c, rows);
    if (!c.teachers.empty()) teachers[0].emplace(c, kept, chunk, c.teachers);
    if (!c.snapshot.empty()) teachers[1].emplace(c, kept, chunk, c.snapshot);
    for (int i = 0; i < rows.term_count; ++i)
      if (rows.terms[i].kind == TermKind::nll && rows.terms[i].a != 0)
        smoothing.emplace(student, chunk.rows, kept.count, chunk.computing);
    row_weights = make({kept.count}, chunk.computing);
    if (c.row_weights)
      torch::stable::copy_(row_weights, kept.chunk(*c.row_weights, 0, kept.count));
    else
      torch::stable::fill_(row_weights, 1.0);
    values = torch::stable::new_zeros(row_weights, {rows.term_count + 3, kept.count});
    losses = torch::stable::new_zeros(row_weights, {kept.count});
    entry_ids = make({chunk.rows, rows.entries}, ScalarType::Long);
    entry_values = make({chunk.rows, rows.entries}, chunk.computing);
    entry_totals = make({chunk.rows, rows.entries}, chunk.computing);
    rows.vocab = chunk.vocab;
    rows.stride = chunk.stride;
    rows.bias = student.bias ? data<real>(*student.bias) : nullptr;
    rows.entry_ids = data<int64_t>(entry_ids);
    rows.entry_values = data<real>(entry_values);
    rows.entry_totals = data<real>(entry_totals);
    rows.value_stride = kept.count;
    rows.with_grad = c.grad_hidden || c.grad_weight || c.grad_bias;
    if (!smoothing) return;
    rows.uniform = data<real>(smoothing->uniform);
    rows.unbanned = data<real>(smoothing->unbanned);
  }

  Outputs operator()() {
    if (c.looks_first()) {
      each_chunk([&](int64_t begin, int64_t count) {
        if (c.scores_student()) student.project(student.states(kept, begin, count), at(begin));
        score(begin, count);
      });
      choice.choose(0, kept.count);
    }
    HeadGradients gradients(c.grad_hidden, c.grad_weight, c.grad_bias, kept, student, chunk.computing);
    FilteredGradients filtered{c.dropped_mass};
    each_chunk([&](int64_t begin, int64_t count) {
      const Tensor h = student.states(kept, begin, count);
      if (!chunk.keep) student.project(h);
      if (c.scored() && c.gate) {
        score(begin, count);
        choice.choose(begin, count);
      }
      for (int t = 0; t < kMaxTeachers; ++t)
        if (teachers[t]) rows.teachers[t] = teachers[t]->project(kept, begin, count, looked_at(t, begin));
      if (smoothing) smoothing->sum_logits(h);
      point_to(begin, count);
      run_rows(rows, c.hidden);
      const Tensor g = rows_of(student.logits, at(begin), count);
      if (c.dropped_mass > 0 && rows.with_grad)
        filtered.add(gradients, g, h, begin, smoothing);
      else
        gradients.add(g, h, begin, smoothing);
    });
    if (smoothing && c.dropped_mass == 0) gradients.finish(*smoothing);
    Tensor dropped = make({1}, ScalarType::Float);
    torch::stable::fill_(dropped, filtered.share());
    return {torch::stable::sum(losses),
            kept.spread(values, 1),
            c.grad_hidden ? kept.spread(gradients.hidden, 0) : gradients.hidden,
            gradients.weight.sum,
            c.grad_bias ? torch::stable::squeeze(gradients.bias.sum, 0) : gradients.bias.sum,
            choice.gate,
            choice.all_scores(),
            choice.queue,
            choice.queue_state,
            dropped};
  }

 private:
  Tensor make(torch::headeronly::IntHeaderOnlyArrayRef sizes, ScalarType dtype) const {
    return torch::stable::new_empty(c.hidden, sizes, dtype);
  }

  // f(begin, count) for each chunk of the kept rows.
  template <class F>
  void each_chunk(const F& f) const {
    for (int64_t begin = 0; begin < kept.count; begin += chunk.rows) f(begin, std::min(chunk.rows, kept.count - begin));
  }

  // Where the logits of the rows from `begin` on stand among the student's.
  int64_t at(int64_t begin) const { return chunk.keep ? begin : 0; }
  storage* logits(int64_t begin) const { return data<storage>(student.logits, at(begin) * chunk.stride); }

  void score(int64_t begin, int64_t count) {
    choice.score(logits(begin), rows.bias, teachers[0] ? &*teachers[0] : nullptr, begin, count);
  }

  // The rows that terms with this teacher look at; null for all, as wherever one of them is not gated.
  const bool* looked_at(int teacher, int64_t begin) const {
    for (int i = 0; i < rows.term_count; ++i)
      if (has_dense_teacher(rows.terms[i]) && !rows.terms[i].gated && rows.terms[i].teacher == teacher) return nullptr;
    return c.masked ? nullptr : choice.from(begin);
  }

  // The chunk's part of everything that has rows.
  void point_to(int64_t begin, int64_t count) {
    rows.rows = count;
    rows.student = logits(begin);
    rows.targets = data<int64_t>(kept.targets, begin);
    rows.row_weights = data<real>(row_weights, begin);
    rows.chosen = choice.from(begin);
    rows.scores = c.scored() ? data<float>(choice.scores, begin) : nullptr;
    rows.sparse = known.from(begin);
    rows.shift = smoothing ? data<real>(smoothing->shift, begin) : nullptr;
    rows.loss = data<real>(losses, begin);
    rows.values = data<real>(values, begin);
    rows.nll = data<real>(values, rows.term_count * kept.count + begin);
    rows.agreement = rows.nll + kept.count;
    rows.looked = rows.agreement + kept.count;
  }
};

}  // namespace distilmt::ops
