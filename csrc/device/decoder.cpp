#include "device/decoder.h"

namespace distilmt {
namespace {

int64_t rows_of(const DeviceShape& shape) { return int64_t{shape.slots} * shape.beams; }

}  // namespace

DeviceDecoder::DeviceDecoder(const DeviceModel& model, const DeviceShape& shape, Memory& memory)
    : model_(model),
      shape_(shape),
      stack_(model, model.decoder, memory, Queue::decode, rows_of(shape), model.config.decoder_ffn, 0) {
  const int64_t number = cuda::bytes(model.storage), d = model.config.hidden, rows = rows_of(shape);
  own_ = Stored(memory, model.config.decoder_layers * shape.pages * cuda::kPage * shape.beams * 2 * d * number);
  query_key_value_ = Stored(memory, rows * 3 * d * number);
  query_ = Stored(memory, rows * d * number);
  context_ = Stored(memory, rows * d * number);
  given_ = Stored(memory, rows * d * number);
  inner_ = Stored(memory, rows * model.config.decoder_ffn * number);
  logits_ = DeviceArray<float>(memory, model.rounded(rows) * stride());
  if (shape.attention)
    attention_ = DeviceArray<float>(memory, rows * model.config.decoder_heads * shape.source_positions);
}

void DeviceDecoder::queue(const cuda::Slots& slots, const int32_t* source_length, const Stored& source) {
  const ModelConfig& c = model_.config;
  const Kernels& kernels = model_.device->kernels();
  const int64_t rows = int64_t{slots.launched} * slots.beams, layers = c.decoder_layers;
  stack_.start(model_.target_table(), slots.tokens, slots.position, slots.live, slots.beams, rows);
  for (int64_t i = 0; i < layers; ++i) {
    const DeviceLayer& layer = model_.decoder.layers[i];
    stack_.product(stack_.input(), layer.query_key_value, query_key_value_);
    stack_.run(kernels.own_attention,
               cuda::OwnAttention{model_.storage, query_key_value_.get(), slots, c.hidden, c.decoder_heads,
                                  own_.get() + own_.count() / layers * i, context_.get()});
    stack_.bare_product(context_.get(), layer.out, given_);
    stack_.close(given_, layer.out, layer.attention_norm, layer.cross_norm);

    stack_.product(stack_.input(), layer.cross_query, query_);
    stack_.run(kernels.source_attention,
               cuda::SourceAttention{model_.storage, query_.get(), slots, source_length, shape_.source_positions,
                                     c.hidden, c.decoder_heads, source.get() + source.count() / layers * i,
                                     context_.get(), i + 1 == layers ? attention_.get() : nullptr});
    stack_.bare_product(context_.get(), layer.cross_out, given_);
    stack_.close(given_, layer.cross_out, layer.cross_norm, layer.final_norm);
    stack_.feed_forward(i, inner_, given_);
  }
  stack_.bare_product(stack_.input(), model_.projection, logits_);
}

}  // namespace distilmt
