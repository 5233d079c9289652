// Loss of a linear output layer against targets and teachers, with its gradients, by chunks of rows.
// Terms and formula of a row: kernels/linear_kd.h. Shapes, units and Python side: distilmt/ops/linear_kd.py.
//
//   choose the rows that gated terms look at, from scores of all rows        (kernels/choose_rows.h; only where asked)
//   for each chunk of the rows that have a target:
//     student [chunk, vocab] = hidden weight^T    teacher likewise, of the rows that need it    (products: Torch)
//     row kernel: values, and g = d loss / d logits over the student's buffer                   (ours)
//     grad_hidden = g weight    grad_weight += g^T hidden    grad_bias += 1^T g                 (products: Torch)
//
// The chunk's buffers are all that grows with chunk * vocab; a choice that needs the scores of the whole batch keeps
// the student's logits of all rows where `selection_bytes` allow, and else projects twice. Their dtype:
//
//   CPU   float32; half precision is converted, weights once per call
//   GPU   that of the hidden states, if student and teachers share it, else (and for several teachers) float32. Half
//         precision is multiplied as it is; every sum over columns or rows is float32, and so are the gradients
//
// On a GPU nothing here waits for it: which rows count is for the kernels to see (`masked`), so that a call can be
// captured in a graph. The price: rows without a target are multiplied like the others, and so is a teacher for rows
// not chosen.
#include <tuple>

#include "ops/filtered_gradients.h"
#include "ops/teacher.h"

namespace distilmt::ops {
namespace {

// Equal chunks, as few as the budget allows.
int64_t chunk_rows(int64_t rows, int64_t row_bytes, int64_t budget) {
  const int64_t most = std::max<int64_t>(1, budget / std::max<int64_t>(1, row_bytes));
  const int64_t chunks = std::max<int64_t>(1, (rows + most - 1) / most);
  return (rows + chunks - 1) / chunks;
}

// loss; values [terms + 3, rows]: the terms, then nll, agreement, chosen; three gradients; gate; scores; queue and its
// state; the share of the gradient that was dropped.
using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// What a chunk's logits and their gradient lie in memory as.
ScalarType storage_dtype(const Call& c, ScalarType computing) {
  const ScalarType dtype = product_dtype(c, c.hidden, computing, false);
  bool same = c.teachers.size() <= 3;
  for (const auto* list : {&c.teachers, &c.snapshot})
    for (size_t i = 0; i < list->size(); i += 3)
      same = same && product_dtype(c, (*list)[i], computing, bool(present((*list)[i + 1]))) == dtype;
  return same ? dtype : computing;
}

template <class real, class storage>
struct Run {
  static constexpr ScalarType kComputing = std::is_same_v<real, double> ? ScalarType::Double : ScalarType::Float;
  using Rows = LinearKDRows<real, storage>;
  const Call& c;
  const KeptRows kept;
  const bool whole_batch;  // a choice that has to see all scores first
  Chunk chunk;
  bool keep;  // the student's logits of all rows stay from the scores to the losses
  std::optional<Head> student;
  std::optional<Teacher<real>> teachers[kMaxTeachers];
  Rows rows{};
  std::vector<Tensor> held;  // what the pointers in `rows` point into
  Tensor row_weights, values, losses, shift, gate, scores, chosen, queue, queue_state;

