// Loss of a linear output layer against targets and teachers, with its gradients, by chunks of rows.
// Terms and formula of a row: kernels/linear_kd.h. Shapes, units and Python side: distilmt/ops/linear_kd.py.
//
//   choose the rows that gated terms look at, from scores of all rows        (ops/selection.h; only where asked)
//   for each chunk of the rows that have a target:
//     student [chunk, vocab] = hidden weight^T    teacher likewise, of the rows that need it    (products: Torch)
//     row kernel: values, and g = d loss / d logits over the student's buffer                   (ours)
//     grad_hidden = g weight    grad_weight += g^T hidden    grad_bias += 1^T g                 (products: Torch)
//
// The chunk's buffers are all that grows with chunk * vocab; a choice that needs the scores of the whole batch keeps
// the student's logits of all rows where `selection_bytes` allow, and else projects twice. Half precision is computed
// in float32 throughout: its weights are converted once per call.
#include <tuple>

#include "ops/cuda_library.h"
#include "ops/filtered_gradients.h"
#include "ops/selection.h"

namespace distilmt::ops {
namespace {

// Equal chunks, as few as the budget allows.
int64_t chunk_rows(int64_t rows, int64_t row_bytes, int64_t budget) {
  const int64_t most = std::max<int64_t>(1, budget / std::max<int64_t>(1, row_bytes));
  const int64_t chunks = std::max<int64_t>(1, (rows + most - 1) / most);
  return (rows + chunks - 1) / chunks;
}

int launch(const LinearKDRows<float>& rows, void* stream) { return cuda_library().linear_kd_float(&rows, stream); }
int launch(const LinearKDRows<double>& rows, void* stream) { return cuda_library().linear_kd_double(&rows, stream); }
int launch(const MixedRows<float>& rows, void* stream) { return cuda_library().mix_teachers_float(&rows, stream); }
int launch(const MixedRows<double>& rows, void* stream) { return cuda_library().mix_teachers_double(&rows, stream); }
template <class real>
void on_cpu(const LinearKDRows<real>& rows, int64_t begin, int64_t end) {
  linear_kd_rows(rows, begin, end);
}
template <class real>
void on_cpu(const MixedRows<real>& rows, int64_t begin, int64_t end) {
  mix_teachers(rows, begin, end);
}

template <class Rows>
void run_rows(const Rows& rows, const Tensor& like) {
  if (!like.is_cuda()) {
    torch::stable::parallel_for(0, rows.rows, 1, [&](int64_t begin, int64_t end) { on_cpu(rows, begin, end); });
    return;
  }
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(cuda_library().current_stream(like.get_device_index(), &stream));
  const int error = launch(rows, stream);
  STD_TORCH_CHECK(error == 0, "linear_kd: launching a CUDA kernel failed with cudaError ", error);
}

template <class number>
number* data(const Tensor& t, int64_t entry = 0) {
  return static_cast<number*>(t.mutable_data_ptr()) + entry;
}

// What a score of the rows is; as python/distilmt/ops/linear_kd.py counts.
enum class Score : int64_t { none, student_nll, teacher_entropy, teacher_confidence, teacher_margin };

// The arguments of the operator, as in its schema below.
struct Call {
  Tensor hidden;
  OptionalTensor weight;
  Tensor targets;
  OptionalTensor bias;
  std::vector<Tensor> teachers, snapshot;  // hidden, weight, bias of each, empty ones for absent
  OptionalTensor mix_weights;              // [members, rows]
  bool geometric;
  OptionalTensor sparse_ids, sparse_log_probs, row_weights, mask;
  std::vector<int64_t> kinds;
  std::vector<double> numbers;  // kNumbers per term
  int64_t score;
  double rate;  // of the rows to choose; or the gate itself
  bool given_gate, lowest;
  OptionalTensor queue, queue_state;
  int64_t workspace_bytes, selection_bytes;
  double dropped_mass;  // 0: exact
  bool teacher_bfloat16;
  bool grad_hidden, grad_weight, grad_bias;

