// Which rows the gated terms look at (kernels/choose_rows.h), from scores that the row kernel itself measures.
#pragma once
#include "ops/teacher.h"

namespace distilmt::ops {

template <class real, class storage>
struct Choice {
  const Call& c;
  const KeptRows& kept;
  const Chunk& chunk;
  Tensor gate;                    // float32 [1]; NaN without a choice
  Tensor scores, chosen;          // float32, bool [kept rows]; empty without a choice, the latter but for a mask
  Tensor queue, queue_state;      // after the push; empty without one
  Tensor of_student, of_teacher;  // [kept rows] what scores are made of

  Choice(const Call& c, const KeptRows& kept, const Chunk& chunk) : c(c), kept(kept), chunk(chunk) {
    const int64_t rows = c.scored() ? kept.count : 0;
    gate = make(1, ScalarType::Float);
    if (c.gate)
      torch::stable::copy_(gate, *c.gate);
    else
      torch::stable::fill_(gate, NAN);
    scores = make(rows, ScalarType::Float);
    chosen = c.mask ? torch::stable::contiguous(kept.chunk(*c.mask, 0, kept.count)) : make(rows, ScalarType::Bool);
    queue = make(0, ScalarType::Float);
    queue_state = make(0, ScalarType::Long);
    of_student = make(rows, chunk.computing);
    of_teacher = make(rows, chunk.computing);
  }

  // Of the kept rows from `begin` on; null: gated terms look at all.
  const bool* from(int64_t begin) const { return chosen.numel() ? data<bool>(chosen, begin) : nullptr; }

  // What the scores of a chunk's rows are made of; the student's logits without bias [count, vocab] lie at `logits`.
  void score(storage* logits, const real* bias, Teacher<real, storage>* teacher, int64_t begin, int64_t count) {
    const Score score = Score(c.score);
    if (c.scores_student()) measure(of_student, {logits, bias, nullptr}, begin, count, std::nullopt);
    if (score == Score::student_nll) return;
    std::optional<TermKind> kind;
    if (score == Score::teacher_entropy) kind = TermKind::cross_entropy;
    if (score == Score::teacher_confidence) kind = TermKind::top1;
    measure(of_teacher, teacher->project(kept, begin, count), begin, count, kind);
  }

  // Among rows whose scores are made of what is known; the gate is theirs, the queue's or given.
  void choose(int64_t begin, int64_t count) {
    ChooseRows<real> call{};
    call.score = Score(c.score);
    call.student = data<real>(of_student, begin);
    call.teacher = data<real>(of_teacher, begin);
    call.targets = data<int64_t>(kept.targets, begin);
    call.scores = data<float>(scores, begin);
    call.rows = count;
    call.given = c.gate ? data<float>(*c.gate) : nullptr;
    call.rate = c.rate;
    call.lowest = c.lowest;
    if (c.queue && !c.gate) {
      call.queue = data<float>(queue = torch::stable::clone(*c.queue));
      call.state = data<int64_t>(queue_state = torch::stable::clone(*c.queue_state));
      call.size = queue.size(0);
    }
    call.gate = data<float>(gate);
    call.chosen = data<bool>(chosen, begin);
    run(call, c.hidden);
  }

  // [rows], NaN in those without a target.
  Tensor all_scores() const {
    if (!kept.index || !c.scored()) return scores;
    Tensor all = make(kept.all, ScalarType::Float);
    torch::stable::fill_(all, NAN);
    index_copy_(all, 0, *kept.index, scores);
    return all;
  }

 private:
  Tensor make(int64_t size, ScalarType dtype) const { return torch::stable::new_empty(c.hidden, {size}, dtype); }

  // -log p(y) of a model, or its value of a term where it is its own teacher: cross-entropy with itself is its entropy,
  // and the loss of its top token tells its confidence.
  void measure(const Tensor& to, const KDTeacher<real, storage>& model, int64_t begin, int64_t count,
               std::optional<TermKind> kind) {
    const Tensor out = torch::stable::new_zeros(c.hidden, {7, count}, chunk.computing);
    const Tensor ids = make(count, ScalarType::Long);
    LinearKDRows<real, storage> rows{};
    rows.student = const_cast<storage*>(model.logits);  // without gradient nothing is written
    rows.bias = model.bias;
    rows.targets = data<int64_t>(kept.targets, begin);
    rows.temperatures[0] = 1;
    rows.temperature_count = 1;
    rows.nll = data<real>(out);
    rows.values = data<real>(out, count);
    rows.loss = data<real>(out, 2 * count);
    rows.agreement = rows.looked = data<real>(out, 3 * count);
    rows.entry_values = data<real>(out, 4 * count);
    rows.entry_totals = data<real>(out, 5 * count);
    rows.row_weights = data<real>(out, 6 * count);
    rows.entry_ids = data<int64_t>(ids);
    rows.value_stride = rows.rows = count;
    rows.vocab = chunk.vocab;
    rows.stride = chunk.stride;
    if (kind) {
      rows.teachers[0] = model;
      rows.terms[0].kind = *kind;
      rows.terms[0].temperature = rows.terms[0].teacher_temperature = 1;
      prepare(rows.terms[0]);
      rows.term_count = rows.entries = 1;
    }
    run_rows(rows, c.hidden);
    Tensor place = rows_of(to, begin, count);
    torch::stable::copy_(place, torch::stable::select(out, 0, kind ? 1 : 0));
  }
};

}  // namespace distilmt::ops
