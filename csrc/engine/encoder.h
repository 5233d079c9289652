// The encoder: several sentences at once, their tokens packed behind each other without padding.
#pragma once
#include <atomic>
#include <cstdint>
#include <vector>

#include "engine/stream.h"

namespace distilmt {

// Tokens the encoder should take at once, where no sentence has more than `longest`: enough rows for the matrix
// products to reach their speed.
constexpr int64_t encoder_chunk(int64_t longest) { return longest > 192 ? longest : 192; }

class Encoder {
 public:
  // max_tokens: bound on the tokens of one call, which fixes the memory. stop: once true, layers are left out, and what
  // is returned is worthless.
  Encoder(const Weights& weights, int64_t max_tokens, const std::atomic<bool>& stop);

  // ids: the sentences' tokens behind each other; lengths of the sentences, each at least 1 and
  // at most the model's positions. Returns the hidden states [tokens, hidden], valid until the next call. A sentence's
  // states do not depend on the others.
  const float* encode(const std::vector<int32_t>& ids, const std::vector<int>& lengths);

 private:
  const Weights& weights_;
  const std::atomic<bool>& stop_;
  Stream stream_;
  Aligned<float> query_key_value_, context_, inner_;
  std::vector<int32_t> at_;
};

}  // namespace distilmt