  static constexpr int64_t kNumbers = 8;
  int64_t vocab() const { return weight ? weight->size(0) : hidden.size(1); }
};

// loss; values [terms + 3, rows]: the terms, then nll, agreement, chosen; three gradients; gate; scores; queue and its
// state; the share of the gradient that was dropped.
using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

OptionalTensor present(const Tensor& t) { return t.numel() ? OptionalTensor(t) : std::nullopt; }

// One dense teacher of one or more members, and the buffers of a chunk of its logits.
template <class real>
struct Teacher {
  std::vector<Head> members;
  OptionalTensor mix_weights;  // [members, kept rows]
  bool geometric = false;
  Tensor logits, member;  // [chunk, vocab]: what the row kernel sees; a member's own, where there are several

  Teacher(const std::vector<Tensor>& tensors, int64_t chunk, int64_t vocab, ScalarType dtype, bool bfloat16) {
    logits = torch::stable::new_empty(tensors[0], {chunk, vocab}, dtype);
    if (tensors.size() > 3) member = torch::stable::new_empty(logits, {chunk, vocab});
    for (size_t i = 0; i < tensors.size(); i += 3)
      members.emplace_back(tensors[i], present(tensors[i + 1]), present(tensors[i + 2]),
                           tensors.size() > 3 ? member : logits, bfloat16);
  }

  const real* bias() const { return members.size() == 1 && members[0].bias ? data<real>(*members[0].bias) : nullptr; }

  // Logits of the kept rows `begin .. begin + count`, or of those of them in `chosen` (positions among the kept ones).
  void project(const KeptRows& kept, int64_t begin, int64_t count, const OptionalTensor& chosen) {
    const int64_t rows = chosen ? chosen->size(0) : count;
    if (rows == 0) return;
    for (size_t m = 0; m < members.size(); ++m) {
      const Head& head = members[m];
      Tensor h = chosen ? index_select(kept.chunk(head.hidden, begin, count), 0, *chosen)
                        : kept.chunk(head.hidden, begin, count);
      head.project(head.weight ? torch::stable::to(h, head.weight->scalar_type()) : h);
      if (members.size() == 1) continue;
      Tensor member_weights = torch::stable::select(*mix_weights, 0, m);
      Tensor w = torch::stable::narrow(member_weights, 0, begin, count);
      if (chosen) w = index_select(w, 0, *chosen);
      w = torch::stable::contiguous(w);
      MixedRows<real> mixed{};
      mixed.logits = data<real>(head.logits);
      mixed.bias = head.bias ? data<real>(*head.bias) : nullptr;
      mixed.weights = data<real>(w);
      mixed.mixed = data<real>(logits);
      mixed.rows = rows;
      mixed.vocab = head.vocab();
      mixed.geometric = geometric;
      mixed.first = m == 0;
      run_rows(mixed, logits);
    }
  }
};

template <class real>
struct Run {
  static constexpr ScalarType kDtype = std::is_same_v<real, double> ? ScalarType::Double : ScalarType::Float;
  const Call& c;
  const int64_t vocab;
  const KeptRows kept;
  int64_t chunk;
  bool keep;  // the student's logits of all rows stay from the scores to the losses
  std::optional<Head> student;
  std::optional<Teacher<real>> teachers[kMaxTeachers];
  LinearKDRows<real> rows{};
  std::vector<Tensor> held;  // what the pointers in `rows` point into
  std::vector<bool> needs[kMaxTeachers];

  Tensor values, losses, gate, scores, queue, queue_state;
  std::vector<char> chosen;  // [kept rows]