  Run(const Call& call, ScalarType storage_dtype)
      : c(call),
        kept(keep_rows(c.targets, c.vocab(), c.masked)),
        whole_batch(c.score != int64_t(Score::none) && !c.gate),
        chunk{0, c.vocab(), c.masked ? (c.vocab() + 63) / 64 * 64 : c.vocab(), storage_dtype, kComputing} {
    read_terms();
    const int64_t row = chunk.stride * int64_t(sizeof(storage)), members = c.teachers.size() / 3;
    const int64_t buffers = 1 + std::min<int64_t>(2, members) + !c.snapshot.empty();
    keep = whole_batch && kept.count * row <= c.selection_bytes;
    chunk.rows = chunk_rows(kept.count, row * (buffers - keep), c.workspace_bytes);
    student.emplace(c.hidden, c.weight, c.bias,
                    new_logits(c.hidden, keep ? kept.count : chunk.rows, chunk.vocab, chunk.stride, chunk.storage),
                    product_dtype(c, c.hidden, kComputing, false), kComputing);
    if (!c.teachers.empty()) teachers[0].emplace(c, c.teachers, chunk);
    if (!c.snapshot.empty()) teachers[1].emplace(c, c.snapshot, chunk);
    if (members > 1) {
      teachers[0]->geometric = c.geometric;
      teachers[0]->mix_weights =
          torch::stable::to(kept.index ? index_select(*c.mix_weights, 1, *kept.index) : *c.mix_weights, kComputing);
    }
    row_weights = make({kept.count, 1});
    if (c.row_weights)
      row_weights = torch::stable::unsqueeze(
          torch::stable::to(kept.chunk(torch::stable::contiguous(*c.row_weights), 0, kept.count), kComputing), 1);
    else
      torch::stable::fill_(row_weights, 1.0);
    values = zeros({rows.term_count + 3, kept.count});
    losses = zeros({kept.count});
    gate = make({1}, ScalarType::Float);
    if (c.gate)
      torch::stable::copy_(gate, *c.gate);
    else
      torch::stable::fill_(gate, NAN);
    scores = make({0}, ScalarType::Float);
    chosen = make({0}, ScalarType::Bool);
    queue = make({0}, ScalarType::Float);
    queue_state = make({0}, ScalarType::Long);
    rows.vocab = chunk.vocab;
    rows.stride = chunk.stride;
    rows.bias = pointer(student->bias);
    rows.entry_ids = data<int64_t>(hold(make({chunk.rows, rows.entries}, ScalarType::Long)));
    rows.entry_values = data<real>(hold(make({chunk.rows, rows.entries})));
    rows.entry_totals = data<real>(hold(make({chunk.rows, rows.entries})));
    rows.value_stride = kept.count;
  }

  using Sizes = torch::headeronly::IntHeaderOnlyArrayRef;
  Tensor make(Sizes sizes, ScalarType dtype = kComputing) const {
    return torch::stable::new_empty(c.hidden, sizes, dtype);
  }
  Tensor zeros(Sizes sizes) const { return torch::stable::new_zeros(c.hidden, sizes, kComputing); }
  const Tensor& hold(Tensor t) { return held.emplace_back(std::move(t)); }
  static real* pointer(const OptionalTensor& t) { return t ? data<real>(*t) : nullptr; }

