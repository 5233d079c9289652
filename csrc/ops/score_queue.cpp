// The queue of a choice by itself, for a gate per optimizer step: pushes scores, and says where the gate now is.
// Shapes and Python side: distilmt/ops/score_queue.py.
#include <tuple>

#include "ops/launch.h"
#include "ops/linear_kd_call.h"

namespace distilmt::ops {
namespace {

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
  const OnDevice guard(scores);
  run(call, scores);
  return {pushed, after, gate};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(distilmt, m) {
  m.def(
      "score_queue(Tensor values, Tensor state, Tensor scores, float rate, bool lowest) -> (Tensor values, Tensor "
      "state, Tensor gate)");
}
STABLE_TORCH_LIBRARY_IMPL(distilmt, CPU, m) { m.impl("score_queue", TORCH_BOX(&score_queue)); }
STABLE_TORCH_LIBRARY_IMPL(distilmt, CUDA, m) { m.impl("score_queue", TORCH_BOX(&score_queue)); }

}  // namespace distilmt::ops
