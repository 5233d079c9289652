// Loss of a linear output layer against targets and a teacher, with its gradients, by chunks of rows.
// Formula of a row: kernels/linear_kd.h. Shapes, units and Python side: distilmt/ops/linear_kd.py.
//
//   for each chunk of the rows that have a target:
//     student [chunk, vocab] = hidden weight^T         teacher [chunk, vocab] likewise          (products by Torch)
//     row kernel: losses, and g = d loss / d logits over the student's buffer                   (ours)
//     grad_hidden = g weight        grad_weight += g^T hidden        grad_bias += 1^T g         (products by Torch)
//
// The two buffers are all that grows with chunk * vocab. Half precision is computed in float32 throughout: its weights
// are converted once per call.
#include <tuple>

#include "ops/cuda_library.h"
#include "ops/head_gradients.h"

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

template <class real>
void run_rows(const LinearKDRows<real>& rows, const Tensor& like) {
  if (!like.is_cuda()) {
    torch::stable::parallel_for(0, rows.rows, 1, [&](int64_t begin, int64_t end) { linear_kd_rows(rows, begin, end); });
    return;
  }
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(cuda_library().current_stream(like.get_device_index(), &stream));
  const int error = launch(rows, stream);
  STD_TORCH_CHECK(error == 0, "linear_kd: launching the CUDA kernel failed with cudaError ", error);
}

template <class real>
real* data(const Tensor& t, int64_t entry = 0) {
  return static_cast<real*>(t.mutable_data_ptr()) + entry;
}

// The arguments of the operator, as in its schema below.
struct Call {
  Tensor hidden;
  OptionalTensor weight;
  Tensor targets;
  OptionalTensor bias, teacher_hidden, teacher_weight, teacher_bias, row_weights;
  double nll_weight, kd_weight, label_smoothing, temperature;
  int64_t workspace_bytes;
  bool grad_hidden, grad_weight, grad_bias;

  int64_t vocab() const { return weight ? weight->size(0) : hidden.size(1); }
};

using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