  explicit Run(const Call& call) : c(call), vocab(c.vocab()), kept(keep_rows(c.targets, vocab)) {
    const bool whole_batch = c.score != int64_t(Score::none) && !c.given_gate;
    const int64_t row = vocab * int64_t(sizeof(real));
    read_terms();
    const bool more = dense_gradient_needed();
    const int64_t buffers = 1 + (c.teachers.empty() ? 0 : c.teachers.size() > 3 ? 2 : 1) + !c.snapshot.empty() + more;
    keep = whole_batch && kept.count * row <= c.selection_bytes;
    chunk = chunk_rows(kept.count, row * (buffers - keep), c.workspace_bytes);
    student.emplace(c.hidden, c.weight, c.bias,
                    torch::stable::new_empty(c.hidden, {keep ? kept.count : chunk, vocab}, kDtype));
    if (!c.teachers.empty()) teachers[0].emplace(c.teachers, chunk, vocab, kDtype, c.teacher_bfloat16);
    if (!c.snapshot.empty()) teachers[1].emplace(c.snapshot, chunk, vocab, kDtype, c.teacher_bfloat16);
    if (c.teachers.size() > 3) {
      teachers[0]->geometric = c.geometric;
      teachers[0]->mix_weights =
          torch::stable::to(kept.index ? index_select(*c.mix_weights, 1, *kept.index) : *c.mix_weights, kDtype);
    }
    const int64_t terms = rows.term_count;
    values = torch::stable::new_zeros(student->logits, {terms + 3, kept.count});
    losses = torch::stable::new_zeros(student->logits, {kept.count});
    scores = torch::stable::empty({0}, ScalarType::Float);
    gate = torch::stable::full({1}, NAN, ScalarType::Float);
    queue = torch::stable::empty({0}, ScalarType::Float);
    queue_state = torch::stable::empty({0}, ScalarType::Long);
    rows.vocab = vocab;
    if (more) rows.dense_gradient = data<real>(hold(torch::stable::new_empty(student->logits, {chunk, vocab})));
    rows.entry_ids =
        data<int64_t>(hold(torch::stable::new_empty(student->logits, {chunk, rows.entries}, ScalarType::Long)));
    rows.entry_values = data<real>(hold(torch::stable::new_empty(student->logits, {chunk, rows.entries})));
    rows.value_stride = kept.count;
  }

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
      rows.entries += scratch_entries(term);
      int slot = 0;
      while (slot < rows.temperature_count && rows.temperatures[slot] != term.temperature) ++slot;
      STD_TORCH_CHECK(slot < kMaxTemperatures, "linear_kd: more than ", kMaxTemperatures - 1, " temperatures beside 1");
      rows.temperatures[slot] = term.temperature;
      rows.temperature_count = std::max(rows.temperature_count, slot + 1);
      term.slot = slot;
    }
    rows.term_count = c.kinds.size();
  }

  bool dense_gradient_needed() const {
    int slopes = 0;
    bool rest = false;
    for (int i = 0; i < rows.term_count; ++i) {
      slopes += has_slope(rows.terms[i]);
      rest = rest || has_rest(rows.terms[i]);
    }
    return slopes > 1 || rest;
  }

  bool ungated(int teacher) const {
    for (int i = 0; i < rows.term_count; ++i) {
      const KDTerm<real>& term = rows.terms[i];
      if ((has_slope(term) || term.kind == TermKind::top1 || term.kind == TermKind::ranking) && !term.gated &&
          term.teacher == teacher)
        return true;
    }
    return false;
  }

  // Whether the scores come from the student's logits, and leave their bias in them.
  bool scores_student() const {
    return c.score == int64_t(Score::student_nll) || c.score == int64_t(Score::teacher_margin);
  }

