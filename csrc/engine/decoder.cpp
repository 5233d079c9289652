#include "engine/decoder.h"

#include <algorithm>

#include "common/aligned.h"
#include "kernels/attention.h"
#include "kernels/embed.h"
#include "kernels/layer_norm.h"

namespace distilmt {
namespace {

constexpr float kEps = 1e-5f;  // torch.nn.LayerNorm's default, which Marian keeps

int64_t own_size(const ModelConfig& c, const DecoderShape& s) {
  return int64_t{s.slots} * s.positions * c.decoder_layers * s.beams * 2 * c.hidden;
}

int64_t source_size(const ModelConfig& c, const DecoderShape& s) {
  return int64_t{s.places} * s.source_positions * c.decoder_layers * 2 * c.hidden;
}

void normalise(const Norm& norm, int64_t rows, int64_t d, float* x) {
  layer_norm(x, norm.gamma.data(), norm.beta.data(), kEps, rows, d, x);
}

}  // namespace

int64_t Decoder::bytes(const ModelConfig& config, const DecoderShape& shape) {
  return 4 * (own_size(config, shape) + source_size(config, shape));
}

Decoder::Decoder(const Weights& weights, const DecoderShape& shape, const std::atomic<bool>& stop)
    : weights_(weights),
      stop_(stop),
      shape_(shape),
      own_(aligned<float>(own_size(weights.config, shape))),
      source_(aligned<float>(source_size(weights.config, shape))),
      keys_(shape.positions),
      values_(shape.positions) {
  const int64_t rows = shape.rows, d = weights.config.hidden;
  x_ = aligned<float>(rows * d);
  query_key_value_ = aligned<float>(rows * 3 * d);
  context_ = aligned<float>(rows * d);
  inner_ = aligned<float>(rows * weights.config.decoder_ffn);
  if (shape.attention) attention_ = aligned<float>(rows * shape.source_positions);
}

float* Decoder::key(int slot, int position, int64_t layer, int beam) const {
  const int64_t layers = weights_.config.decoder_layers;
  const int64_t entry = ((int64_t{slot} * shape_.positions + position) * layers + layer) * shape_.beams + beam;
  return own_.get() + entry * 2 * weights_.config.hidden;
}

void Decoder::enter(int place, const float* encoded, int length) {
  const int64_t d = weights_.config.hidden, stride = weights_.cross_key_value.n;
  gemm(encoded, d, length, weights_.cross_key_value, Activation::none, nullptr, 0,
       source_.get() + int64_t{place} * shape_.source_positions * stride, stride);
}

void Decoder::attend_self(const std::vector<DecoderInput>& inputs, int64_t layer) {
  const int64_t d = weights_.config.hidden;
  const float* row = query_key_value_.get();
  float* out = context_.get();
  for (const DecoderInput& in : inputs) {
    for (int beam = 0; beam < in.rows; ++beam)
      std::copy_n(row + beam * 3 * d + d, 2 * d, key(in.slot, in.position, layer, beam));
    for (int beam = 0; beam < in.rows; ++beam, row += 3 * d, out += d) {
      const uint16_t* ancestors = in.ancestors->of(beam);
      for (int t = 0; t <= in.position; ++t) {
        keys_[t] = key(in.slot, t, layer, ancestors[t]);
        values_[t] = keys_[t] + d;
      }
      attend_rows(row, keys_.data(), values_.data(), in.position + 1, d, weights_.config.decoder_heads, out);
    }
  }
}

void Decoder::attend_source(const std::vector<DecoderInput>& inputs, int64_t layer) {
  const int64_t d = weights_.config.hidden, stride = weights_.cross_key_value.n;
  float* query = context_.get();
  float* attention = layer + 1 == weights_.config.decoder_layers ? attention_.get() : nullptr;
  for (size_t i = 0; i < inputs.size();) {
    const DecoderInput& in = inputs[i];
    int rows = 0;  // of this input and of those behind it that read the same source
    for (; i < inputs.size() && inputs[i].place == in.place; ++i) rows += inputs[i].rows;
    const float* keys = source_.get() + int64_t{in.place} * shape_.source_positions * stride + layer * 2 * d;
    attend_cross(query, rows, d, keys, keys + d, stride, in.source_length, d, weights_.config.decoder_heads, query, d,
                 attention, shape_.source_positions);
    query += rows * d;
    if (attention) attention += rows * shape_.source_positions;
  }
}

const float* Decoder::step(const std::vector<DecoderInput>& inputs) {
  const ModelConfig& c = weights_.config;
  const int64_t d = c.hidden, ffn = c.decoder_ffn;
  ids_.clear();
  at_.clear();
  for (const DecoderInput& in : inputs) {
    ids_.insert(ids_.end(), in.tokens, in.tokens + in.rows);
    at_.insert(at_.end(), in.rows, in.position);
  }
  const int64_t rows = static_cast<int64_t>(ids_.size());

  float *x = x_.get(), *context = context_.get(), *inner = inner_.get();
  embed(weights_.target_table(), weights_.embedding_scale(), weights_.target_positions.data(), ids_.data(), at_.data(),
        rows, d, x);
  for (int64_t i = 0; i < c.decoder_layers && !stop_; ++i) {
    const DecoderLayer& layer = weights_.decoder[i];
    gemm(x, d, rows, layer.query_key_value, Activation::none, nullptr, 0, query_key_value_.get(), 3 * d);
    attend_self(inputs, i);
    gemm(context, d, rows, layer.out, Activation::none, x, d, x, d);
    normalise(layer.attention_norm, rows, d, x);

    gemm(x, d, rows, layer.cross_query, Activation::none, nullptr, 0, context, d);
    attend_source(inputs, i);
    gemm(context, d, rows, layer.cross_out, Activation::none, x, d, x, d);
    normalise(layer.cross_norm, rows, d, x);

    gemm(x, d, rows, layer.up, c.activation, nullptr, 0, inner, ffn);
    gemm(inner, ffn, rows, layer.down, Activation::none, x, d, x, d);
    normalise(layer.final_norm, rows, d, x);
  }
  return x;
}

}  // namespace distilmt
