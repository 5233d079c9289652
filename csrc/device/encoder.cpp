#include "device/encoder.h"

#include <algorithm>

namespace distilmt {

EncoderPass::EncoderPass(Memory& memory, int64_t capacity)
    : capacity_(capacity),
      written_(memory, 4 * capacity + 1, DeviceArray<int32_t>::Kind::mapped),
      sent_(memory, 4 * capacity + 1) {}

void EncoderPass::add(int to, const int* source, int length) {
  const Fields f = fields(written_);
  for (int i = 0; i < length; ++i, ++tokens) {
    f.ids[tokens] = source[i];
    f.at[tokens] = i;
    f.place[tokens] = to;
  }
  longest = sentences == 0 ? length : std::max(longest, length);
  f.begin[++sentences] = static_cast<int32_t>(tokens);
}

void EncoderPass::send(Device& device) const {
  device.copy(Queue::encode, sent_.get(), written_.get(), written_.count() * 4);
}

DeviceEncoder::DeviceEncoder(const DeviceModel& model, Memory& memory, int64_t capacity)
    : model_(model),
      stack_(model, model.encoder, memory, Queue::encode, capacity, model.config.encoder_ffn,
             model.config.decoder_layers * 2 * model.config.hidden),
      table_(memory, model.cudnn ? 3 * SentenceAttention::entries(capacity) : 0) {
  const int64_t number = cuda::bytes(model.storage), d = model.config.hidden;
  if (model.cudnn && capacity * 3 * d > INT32_MAX)
    throw DeviceError("cuDNN counts in 32 bits, choose attention=\"own\": " + std::to_string(capacity) + " tokens of " +
                      std::to_string(3 * d) + " numbers");
  query_key_value_ = Stored(memory, capacity * 3 * d * number);
  context_ = Stored(memory, capacity * d * number);
  given_ = Stored(memory, capacity * d * number);
  inner_ = Stored(memory, capacity * model.config.encoder_ffn * number);
  key_value_ = Stored(memory, capacity * model.config.decoder_layers * 2 * d * number);
}

void DeviceEncoder::queue(const EncoderPass& pass, Stored& source, int places, int source_positions) {
  const ModelConfig& c = model_.config;
  const Kernels& kernels = model_.device->kernels();
  const EncoderPass::Fields f = pass.fields();
  const SentenceAttention by_cudnn{model_.attention(), query_key_value_.get(), table_.get(),
                                   table_.count() / 3, pass.sentences,         context_.get()};
  if (model_.cudnn)
    stack_.run(kernels.tell_sentences,
               cuda::SentenceTable{f.begin, pass.sentences, c.hidden, table_.count() / 3, table_.get()});
  stack_.start(model_.source_table(), f.ids, f.at, nullptr, 1, pass.tokens);
  for (size_t i = 0; i < model_.encoder.layers.size(); ++i) {
    const DeviceLayer& layer = model_.encoder.layers[i];
    stack_.product(stack_.input(), layer.query_key_value, query_key_value_);
    if (model_.cudnn)
      model_.device->attend(Queue::encode, by_cudnn);
    else
      stack_.run(kernels.packed_attention,
                 cuda::PackedAttention{model_.storage, query_key_value_.get(), f.begin, pass.sentences, pass.longest,
                                       c.hidden, c.encoder_heads, context_.get()});
    stack_.bare_product(context_.get(), layer.out, given_);
    stack_.close(given_, layer.out, layer.attention_norm, layer.final_norm);
    stack_.feed_forward(i, inner_, given_);
  }
  stack_.product(stack_.input(), model_.cross_key_value, key_value_);
  stack_.run(kernels.keep_source,
             cuda::SourceKeeping{model_.storage, key_value_.get(), f.place, f.at, pass.tokens, c.decoder_layers, places,
                                 source_positions, c.hidden, source.get()});
}

}  // namespace distilmt
