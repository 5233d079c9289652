#include "engine/decoder.h"

#include <algorithm>

#include "kernels/attention.h"

namespace distilmt {
namespace {

int64_t own_size(const ModelConfig& c, const DecoderShape& s) {
  return int64_t{s.slots} * s.positions * c.decoder_layers * s.beams * 2 * c.hidden;
}

int64_t source_size(const ModelConfig& c, const DecoderShape& s) {
  return int64_t{s.places} * s.source_positions * c.decoder_layers * 2 * c.hidden;
}

void copy(const float* from, int64_t count, float* to) { std::copy_n(from, count, to); }
void copy(const float* from, int64_t count, bfloat16* to) { to_bfloat16(from, count, to); }

}  // namespace

int64_t Decoder::bytes(const ModelConfig& config, const DecoderShape& shape) {
  const int64_t wide = shape.source_positions * config.decoder_layers * 2 * config.hidden;
  const int64_t kept = own_size(config, shape) + source_size(config, shape);
  return (config.number == Number::float32 ? 4 : 2) * kept + 4 * wide;
}

Decoder::Decoder(const Weights& weights, const DecoderShape& shape, const std::atomic<bool>& stop)
    : weights_(weights),
      stop_(stop),
      shape_(shape),
      narrow_(weights.config.number != Number::float32),
      own_(aligned<uint8_t>(own_size(weights.config, shape) * (narrow_ ? 2 : 4), false)),
      source_(aligned<uint8_t>(source_size(weights.config, shape) * (narrow_ ? 2 : 4), false)),
      wide_(aligned<float>(shape.source_positions * weights.cross_key_value.n)),
      stream_(weights.config, weights.decoder_stack, shape.rows),
      keys_(shape.positions),
      values_(shape.positions) {
  const int64_t rows = shape.rows, d = weights.config.hidden;
  query_key_value_ = aligned<float>(rows * 3 * d);
  context_ = aligned<float>(rows * d);
  inner_ = aligned<float>(rows * weights.config.decoder_ffn);
  if (shape.attention) attention_ = aligned<float>(rows * shape.source_positions);
}

void Decoder::enter(int place, const float* encoded, int length) {
  gemm(encoded, weights_.config.hidden, length, weights_.cross_key_value, Activation::none, nullptr, 0, wide_.get(),
       weights_.cross_key_value.n);
  narrow_ ? keep_source<bfloat16>(place, length) : keep_source<float>(place, length);
}

template <class E>
void Decoder::keep_source(int place, int length) {
  const int64_t layers = weights_.config.decoder_layers, row = 2 * weights_.config.hidden;
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t t = 0; t < length; ++t)
      copy(wide_.get() + (t * layers + layer) * row, row, source<E>(place, layer) + t * row);
}

template <class E>
E* Decoder::source(int place, int64_t layer) const {
  const int64_t entry = (int64_t{place} * weights_.config.decoder_layers + layer) * shape_.source_positions;
  return reinterpret_cast<E*>(source_.get()) + entry * 2 * weights_.config.hidden;
}

template <class E>
E* Decoder::key(int slot, int position, int64_t layer, int beam) const {
  const int64_t layers = weights_.config.decoder_layers;
  const int64_t entry = ((int64_t{slot} * layers + layer) * shape_.positions + position) * shape_.beams + beam;
  return reinterpret_cast<E*>(own_.get()) + entry * 2 * weights_.config.hidden;
}

template <class E>
void Decoder::attend_self(const std::vector<DecoderInput>& inputs, int64_t layer) {
  const int64_t d = weights_.config.hidden;
  const float* row = query_key_value_.get();
  float* out = context_.get();
  const E** keys = reinterpret_cast<const E**>(keys_.data());
  const E** values = reinterpret_cast<const E**>(values_.data());
  for (const DecoderInput& in : inputs) {
    for (int beam = 0; beam < in.rows; ++beam)
      copy(row + beam * 3 * d + d, 2 * d, key<E>(in.slot, in.position, layer, beam));
    for (int beam = 0; beam < in.rows; ++beam, row += 3 * d, out += d) {
      const uint16_t* ancestors = in.ancestors->of(beam);
      for (int t = 0; t <= in.position; ++t) {
        keys[t] = key<E>(in.slot, t, layer, ancestors[t]);
        values[t] = keys[t] + d;
      }
      attend_rows(row, keys, values, in.position + 1, d, weights_.config.decoder_heads, out);
    }
  }
}

template <class E>
void Decoder::attend_source(const std::vector<DecoderInput>& inputs, int64_t layer) {
  const int64_t d = weights_.config.hidden;
  float* query = context_.get();
  float* attention = layer + 1 == weights_.config.decoder_layers ? attention_.get() : nullptr;
  for (size_t i = 0; i < inputs.size();) {
    const DecoderInput& in = inputs[i];
    int rows = 0;  // of this input and of those behind it that read the same source
    for (; i < inputs.size() && inputs[i].place == in.place; ++i) rows += inputs[i].rows;
    const E* keys = source<E>(in.place, layer);
    attend_cross(query, rows, d, keys, keys + d, 2 * d, in.source_length, d, weights_.config.decoder_heads, query, d,
                 attention, shape_.source_positions, i < inputs.size() ? source<E>(inputs[i].place, layer) : nullptr);
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

  stream_.start(weights_.target_table(), ids_.data(), at_.data(), rows);
  float *x = stream_.x(), *context = context_.get(), *inner = inner_.get();
  for (int64_t i = 0; i < c.decoder_layers && !stop_; ++i) {
    const DecoderLayer& layer = weights_.decoder[i];
    gemm(stream_.before(layer.attention_norm), d, rows, layer.query_key_value, Activation::none, nullptr, 0,
         query_key_value_.get(), 3 * d);
    narrow_ ? attend_self<bfloat16>(inputs, i) : attend_self<float>(inputs, i);
    gemm(context, d, rows, layer.out, Activation::none, x, d, x, d);
    stream_.after(layer.attention_norm);

    gemm(stream_.before(layer.cross_norm), d, rows, layer.cross_query, Activation::none, nullptr, 0, context, d);
    narrow_ ? attend_source<bfloat16>(inputs, i) : attend_source<float>(inputs, i);
    gemm(context, d, rows, layer.cross_out, Activation::none, x, d, x, d);
    stream_.after(layer.cross_norm);

    gemm(stream_.before(layer.final_norm), d, rows, layer.up, c.activation, nullptr, 0, inner, ffn);
    gemm(inner, ffn, rows, layer.down, Activation::none, x, d, x, d);
    stream_.after(layer.final_norm);
  }
  return stream_.finish();
}

}  // namespace distilmt