  void read_terms() {
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

  bool ungated(int teacher) const {
    for (int i = 0; i < rows.term_count; ++i)
      if (has_dense_teacher(rows.terms[i]) && !rows.terms[i].gated && rows.terms[i].teacher == teacher) return true;
    return false;
  }

  // Whether the scores come from the student's logits.
  bool scores_student() const {
    return c.score == int64_t(Score::student_nll) || c.score == int64_t(Score::teacher_margin);
  }

  // -log p(y) of the chunk's rows by the row kernel itself; of a teacher compared with itself the cross-entropy is its
  // entropy, and the loss of the top token tells its confidence.
  Tensor measure(storage* logits, const real* bias, int64_t begin, int64_t count, std::optional<TermKind> kind) {
    Rows probe{};
    const Tensor out = zeros({6, count}), ids = make({count}, ScalarType::Long);
    probe.student = logits;
    probe.bias = bias;
    probe.targets = data<int64_t>(kept.targets, begin);
    probe.row_weights = data<real>(row_weights, begin);
    probe.temperatures[0] = 1;
    probe.temperature_count = 1;
    probe.nll = data<real>(out);
    probe.values = data<real>(out, count);
    probe.loss = data<real>(out, 2 * count);
    probe.agreement = probe.looked = data<real>(out, 3 * count);
    probe.entry_ids = data<int64_t>(ids);
    probe.entry_values = data<real>(out, 4 * count);
    probe.entry_totals = data<real>(out, 5 * count);
    probe.value_stride = probe.rows = count;
    probe.vocab = chunk.vocab;
    probe.stride = chunk.stride;
    if (kind) {
      probe.teachers[0] = {logits, bias, nullptr};
      probe.terms[0].kind = *kind;
      probe.terms[0].temperature = probe.terms[0].teacher_temperature = 1;
      prepare(probe.terms[0]);
      probe.term_count = 1;
      probe.entries = 1;
    }
    run_rows(probe, c.hidden);
    return torch::stable::select(out, 0, kind ? 1 : 0);
  }

  // What the scores of the chunk's rows are made of, into rows `begin ..` of two vectors.
  void score_rows(int64_t begin, int64_t count, const Tensor& of_student, const Tensor& of_teacher) {
    const Score score = Score(c.score);
    const auto note = [&](const Tensor& where, const Tensor& what) {
      Tensor place = rows_of(where, begin, count);
      torch::stable::copy_(place, what);
    };
    if (scores_student())
      note(of_student, measure(data<storage>(student->logits, (keep ? begin : 0) * chunk.stride), rows.bias, begin,
                               count, std::nullopt));
    if (score == Score::student_nll) return;
    teachers[0]->project(kept, begin, count, std::nullopt);
    std::optional<TermKind> kind;
    if (score == Score::teacher_entropy) kind = TermKind::cross_entropy;
    if (score == Score::teacher_confidence) kind = TermKind::top1;
    note(of_teacher, measure(data<storage>(teachers[0]->logits), teachers[0]->bias(), begin, count, kind));
  }

  void choose(int64_t begin, int64_t count, const Tensor& of_student, const Tensor& of_teacher) {
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

  Outputs operator()() {
    const bool scored = c.score != int64_t(Score::none);
    const Tensor of_student = make({kept.count}), of_teacher = make({kept.count});
    if (scored) {
      scores = make({kept.count}, ScalarType::Float);
      chosen = make({kept.count}, ScalarType::Bool);
      rows.scores = data<float>(scores);
    }
    if (whole_batch) {
      for (int64_t begin = 0; begin < kept.count; begin += chunk.rows) {
        const int64_t count = std::min(chunk.rows, kept.count - begin);
        if (scores_student()) student->project(student->states(kept, begin, count), keep ? begin : 0);
        score_rows(begin, count, of_student, of_teacher);
      }
      choose(0, kept.count, of_student, of_teacher);
    }
    if (c.mask) chosen = torch::stable::contiguous(kept.chunk(*c.mask, 0, kept.count));

    HeadGradients gradients(c.grad_hidden, c.grad_weight, c.grad_bias, kept, *student, kComputing);
    rows.with_grad = gradients.any();
    std::optional<LabelSmoothing> smoothing;
    const Tensor uniform = make({chunk.rows, 1});
    for (int i = 0; i < rows.term_count; ++i) {
      if (rows.terms[i].kind != TermKind::nll || rows.terms[i].a == 0) continue;
      smoothing.emplace(*student, kComputing);
      shift = zeros({kept.count, 1});
      rows.uniform = data<real>(uniform);
      rows.unbanned = data<real>(smoothing->unbanned);
    }
    SparseRows sparse(*this);
    FilteredGradients filtered{float(c.dropped_mass)};

    const bool projected = keep && scores_student();
    for (int64_t begin = 0; begin < kept.count; begin += chunk.rows) {
      const int64_t count = std::min(chunk.rows, kept.count - begin), at = keep ? begin : 0;
      const Tensor h = student->states(kept, begin, count);
      if (!projected) student->project(h, at);
      if (scored && c.gate) {
        score_rows(begin, count, of_student, of_teacher);
        choose(begin, count, of_student, of_teacher);
      }
      held_chunk.clear();
      for (int t = 0; t < kMaxTeachers; ++t) project_teacher(t, begin, count);
      const Tensor exact = smoothing ? torch::stable::to(h, kComputing) : h;  // [chunk, d]
      if (smoothing) mm_out(rows_of(uniform, 0, count), exact, transpose(smoothing->u));
      sparse.move(begin, count);
      point_to(begin, count, at);
      run_rows(rows, c.hidden);
      const Tensor g = rows_of(student->logits, at, count);
      if (c.dropped_mass > 0 && rows.with_grad) {
        std::vector<float> less;
        if (smoothing)
          for (int64_t i = 0; i < count; ++i) less.push_back(-data<real>(shift, begin)[i]);
        filtered.add(gradients, g, h, begin, less,
                     smoothing ? smoothing->mask.template const_data_ptr<float>() : nullptr);
        continue;
      }
      gradients.add(g, h, begin);
      if (smoothing) gradients.add_uniform(*smoothing, rows_of(shift, begin, count), exact, begin);
    }
    if (smoothing && kept.count && !(c.dropped_mass > 0)) gradients.finish_uniform(*smoothing, shift);
    const double share = filtered.whole > 0 ? filtered.lost / filtered.whole : 0;
    Tensor dropped = make({1}, ScalarType::Float);
    torch::stable::fill_(dropped, share);
    return {torch::stable::sum(losses),
            kept.spread(values, 1),
            c.grad_hidden ? kept.spread(gradients.hidden, 0) : gradients.hidden,
            gradients.weight.sum,
            c.grad_bias ? torch::stable::squeeze(gradients.bias.sum, 0) : gradients.bias.sum,
            gate,
            all_scores(),
            queue,
            queue_state,
            dropped};
  }

 private:
  std::vector<Tensor> held_chunk;

  // The chunk's part of everything that has rows; its logits begin at row `at`.
  void point_to(int64_t begin, int64_t count, int64_t at) {
    rows.rows = count;
    rows.student = data<storage>(student->logits, at * chunk.stride);
    rows.targets = data<int64_t>(kept.targets, begin);
    rows.row_weights = data<real>(row_weights, begin);
    rows.chosen = chosen.numel() ? data<bool>(chosen, begin) : nullptr;
    rows.scores = scores.numel() ? data<float>(scores, begin) : nullptr;
    rows.shift = rows.uniform ? data<real>(shift, begin) : nullptr;
    rows.loss = data<real>(losses, begin);
    rows.values = data<real>(values, begin);
    rows.nll = data<real>(values, rows.term_count * kept.count + begin);
    rows.agreement = rows.nll + kept.count;
    rows.looked = rows.agreement + kept.count;
  }

  // Its logits for the rows that some term looks at, and where they lie.
  void project_teacher(int t, int64_t begin, int64_t count) {
    if (!teachers[t]) return;
    auto& its = rows.teachers[t];
    its = {data<storage>(teachers[t]->logits), teachers[t]->bias(), nullptr};
    if (c.masked || chosen.numel() == 0 || ungated(t)) return teachers[t]->project(kept, begin, count, std::nullopt);
    std::vector<int64_t> index(count, -1), wanted;
    for (int64_t i = 0; i < count; ++i)
      if (data<bool>(chosen, begin)[i]) {
        index[i] = wanted.size();
        wanted.push_back(i);
      }
    its.index = data<int64_t>(held_chunk.emplace_back(tensor_of(index)));
    teachers[t]->project(kept, begin, count, held_chunk.emplace_back(tensor_of(wanted)));
  }

  // The sparse teacher's rows of a chunk.
  struct SparseRows {
    Run& run;
    Tensor ids, log_probs;
    explicit SparseRows(Run& run) : run(run) {
      if (!run.c.sparse_ids) return;
      ids = torch::stable::contiguous(run.kept.chunk(*run.c.sparse_ids, 0, run.kept.count));
      log_probs = torch::stable::contiguous(
          torch::stable::to(run.kept.chunk(*run.c.sparse_log_probs, 0, run.kept.count), kComputing));
    }
    void move(int64_t begin, int64_t count) {
      if (!run.c.sparse_ids || count == 0) return;
      const int64_t k = ids.size(1);
      run.rows.sparse = {data<int64_t>(ids, begin * k), data<real>(log_probs, begin * k), k};
    }
  };

  // NaN in rows without a target.
  Tensor all_scores() const {
    if (!kept.index || c.score == int64_t(Score::none)) return scores;
    Tensor all = make({kept.all}, ScalarType::Float);
    torch::stable::fill_(all, NAN);
    index_copy_(all, 0, *kept.index, scores);
    return all;
  }
};

Outputs linear_kd(Tensor hidden, OptionalTensor weight, Tensor targets, OptionalTensor bias,
                  std::vector<Tensor> teachers, std::vector<Tensor> snapshot, OptionalTensor mix_weights,
                  bool geometric, OptionalTensor sparse_ids, OptionalTensor sparse_log_probs,
                  OptionalTensor row_weights, OptionalTensor mask, std::vector<int64_t> kinds,
                  std::vector<double> numbers, int64_t score, double rate, OptionalTensor gate, bool lowest,
                  OptionalTensor queue, OptionalTensor queue_state, int64_t workspace_bytes, int64_t selection_bytes,
                  double dropped_mass, bool teacher_bfloat16, bool masked, bool grad_hidden, bool grad_weight,
                  bool grad_bias) {
  const Call c{hidden,
               weight,
               targets,
               bias,
               teachers,
               snapshot,
               mix_weights,
               geometric,
               sparse_ids,
               sparse_log_probs,
               row_weights,
               mask,
               kinds,
               numbers,
               score,
               rate,
               gate,
               lowest,
               queue,
               queue_state,
               workspace_bytes,
               selection_bytes,
               dropped_mass,
               teacher_bfloat16,
               masked,
               grad_hidden,
               grad_weight,
               grad_bias};
  check(c);
  std::optional<torch::stable::accelerator::DeviceGuard> guard;
  if (hidden.is_cuda()) guard.emplace(hidden.get_device_index());
  if (hidden.scalar_type() == ScalarType::Double) return Run<double, double>(c, ScalarType::Double)();
  const ScalarType storage = storage_dtype(c, ScalarType::Float);
  if (storage == ScalarType::BFloat16) return Run<float, bfloat16>(c, storage)();
  if (storage == ScalarType::Half) return Run<float, float16>(c, storage)();
  return Run<float, float>(c, storage)();
}

// The queue by itself, for a gate per optimizer step: pushes scores, and says where the gate now is.
std::tuple<Tensor, Tensor, Tensor> score_queue(Tensor values, Tensor state, Tensor scores, double rate, bool lowest) {
  check_queue(values, state, scores, scores.is_cuda());
  const Tensor given = torch::stable::contiguous(torch::stable::to(scores, ScalarType::Float));
  const Tensor pushed = torch::stable::clone(values), after = torch::stable::clone(state),
               gate = torch::stable::new_empty(values, {1}), same = torch::stable::empty_like(given),
               chosen = torch::stable::new_empty(given, {given.numel()}, ScalarType::Bool);
  ChooseRows<float> call{};
  call.score = Score::none;
  call.student = data<float>(given);
  call.scores = data<float>(same);
  call.rows = given.numel();
  call.rate = rate;
  call.lowest = lowest;
  call.queue = data<float>(pushed);
  call.state = data<int64_t>(after);
  call.size = pushed.size(0);
  call.gate = data<float>(gate);
  call.chosen = data<bool>(chosen);
  std::optional<torch::stable::accelerator::DeviceGuard> guard;
  if (scores.is_cuda()) guard.emplace(scores.get_device_index());
  run(call, scores);
  return {pushed, after, gate};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(distilmt, m) {
  m.def(
      "linear_kd(Tensor hidden, Tensor? weight, Tensor targets, Tensor? bias, Tensor[] teachers, Tensor[] snapshot, "
      "Tensor? mix_weights, bool geometric, Tensor? sparse_ids, Tensor? sparse_log_probs, Tensor? row_weights, "
      "Tensor? mask, int[] kinds, float[] numbers, int score, float rate, Tensor? gate, bool lowest, Tensor? queue, "
      "Tensor? queue_state, int workspace_bytes, int selection_bytes, float dropped_mass, bool teacher_bfloat16, "
      "bool masked, bool grad_hidden, bool grad_weight, bool grad_bias) "
      "-> (Tensor loss, Tensor values, Tensor grad_hidden, Tensor grad_weight, Tensor grad_bias, Tensor gate, "
      "Tensor scores, Tensor queue, Tensor queue_state, Tensor dropped)");
  m.def(
      "score_queue(Tensor values, Tensor state, Tensor scores, float rate, bool lowest) -> (Tensor values, Tensor "
      "state, Tensor gate)");
}
STABLE_TORCH_LIBRARY_IMPL(distilmt, CPU, m) {
  m.impl("linear_kd", TORCH_BOX(&linear_kd));
  m.impl("score_queue", TORCH_BOX(&score_queue));
}
STABLE_TORCH_LIBRARY_IMPL(distilmt, CUDA, m) {
  m.impl("linear_kd", TORCH_BOX(&linear_kd));
  m.impl("score_queue", TORCH_BOX(&score_queue));
}

}  // namespace distilmt::ops