  // Scores of the chunk's rows, by the row kernel itself: -log p(y) is its nll; of a teacher compared with itself,
  // the cross-entropy is its entropy and the loss of the top token tells its confidence.
  void score_rows(int64_t begin, int64_t count, std::vector<float>& all) {
    const Score score = Score(c.score);
    const auto measure = [&](real* logits, const real* bias, std::optional<TermKind> kind) {
      LinearKDRows<real> probe{};
      const Tensor out = torch::stable::new_zeros(student->logits, {4, count});
      const Tensor one = torch::stable::full({1}, 1.0, kDtype, std::nullopt, c.hidden.device());
      probe.student = logits;
      probe.bias = bias;
      probe.targets = data<int64_t>(kept.targets, begin);
      probe.row_weights = data<real>(out);
      probe.temperatures[0] = 1;
      probe.temperature_count = 1;
      probe.loss = data<real>(out, count);
      probe.nll = data<real>(out, 2 * count);
      probe.agreement = data<real>(out);
      probe.values = data<real>(out, 3 * count);
      probe.value_stride = count;
      probe.rows = count;
      probe.vocab = vocab;
      const Tensor ids = torch::stable::new_empty(out, {count}, ScalarType::Long),
                   entries = torch::stable::new_empty(out, {count});
      if (kind) {
        probe.teachers[0].logits = logits;
        probe.terms[0].kind = *kind;
        probe.terms[0].temperature = probe.terms[0].teacher_temperature = 1;
        probe.term_count = 1;
        probe.entries = 1;
        probe.entry_ids = data<int64_t>(ids);
        probe.entry_values = data<real>(entries);
      }
      run_rows(probe, c.hidden);
      const Tensor host = to_cpu(torch::stable::select(out, 0, kind ? 3 : 2));
      const real* x = host.template const_data_ptr<real>();
      return std::vector<double>(x, x + count);
    };
    std::vector<double> x;
    if (scores_student())
      x = measure(data<real>(student->logits, (keep ? begin : 0) * vocab), pointer(student->bias), std::nullopt);
    if (score != Score::student_nll) {
      teachers[0]->project(kept, begin, count, std::nullopt);
      real* v = data<real>(teachers[0]->logits);
      if (score == Score::teacher_margin) {
        const std::vector<double> teacher = measure(v, teachers[0]->bias(), std::nullopt);
        for (int64_t i = 0; i < count; ++i) x[i] = std::exp(-teacher[i]) - std::exp(-x[i]);
      } else {
        x = measure(v, teachers[0]->bias(), score == Score::teacher_entropy ? TermKind::cross_entropy : TermKind::top1);
        if (score == Score::teacher_confidence)
          for (double& value : x) value = std::exp(-value);
      }
    }
    all.insert(all.end(), x.begin(), x.end());
  }

  void choose(const std::vector<float>& all, float gate_value) {
    for (size_t i = chosen.size(); i < all.size(); ++i)
      chosen.push_back(c.lowest ? all[i] <= gate_value : all[i] >= gate_value);
  }

