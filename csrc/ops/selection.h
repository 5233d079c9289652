// Which rows the gated terms look at: by a score of each row, and a gate that the scores give themselves.
//
//   rate r over a batch:  gate = the ceil(n r)-th largest of the n scores of this call
//   rate r over a queue:  the scores are pushed first, then gate = the ceil(n r)-th largest of the n in the queue
//   a given gate:         nothing is pushed
//   chosen = score >= gate, ties included; or, with `lowest`, all of this from the other end
//
// The queue is a ring of the last `capacity` scores. (The released code drops as many old scores as a batch brings, so
// that its queue freezes somewhat below its size, and a batch larger than the queue replaces it.)
// Source: Wang et al. 2021 (Selective KD, arXiv:2105.12967), section 4; order and ties as in the authors' code.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "ops/tensors.h"

namespace distilmt::ops {

// The ceil(n rate)-th largest of n values, or smallest; of none, a gate that all rows pass.
inline float gate_of(std::vector<float> values, double rate, bool lowest) {
  values.erase(std::remove_if(values.begin(), values.end(), [](float x) { return std::isnan(x); }), values.end());
  if (values.empty()) return lowest ? INFINITY : -INFINITY;
  // The product is rounded before ceil: 10 * 0.3 is 3, not 4.
  const double wanted = std::ceil(float(values.size() * rate));
  const size_t rank = std::clamp<size_t>(size_t(wanted), 1, values.size()) - 1;
  const auto nth = values.begin() + rank;
  if (lowest)
    std::nth_element(values.begin(), nth, values.end());
  else
    std::nth_element(values.begin(), nth, values.end(), std::greater<float>());
  return *nth;
}

// A queue as two tensors on the host: values float32 [capacity], state int64 [2]: where the next one goes, how many.
struct ScoreQueue {
  Tensor values, state;

  ScoreQueue(const Tensor& given, const Tensor& given_state)
      : values(torch::stable::clone(given)), state(torch::stable::clone(given_state)) {
    const int64_t* s = state.const_data_ptr<int64_t>();
    const int64_t size = values.size(0);
    STD_TORCH_CHECK(size > 0 && 0 <= s[0] && s[0] < size && 0 <= s[1] && s[1] <= size, "queue: a state that cannot be");
  }

  void push(const std::vector<float>& scores) {
    float* v = values.mutable_data_ptr<float>();
    int64_t* s = state.mutable_data_ptr<int64_t>();
    const int64_t size = values.size(0);
    for (float score : scores) {
      if (std::isnan(score)) continue;  // of a step that training will skip
      v[s[0]] = score;
      s[0] = (s[0] + 1) % size;
      s[1] = std::min(s[1] + 1, size);
    }
  }

  float gate(double rate, bool lowest) const {
    const float* v = values.const_data_ptr<float>();
    return gate_of(std::vector<float>(v, v + state.const_data_ptr<int64_t>()[1]), rate, lowest);
  }
};

}  // namespace distilmt::ops