template <class real>
Outputs run(const Call& c) {
  constexpr ScalarType dtype = std::is_same_v<real, double> ? ScalarType::Double : ScalarType::Float;
  const int64_t vocab = c.vocab();
  const KeptRows kept = keep_rows(c.targets, vocab);
  const int64_t chunk = chunk_rows(kept.count, vocab * sizeof(real) * (c.teacher_hidden ? 2 : 1), c.workspace_bytes);

  const Head student(c.hidden, c.weight, c.bias, chunk, vocab, dtype);
  std::optional<Head> teacher;
  if (c.teacher_hidden) teacher.emplace(*c.teacher_hidden, c.teacher_weight, c.teacher_bias, chunk, vocab, dtype);
  HeadGradients gradients(c.grad_hidden, c.grad_weight, c.grad_bias, kept, student);
  const Tensor losses = torch::stable::new_zeros(student.logits, {4, kept.count});
  const Tensor uniform = torch::stable::new_empty(student.logits, {chunk, 1});
  Tensor w = torch::stable::full({kept.count, 1}, 1.0, dtype, std::nullopt, c.hidden.device());
  if (c.row_weights)
    w = torch::stable::unsqueeze(
        torch::stable::to(kept.chunk(torch::stable::contiguous(*c.row_weights), 0, kept.count), dtype), 1);

  LinearKDRows<real> rows{};
  rows.student = data<real>(student.logits);
  rows.bias = student.bias ? data<real>(*student.bias) : nullptr;
  rows.teacher = teacher ? data<real>(teacher->logits) : nullptr;
  rows.teacher_bias = teacher && teacher->bias ? data<real>(*teacher->bias) : nullptr;
  rows.vocab = vocab;
  rows.nll_weight = c.nll_weight;
  rows.kd_weight = c.kd_weight;
  rows.temperature = c.temperature;
  rows.with_grad = gradients.any();

  std::optional<LabelSmoothing> smoothing;
  double uniform_grad = 0;
  if (c.label_smoothing > 0) {
    smoothing.emplace(c.label_smoothing, student);
    rows.uniform = data<real>(uniform);
    rows.smoothing = smoothing->each;
    rows.unbanned = smoothing->columns;
    rows.uniform_bias = smoothing->bias_sum;
    uniform_grad = -c.nll_weight * smoothing->each;
  }

  for (int64_t begin = 0; begin < kept.count; begin += chunk) {
    const int64_t count = std::min(chunk, kept.count - begin);
    const Tensor h = student.project(kept, begin, count);
    if (teacher) teacher->project(kept, begin, count);
    if (smoothing) mm_out(rows_of(uniform, 0, count), h, transpose(smoothing->u));
    rows.rows = count;
    rows.targets = data<int64_t>(kept.targets, begin);
    rows.row_weights = data<real>(w, begin);
    rows.loss = data<real>(losses, begin);
    rows.nll = rows.loss + kept.count;
    rows.smoothed_nll = rows.nll + kept.count;
    rows.kl = rows.smoothed_nll + kept.count;
    run_rows(rows, c.hidden);
    gradients.add(rows_of(student.logits, 0, count), h, begin);
    if (smoothing) gradients.add_uniform(*smoothing, rows_of(w, begin, count), h, begin, uniform_grad);
  }
  if (smoothing) gradients.finish_uniform(*smoothing, uniform_grad);

  return {torch::stable::sum(torch::stable::select(losses, 0, 0)), kept.spread(rows_of(losses, 1, 3), 1),
          c.grad_hidden ? kept.spread(gradients.hidden, 0) : gradients.hidden, gradients.weight.sum,
          c.grad_bias ? torch::stable::squeeze(gradients.bias.sum, 0) : gradients.bias.sum};
}

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
  shape(c.teacher_bias, "teacher_bias", {vocab});
  if (!c.teacher_hidden) return;
  STD_TORCH_CHECK(c.teacher_hidden->dim() == 2, "linear_kd: teacher_hidden must be a matrix");
  const int64_t width = c.teacher_weight ? c.teacher_hidden->size(1) : vocab;
  shape(c.teacher_hidden, "teacher_hidden", {rows, width});
  shape(c.teacher_weight, "teacher_weight", {vocab, width});
}

Outputs linear_kd(Tensor hidden, OptionalTensor weight, Tensor targets, OptionalTensor bias,
                  OptionalTensor teacher_hidden, OptionalTensor teacher_weight, OptionalTensor teacher_bias,
                  OptionalTensor row_weights, double nll_weight, double kd_weight, double label_smoothing,
                  double temperature, int64_t workspace_bytes, bool grad_hidden, bool grad_weight, bool grad_bias) {
  const Call c{hidden,          weight,      targets,     bias,      teacher_hidden,  teacher_weight,
               teacher_bias,    row_weights, nll_weight,  kd_weight, label_smoothing, temperature,
               workspace_bytes, grad_hidden, grad_weight, grad_bias};
  check(c);
  std::optional<torch::stable::accelerator::DeviceGuard> guard;
  if (hidden.is_cuda()) guard.emplace(hidden.get_device_index());
  return hidden.scalar_type() == ScalarType::Double ? run<double>(c) : run<float>(c);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(distilmt, m) {
  m.def(
      "linear_kd(Tensor hidden, Tensor? weight, Tensor targets, Tensor? bias, Tensor? teacher_hidden, "
      "Tensor? teacher_weight, Tensor? teacher_bias, Tensor? row_weights, float nll_weight, float kd_weight, "
      "float label_smoothing, float temperature, int workspace_bytes, bool grad_hidden, bool grad_weight, bool "
      "grad_bias) "
      "-> (Tensor loss, Tensor terms, Tensor grad_hidden, Tensor grad_weight, Tensor grad_bias)");
}
STABLE_TORCH_LIBRARY_IMPL(distilmt, CPU, m) { m.impl("linear_kd", TORCH_BOX(&linear_kd)); }
STABLE_TORCH_LIBRARY_IMPL(distilmt, CUDA, m) { m.impl("linear_kd", TORCH_BOX(&linear_kd)); }

}  // namespace distilmt::ops