  Outputs operator()() {
    std::vector<float> all;
    const bool scored = c.score != int64_t(Score::none);
    float gate_value = c.rate;
    if (scored && !c.given_gate) {
      for (int64_t begin = 0; begin < kept.count; begin += chunk) {
        const int64_t count = std::min(chunk, kept.count - begin);
        if (scores_student()) student->project(student->states(kept, begin, count), keep ? begin : 0);
        score_rows(begin, count, all);
      }
      if (c.queue) {
        ScoreQueue ring(*c.queue, *c.queue_state);
        ring.push(all);
        gate_value = ring.gate(c.rate, c.lowest);
        queue = ring.values;
        queue_state = ring.state;
      } else {
        gate_value = gate_of(all, c.rate, c.lowest);
      }
      choose(all, gate_value);
    }
    if (c.mask) {
      const Tensor host = torch::stable::contiguous(to_cpu(kept.chunk(*c.mask, 0, kept.count)));
      const bool* m = host.template const_data_ptr<bool>();
      chosen.assign(m, m + kept.count);
    }

    HeadGradients gradients(c.grad_hidden, c.grad_weight, c.grad_bias, kept, *student);
    Tensor w = torch::stable::full({kept.count, 1}, 1.0, kDtype, std::nullopt, c.hidden.device());
    if (c.row_weights)
      w = torch::stable::unsqueeze(
          torch::stable::to(kept.chunk(torch::stable::contiguous(*c.row_weights), 0, kept.count), kDtype), 1);
    rows.with_grad = gradients.any();

    std::optional<LabelSmoothing> smoothing;
    const Tensor uniform = torch::stable::new_empty(student->logits, {chunk, 1});
    double uniform_grad = 0;
    for (int i = 0; i < rows.term_count; ++i) {
      KDTerm<real>& term = rows.terms[i];
      if (term.kind != TermKind::nll || term.a == 0) continue;
      smoothing.emplace(*student);
      term.a = smoothing->each(term.a, term.b != 0);
      rows.uniform = data<real>(uniform);
      rows.unbanned = smoothing->columns;
      rows.uniform_bias = smoothing->bias_sum;
      uniform_grad = -double(term.weight) * term.a / term.temperature;
    }
    SparseRows sparse(*this);
    FilteredGradients filtered{float(c.dropped_mass)};

    const bool projected = keep && scores_student();
    rows.bias = projected || (c.given_gate && scores_student()) ? nullptr : pointer(student->bias);
    for (int64_t begin = 0; begin < kept.count; begin += chunk) {
      const int64_t count = std::min(chunk, kept.count - begin), at = keep ? begin : 0;
      const Tensor h = student->states(kept, begin, count);
      if (!projected) student->project(h, at);
      if (scored && c.given_gate) {
        score_rows(begin, count, all);
        choose(all, gate_value);
      }
      held_chunk.clear();
      choose_rows(begin, count);
      for (int t = 0; t < kMaxTeachers; ++t) project_teacher(t, begin, count);
      if (smoothing) mm_out(rows_of(uniform, 0, count), h, transpose(smoothing->u));
      sparse.move(begin, count);
      rows.student = data<real>(student->logits, at * vocab);
      rows.rows = count;
      rows.targets = data<int64_t>(kept.targets, begin);
      rows.row_weights = data<real>(w, begin);
      rows.loss = data<real>(losses, begin);
      rows.values = data<real>(values, begin);
      rows.nll = data<real>(values, rows.term_count * kept.count + begin);
      rows.agreement = rows.nll + kept.count;
      run_rows(rows, c.hidden);
      const Tensor g = rows_of(student->logits, at, count);
      if (c.dropped_mass > 0 && rows.with_grad) {
        std::vector<float> shift;
        if (smoothing)
          for (int64_t i = 0; i < count; ++i) shift.push_back(-uniform_grad * data<real>(w, begin)[i]);
        filtered.add(gradients, g, h, begin, shift, smoothing ? smoothing->mask.const_data_ptr<float>() : nullptr);
        continue;
      }
      gradients.add(g, h, begin);
      if (smoothing) gradients.add_uniform(*smoothing, rows_of(w, begin, count), h, begin, uniform_grad);
    }
    if (smoothing && !(c.dropped_mass > 0)) gradients.finish_uniform(*smoothing, uniform_grad);
    finish_choice(all, gate_value);
    // A NaN of the teacher that only the scores have seen must not pass in silence.
    if (std::any_of(all.begin(), all.end(), [](float x) { return std::isnan(x); })) torch::stable::fill_(losses, NAN);
    const double share = filtered.whole > 0 ? filtered.lost / filtered.whole : 0;
    return {torch::stable::sum(losses),
            kept.spread(values, 1),
            c.grad_hidden ? kept.spread(gradients.hidden, 0) : gradients.hidden,
            gradients.weight.sum,
            c.grad_bias ? torch::stable::squeeze(gradients.bias.sum, 0) : gradients.bias.sum,
            gate,
            scores,
            queue,
            queue_state,
            torch::stable::full({1}, share, ScalarType::Float)};
  }

 private:
  std::vector<Tensor> held_chunk;

  // The flags of the chunk's rows, on the device.
  void choose_rows(int64_t begin, int64_t count) {
    if (chosen.empty()) return;
    Tensor flags = torch::stable::empty({count}, ScalarType::Bool);
    std::copy_n(chosen.begin() + begin, count, data<bool>(flags));
    if (c.hidden.is_cuda()) flags = torch::stable::to(flags, c.hidden.device());
    rows.chosen = data<bool>(held_chunk.emplace_back(flags));
  }

