// Loss of a linear output layer against targets and teachers, with its gradients: the operator. The loop over chunks of
// rows: ops/linear_kd_loop.h. Terms and formula of a row: kernels/linear_kd.h. Shapes, units and Python side:
// distilmt/ops/linear_kd.py.
#include "ops/linear_kd_loop.h"

namespace distilmt::ops {
namespace {

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
  const OnDevice guard(hidden);
  if (hidden.scalar_type() == ScalarType::Double) return LinearKDLoop<double, double>(c)();
  switch (storage_dtype(c)) {
    case ScalarType::BFloat16: return LinearKDLoop<float, bfloat16>(c)();
    case ScalarType::Half: return LinearKDLoop<float, float16>(c)();
    default: return LinearKDLoop<float, float>(c)();
  }
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
}
STABLE_TORCH_LIBRARY_IMPL(distilmt, CPU, m) { m.impl("linear_kd", TORCH_BOX(&linear_kd)); }
STABLE_TORCH_LIBRARY_IMPL(distilmt, CUDA, m) { m.impl("linear_kd", TORCH_BOX(&linear_kd)); }

}  // namespace distilmt::ops
