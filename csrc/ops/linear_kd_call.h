// The arguments of linear_kd, and what must be true of them.
#pragma once
#include "kernels/choose_rows.h"
#include "kernels/linear_kd.h"
#include "ops/tensors.h"

namespace distilmt::ops {

inline OptionalTensor present(const Tensor& t) { return t.numel() ? OptionalTensor(t) : std::nullopt; }

// As in the operator's schema (ops/linear_kd.cpp).
struct Call {
  Tensor hidden;
  OptionalTensor weight;
  Tensor targets;
  OptionalTensor bias;
  std::vector<Tensor> teachers, snapshot;  // hidden, weight, bias of each, empty ones for absent; one snapshot at most
  OptionalTensor mix_weights;              // [members, rows]
  bool geometric;
  OptionalTensor sparse_ids, sparse_log_probs, row_weights, mask;
  std::vector<int64_t> kinds;
  std::vector<double> numbers;  // kNumbers per term
  int64_t score;
  double rate;          // of the rows to choose
  OptionalTensor gate;  // float32 [1], given instead
  bool lowest;
  OptionalTensor queue, queue_state;
  int64_t workspace_bytes, selection_bytes;
  double dropped_mass;  // 0: exact
  bool teacher_bfloat16;
  bool masked;  // as on a GPU: all rows are computed, and nothing waits for what is in a tensor
  bool grad_hidden, grad_weight, grad_bias;

  static constexpr int64_t kNumbers = 8;
  int64_t vocab() const { return weight ? weight->size(0) : hidden.size(1); }
  bool scored() const { return score != int64_t(Score::none); }
  // Whether the scores come from the student's logits.
  bool scores_student() const {
    return score == int64_t(Score::student_nll) || score == int64_t(Score::teacher_margin);
  }
  // Whether the choice has to see all scores before the first loss.
  bool looks_first() const { return scored() && !gate; }
};

// values float32 [size], state int64 [2]. What the state says is looked at where that does not wait for a GPU; there
// the kernel keeps to the queue's size whatever it says.
inline void check_queue(const Tensor& values, const Tensor& state, const Tensor& like, bool masked) {
  STD_TORCH_CHECK(values.scalar_type() == ScalarType::Float && state.scalar_type() == ScalarType::Long &&
                      values.dim() == 1 && state.dim() == 1 && state.size(0) == 2 && values.size(0) > 0 &&
                      values.device() == like.device() && state.device() == like.device(),
                  "queue: values must be float32 [size] and state int64 [2], on hidden's device");
  if (masked) return;
  const Tensor host = torch::stable::contiguous(state);
  const int64_t *s = host.const_data_ptr<int64_t>(), size = values.size(0);
  STD_TORCH_CHECK(0 <= s[0] && s[0] < size && 0 <= s[1] && s[1] <= size, "queue: a state that cannot be");
}

// What memory safety needs; Python has said the same things more kindly. The sizes of products are checked by Torch,
// but a wrong `out` would be resized, and the row kernel trusts its pointers.
inline void check(const Call& c) {
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
  STD_TORCH_CHECK(c.snapshot.size() <= 3, "linear_kd: more than one snapshot");
  shape(c.mix_weights, "mix_weights", {int64_t(c.teachers.size()) / 3, rows});
  STD_TORCH_CHECK(bool(c.sparse_ids) == bool(c.sparse_log_probs), "linear_kd: half a sparse teacher");
  int64_t k = 0;
  if (c.sparse_ids) {
    STD_TORCH_CHECK(c.sparse_ids->dim() == 2 && c.sparse_ids->scalar_type() == ScalarType::Long,
                    "linear_kd: sparse ids");
    k = c.sparse_ids->size(1);
    shape(c.sparse_ids, "sparse ids", {rows, k});
    shape(c.sparse_log_probs, "sparse log_probs", {rows, k});
    const Tensor ids = torch::stable::contiguous(*c.sparse_ids);
    for (int64_t i = 0; !c.masked && i < rows * k; ++i)
      STD_TORCH_CHECK(0 <= ids.const_data_ptr<int64_t>()[i] && ids.const_data_ptr<int64_t>()[i] < vocab,
                      "linear_kd: sparse ids must lie in [0, ", vocab, "), got ", ids.const_data_ptr<int64_t>()[i]);
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
  if (c.queue) check_queue(*c.queue, *c.queue_state, c.hidden, c.masked);
  shape(c.gate, "gate", {1});
  STD_TORCH_CHECK(!c.gate || c.gate->scalar_type() == ScalarType::Float, "linear_kd: the gate must be float32");
  STD_TORCH_CHECK(c.masked || !c.hidden.is_cuda(), "linear_kd: on a GPU all rows are computed");
  STD_TORCH_CHECK(c.dropped_mass == 0 || (c.weight && !c.masked && c.hidden.scalar_type() != ScalarType::Double),
                  "linear_kd: gradients are filtered on the CPU, with a weight and not in float64");
}

}  // namespace distilmt::ops