  // Its logits for the rows that some term looks at, and where they lie.
  void project_teacher(int t, int64_t begin, int64_t count) {
    if (!teachers[t]) return;
    KDTeacher<real>& its = rows.teachers[t];
    its = {data<real>(teachers[t]->logits), teachers[t]->bias(), nullptr};
    if (chosen.empty() || ungated(t)) return teachers[t]->project(kept, begin, count, std::nullopt);
    std::vector<int64_t> index(count, -1), wanted;
    for (int64_t i = 0; i < count; ++i)
      if (chosen[begin + i]) {
        index[i] = wanted.size();
        wanted.push_back(i);
      }
    its.index = data<int64_t>(held_chunk.emplace_back(from_host(index, c.hidden)));
    teachers[t]->project(kept, begin, count, held_chunk.emplace_back(from_host(wanted, c.hidden)));
  }

  // The sparse teacher's rows of a chunk.
  struct SparseRows {
    Run& run;
    Tensor ids, log_probs;
    explicit SparseRows(Run& run) : run(run) {
      if (!run.c.sparse_ids) return;
      ids = torch::stable::contiguous(run.kept.chunk(*run.c.sparse_ids, 0, run.kept.count));
      log_probs = torch::stable::contiguous(
          torch::stable::to(run.kept.chunk(*run.c.sparse_log_probs, 0, run.kept.count), kDtype));
    }
    void move(int64_t begin, int64_t count) {
      if (!run.c.sparse_ids || count == 0) return;
      const int64_t k = ids.size(1);
      run.rows.sparse = {data<int64_t>(ids, begin * k), data<real>(log_probs, begin * k), k};
    }
  };

  // What the caller learns of the choice.
  void finish_choice(const std::vector<float>& all, float gate_value) {
    if (chosen.empty()) {
      Tensor ones = torch::stable::select(values, 0, rows.term_count + 2);
      torch::stable::fill_(ones, 1.0);
    } else {
      Tensor flags = torch::stable::empty({kept.count}, kDtype);
      std::copy(chosen.begin(), chosen.end(), data<real>(flags));
      Tensor row = torch::stable::select(values, 0, rows.term_count + 2);
      torch::stable::copy_(row, flags);
    }
    if (c.score == int64_t(Score::none)) return;
    data<float>(gate)[0] = gate_value;
    scores = torch::stable::full({kept.all}, NAN, ScalarType::Float);
    const Tensor index = kept.index ? to_cpu(*kept.index) : torch::stable::empty({0}, ScalarType::Long);
    for (size_t i = 0; i < all.size(); ++i) data<float>(scores)[kept.index ? data<int64_t>(index)[i] : i] = all[i];
  }
};

