#include "engine/encoder.h"

#include "kernels/attention.h"

namespace distilmt {

Encoder::Encoder(const Weights& weights, int64_t max_tokens, const std::atomic<bool>& stop)
    : weights_(weights),
      stop_(stop),
      stream_(weights.config, weights.encoder_stack, max_tokens),
      query_key_value_(aligned<float>(max_tokens * 3 * weights.config.hidden)),
      context_(aligned<float>(max_tokens * weights.config.hidden)),
      inner_(aligned<float>(max_tokens * weights.config.encoder_ffn)) {}

const float* Encoder::encode(const std::vector<int32_t>& ids, const std::vector<int>& lengths) {
  const ModelConfig& c = weights_.config;
  const int64_t rows = static_cast<int64_t>(ids.size()), d = c.hidden, ffn = c.encoder_ffn;
  at_.clear();
  for (int length : lengths)
    for (int position = 0; position < length; ++position) at_.push_back(position);

  stream_.start(weights_.source_table(), ids.data(), at_.data(), rows);
  float* x = stream_.x();
  for (const EncoderLayer& layer : weights_.encoder) {
    if (stop_) break;
    gemm(stream_.before(layer.attention_norm), d, rows, layer.query_key_value, Activation::none, nullptr, 0,
         query_key_value_.get(), 3 * d);
    int64_t first = 0;
    for (int length : lengths) {
      attend_sentence(query_key_value_.get() + first * 3 * d, length, d, c.encoder_heads, context_.get() + first * d);
      first += length;
    }
    gemm(context_.get(), d, rows, layer.out, Activation::none, x, d, x, d);
    stream_.after(layer.attention_norm);
    gemm(stream_.before(layer.final_norm), d, rows, layer.up, c.activation, nullptr, 0, inner_.get(), ffn);
    gemm(inner_.get(), ffn, rows, layer.down, Activation::none, x, d, x, d);
    stream_.after(layer.final_norm);
  }
  return stream_.finish();
}

}  // namespace distilmt
