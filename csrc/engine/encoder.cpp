#include "engine/encoder.h"

#include "common/aligned.h"
#include "kernels/attention.h"
#include "kernels/embed.h"
#include "kernels/layer_norm.h"

namespace distilmt {

constexpr float kEps = 1e-5f;  // torch.nn.LayerNorm's default, which Marian keeps

Encoder::Encoder(const Weights& weights, int64_t max_tokens, const std::atomic<bool>& stop)
    : weights_(weights),
      stop_(stop),
      x_(aligned<float>(max_tokens * weights.config.hidden)),
      query_key_value_(aligned<float>(max_tokens * 3 * weights.config.hidden)),
      context_(aligned<float>(max_tokens * weights.config.hidden)),
      inner_(aligned<float>(max_tokens * weights.config.encoder_ffn)) {}

const float* Encoder::encode(const std::vector<int32_t>& ids, const std::vector<int>& lengths) {
  const ModelConfig& c = weights_.config;
  const int64_t rows = static_cast<int64_t>(ids.size()), d = c.hidden, ffn = c.encoder_ffn;
  at_.clear();
  for (int length : lengths)
    for (int position = 0; position < length; ++position) at_.push_back(position);

  float* x = x_.get();
  embed(weights_.source_embedding.data(), weights_.embedding_scale(), weights_.source_positions.data(), ids.data(),
        at_.data(), rows, d, x);
  for (const EncoderLayer& layer : weights_.encoder) {
    if (stop_) break;
    gemm(x, d, rows, layer.query_key_value, Activation::none, nullptr, 0, query_key_value_.get(), 3 * d);
    int64_t first = 0;
    for (int length : lengths) {
      attend_sentence(query_key_value_.get() + first * 3 * d, length, d, c.encoder_heads, context_.get() + first * d);
      first += length;
    }
    gemm(context_.get(), d, rows, layer.out, Activation::none, x, d, x, d);
    layer_norm(x, layer.attention_norm.gamma.data(), layer.attention_norm.beta.data(), kEps, rows, d, x);
    gemm(x, d, rows, layer.up, c.activation, nullptr, 0, inner_.get(), ffn);
    gemm(inner_.get(), ffn, rows, layer.down, Activation::none, x, d, x, d);
    layer_norm(x, layer.final_norm.gamma.data(), layer.final_norm.beta.data(), kEps, rows, d, x);
  }
  return x;
}

}  // namespace distilmt