// What memory safety needs; Python has said the same things more kindly. The sizes of products are checked by Torch,
// but a wrong `out` would be resized, and the row kernel trusts its pointers.
void check(const Call& c) {
  const auto shape = [&](const OptionalTensor& t, const char* name, std::initializer_list<int64_t> sizes) {
    if (!t) return;
    bool same = t->dim() == int64_t(sizes.size()) && t->device() == c.hidden.device();
    for (int64_t i = 0; same && i < t->dim(); ++i) same = t->size(i) == sizes.begin()[i];
    STD_TORCH_CHECK(same, "linear_kd: ", name, " has a wrong shape or device");
  };
  STD_TORCH_CHECK(c.hidden.dim() == 2 && (!c.weight || c.weight->dim() == 2),
                  "linear_kd: hidden, weight must be matrices");
  const int64_t rows = c.hidden.size(0), vocab = c.vocab();
  STD_TORCH_CHECK(vocab > 0, "linear_kd: the vocabulary is empty");
  STD_TORCH_CHECK(c.targets.scalar_type() == ScalarType::Long, "linear_kd: targets must be int64");
  STD_TORCH_CHECK((c.weight || !c.grad_weight) && (c.bias || !c.grad_bias), "linear_kd: gradient of an absent tensor");
  shape(c.targets, "targets", {rows});
  shape(c.weight, "weight", {vocab, c.hidden.size(1)});
  shape(c.bias, "bias", {vocab});
  shape(c.row_weights, "row_weights", {rows});
  shape(c.mask, "mask", {rows});
  for (const auto* list : {&c.teachers, &c.snapshot}) {
    STD_TORCH_CHECK(list->size() % 3 == 0, "linear_kd: a teacher is three tensors");
    for (size_t i = 0; i < list->size(); i += 3) {
      const Tensor& h = (*list)[i];
      STD_TORCH_CHECK(h.dim() == 2, "linear_kd: a teacher's hidden states must be a matrix");
      const OptionalTensor weight = present((*list)[i + 1]);
      shape(h, "a teacher", {rows, weight ? h.size(1) : vocab});
      shape(weight, "a teacher's weight", {vocab, h.size(1)});
      shape(present((*list)[i + 2]), "a teacher's bias", {vocab});
    }
  }
  STD_TORCH_CHECK(c.teachers.size() <= 3 || c.mix_weights, "linear_kd: several teachers need mix_weights");
  shape(c.mix_weights, "mix_weights", {int64_t(c.teachers.size()) / 3, rows});
  STD_TORCH_CHECK(bool(c.sparse_ids) == bool(c.sparse_log_probs), "linear_kd: half a sparse teacher");
  int64_t k = 0;
  if (c.sparse_ids) {
    STD_TORCH_CHECK(c.sparse_ids->dim() == 2 && c.sparse_ids->scalar_type() == ScalarType::Long,
                    "linear_kd: sparse ids");
    k = c.sparse_ids->size(1);
    shape(c.sparse_ids, "sparse ids", {rows, k});
    shape(c.sparse_log_probs, "sparse log_probs", {rows, k});
    const Tensor host = torch::stable::contiguous(to_cpu(*c.sparse_ids));
    const int64_t* id = host.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < rows * k; ++i)
      STD_TORCH_CHECK(0 <= id[i] && id[i] < vocab, "linear_kd: sparse ids must lie in [0, ", vocab, "), got ", id[i]);
  }
  STD_TORCH_CHECK(c.kinds.size() <= kMaxTerms && c.numbers.size() == c.kinds.size() * Call::kNumbers,
                  "linear_kd: at most ", kMaxTerms, " terms of ", Call::kNumbers, " numbers");
  int smoothed = 0;
  for (size_t i = 0; i < c.kinds.size(); ++i) {
    const TermKind kind = TermKind(c.kinds[i]);
    const double* n = c.numbers.data() + i * Call::kNumbers;
    STD_TORCH_CHECK(0 <= c.kinds[i] && kind <= TermKind::sparse_kl, "linear_kd: no such term ", c.kinds[i]);
    smoothed += kind == TermKind::nll;
    if (kind == TermKind::nll) continue;
    if (kind == TermKind::sparse_kl) {
      STD_TORCH_CHECK(k > 0 && n[5] == k, "linear_kd: a term without its sparse teacher");
      continue;
    }
    STD_TORCH_CHECK(n[6] == 0 ? !c.teachers.empty() : n[6] == 1 && !c.snapshot.empty(),
                    "linear_kd: a term without its teacher");
    if (kind == TermKind::ranking)
      STD_TORCH_CHECK(1 <= n[5] && n[5] <= std::min<double>(kMaxRanking, vocab), "linear_kd: ranking of ", n[5]);
  }
  STD_TORCH_CHECK(smoothed <= 1, "linear_kd: one term on the targets");
  STD_TORCH_CHECK(0 <= c.score && c.score <= int64_t(Score::teacher_margin), "linear_kd: no such score");
  STD_TORCH_CHECK(c.score <= int64_t(Score::student_nll) || !c.teachers.empty(),
                  "linear_kd: a score without its teacher");
  STD_TORCH_CHECK(!c.mask || c.mask->scalar_type() == ScalarType::Bool, "linear_kd: mask must be bool");
  STD_TORCH_CHECK(bool(c.queue) == bool(c.queue_state), "linear_kd: half a queue");
  STD_TORCH_CHECK(
      c.dropped_mass == 0 || (c.weight && !c.hidden.is_cuda() && c.hidden.scalar_type() != ScalarType::Double),
      "linear_kd: gradients are filtered on the CPU, with a weight and not in float64");
}

Outputs linear_kd(Tensor hidden, OptionalTensor weight, Tensor targets, OptionalTensor bias,
                  std::vector<Tensor> teachers, std::vector<Tensor> snapshot, OptionalTensor mix_weights,
                  bool geometric, OptionalTensor sparse_ids, OptionalTensor sparse_log_probs,
                  OptionalTensor row_weights, OptionalTensor mask, std::vector<int64_t> kinds,
                  std::vector<double> numbers, int64_t score, double rate, bool given_gate, bool lowest,
                  OptionalTensor queue, OptionalTensor queue_state, int64_t workspace_bytes, int64_t selection_bytes,
                  double dropped_mass, bool teacher_bfloat16, bool grad_hidden, bool grad_weight, bool grad_bias) {
  const Call c{hidden,          weight,       targets,          bias,        teachers,    snapshot,    mix_weights,
               geometric,       sparse_ids,   sparse_log_probs, row_weights, mask,        kinds,       numbers,
               score,           rate,         given_gate,       lowest,      queue,       queue_state, workspace_bytes,
               selection_bytes, dropped_mass, teacher_bfloat16, grad_hidden, grad_weight, grad_bias};
  check(c);
  std::optional<torch::stable::accelerator::DeviceGuard> guard;
  if (hidden.is_cuda()) guard.emplace(hidden.get_device_index());
  return hidden.scalar_type() == ScalarType::Double ? Run<double>(c)() : Run<float>(c)();
}

// The queue by itself, for a gate per optimizer step: pushes scores, and says where the gate now is.
std::tuple<Tensor, Tensor, Tensor> score_queue(Tensor values, Tensor state, Tensor scores, double rate, bool lowest) {
  ScoreQueue ring(values, state);
  const Tensor host = torch::stable::contiguous(torch::stable::to(to_cpu(scores), ScalarType::Float));
  const float* x = host.const_data_ptr<float>();
  ring.push(std::vector<float>(x, x + host.numel()));
  return {ring.values, ring.state, torch::stable::full({1}, ring.gate(rate, lowest), ScalarType::Float)};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(distilmt, m) {
  m.def(
      "linear_kd(Tensor hidden, Tensor? weight, Tensor targets, Tensor? bias, Tensor[] teachers, Tensor[] snapshot, "
      "Tensor? mix_weights, bool geometric, Tensor? sparse_ids, Tensor? sparse_log_probs, Tensor? row_weights, "
      "Tensor? mask, int[] kinds, float[] numbers, int score, float rate, bool given_gate, bool lowest, Tensor? queue, "
      "Tensor? queue_state, int workspace_bytes, int selection_bytes, float dropped_mass, bool teacher_bfloat16, bool "
      "grad_hidden, bool "
      "grad_weight, bool "
      "grad_bias) "
      "-> (Tensor loss, Tensor values, Tensor grad_hidden, Tensor grad_weight, Tensor grad_bias, Tensor gate, "
      "Tensor scores, Tensor queue, Tensor queue_state, Tensor dropped)");
  m.def(
      "score_queue(Tensor values, Tensor state, Tensor scores, float rate, bool lowest) -> (Tensor values, Tensor "
      "state, Tensor "
      "gate)");
}
STABLE_TORCH_LIBRARY_IMPL(distilmt, CPU, m) {
  m.impl("linear_kd", TORCH_BOX(&linear_kd));
  m.impl("score_queue", TORCH_BOX(&score_queue));
}
STABLE_TORCH_LIBRARY_IMPL(distilmt, CUDA, m) { m.impl("linear_kd", TORCH_BOX(&linear_kd)); }

}  // namespace distilmt::ops
