#include "engine/weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <limits>
#include <thread>

#include "common/platform.h"

namespace distilmt {
namespace {

using Names = std::vector<std::string>;

// Reads the parts (each [rows, hidden] with a bias) and packs them below each other as one matrix.
PackedMatrix pack_stacked(const TensorSource& tensors, Number number, const Names& parts, int64_t rows,
                          int64_t columns) {
  std::vector<float> weight, bias;
  for (const std::string& part : parts) {
    const auto w = tensors.read(part + ".weight", {rows, columns});
    const auto b = tensors.read(part + ".bias", {rows});
    weight.insert(weight.end(), w.begin(), w.end());
    bias.insert(bias.end(), b.begin(), b.end());
  }
  return pack(weight.data(), bias.data(), rows * static_cast<int64_t>(parts.size()), columns, number);
}

PackedMatrix pack_linear(const TensorSource& tensors, Number number, const std::string& name, int64_t rows,
                         int64_t columns) {
  return pack_stacked(tensors, number, {name}, rows, columns);
}

Norm read_norm(const TensorSource& tensors, const std::string& name, int64_t hidden) {
  return {tensors.read(name + ".weight", {hidden}), tensors.read(name + ".bias", {hidden})};
}

// The tensor that several names mean when weights are tied. A file may store any of them; stored twice, they must
// agree.
std::vector<float> read_tied(const TensorSource& tensors, const Names& names, const std::vector<int64_t>& shape) {
  std::vector<float> first;
  std::string first_name;
  for (const std::string& name : names) {
    if (!tensors.contains(name)) continue;
    auto values = tensors.read(name, shape);
    if (first_name.empty()) {
      first = std::move(values);
      first_name = name;
    } else {
      require(values == first,
              "tensors " + first_name + " and " + name + ": the config ties them, but the file holds different values");
    }
  }
  require(!first_name.empty(), "tensor " + names[0] + ": missing");
  return first;
}

std::vector<float> read_positions(const TensorSource& tensors, const std::string& side, const ModelConfig& c) {
  const std::string name = "model." + side + ".embed_positions.weight";
  if (c.position_table == PositionTable::m2m100) return m2m100_sinusoids(c.first_position, c.positions, c.hidden);
  // Only old files store Marian's; Hugging Face uses what is stored.
  if (c.position_table == PositionTable::marian && !tensors.contains(name)) return sinusoids(c.positions, c.hidden);
  auto table = tensors.read(name, {c.first_position + c.positions, c.hidden});
  table.erase(table.begin(), table.begin() + c.first_position * c.hidden);
  return table;
}

StackWeights read_stack(const TensorSource& tensors, const std::string& side, const ModelConfig& c) {
  StackWeights stack;
  stack.positions = read_positions(tensors, side, c);
  if (c.embedding_norm) stack.embedding_norm = read_norm(tensors, "model." + side + ".layernorm_embedding", c.hidden);
  if (c.pre_norm) stack.final_norm = read_norm(tensors, "model." + side + ".layer_norm", c.hidden);
  return stack;
}

void load_embeddings(const TensorSource& tensors, Weights& w) {
  const ModelConfig& c = w.config;
  const std::string shared = "model.shared.weight", source = "model.encoder.embed_tokens.weight",
                    target = "model.decoder.embed_tokens.weight", head = "lm_head.weight";
  if (c.share_embeddings && c.tie_projection) {
    w.source_embedding = read_tied(tensors, {shared, source, target, head}, {c.source_vocab, c.hidden});
  } else if (c.share_embeddings) {
    // transformers 4 stored the shared table; transformers 5 ties nothing without tie_word_embeddings and stores each.
    w.source_embedding = tensors.read(tensors.contains(source) ? source : shared, {c.source_vocab, c.hidden});
    if (tensors.contains(target)) w.target_embedding = tensors.read(target, {c.target_vocab, c.hidden});
  } else {
    w.source_embedding = tensors.read(source, {c.source_vocab, c.hidden});
    w.target_embedding =
        read_tied(tensors, c.tie_projection ? Names{target, head} : Names{target}, {c.target_vocab, c.hidden});
  }
  std::vector<float> bias(c.target_vocab, 0.0f);
  if (tensors.contains("final_logits_bias")) bias = tensors.read("final_logits_bias", {1, c.target_vocab});
  for (int id : c.excluded) bias[id] = -std::numeric_limits<float>::infinity();
  if (c.tie_projection) {
    auto& table = w.target_embedding.empty() ? w.source_embedding : w.target_embedding;
    w.projection = pack(table.data(), bias.data(), c.target_vocab, c.hidden, c.number);
    if (w.projection_is_table()) std::vector<float>().swap(table);
  } else {
    const auto weight = tensors.read(head, {c.target_vocab, c.hidden});
    w.projection = pack(weight.data(), bias.data(), c.target_vocab, c.hidden, c.number);
  }
}

Names query_key_value(const std::string& attention) {
  return {attention + ".q_proj", attention + ".k_proj", attention + ".v_proj"};
}

std::string layer_name(const char* side, int64_t number) {
  return std::string("model.") + side + ".layers." + std::to_string(number) + ".";
}

// What the layers of both sides have.
template <class Layer>
Layer read_layer(const TensorSource& tensors, const ModelConfig& c, const std::string& at, int64_t ffn) {
  Layer layer;
  layer.query_key_value = pack_stacked(tensors, c.number, query_key_value(at + "self_attn"), c.hidden, c.hidden);
  layer.out = pack_linear(tensors, c.number, at + "self_attn.out_proj", c.hidden, c.hidden);
  layer.attention_norm = read_norm(tensors, at + "self_attn_layer_norm", c.hidden);
  layer.up = pack_linear(tensors, c.number, at + "fc1", ffn, c.hidden);
  layer.down = pack_linear(tensors, c.number, at + "fc2", c.hidden, ffn);
  layer.final_norm = read_norm(tensors, at + "final_layer_norm", c.hidden);
  return layer;
}

DecoderLayer read_decoder_layer(const TensorSource& tensors, const ModelConfig& c, int64_t number) {
  const std::string at = layer_name("decoder", number);
  auto layer = read_layer<DecoderLayer>(tensors, c, at, c.decoder_ffn);
  layer.cross_query = pack_linear(tensors, c.number, at + "encoder_attn.q_proj", c.hidden, c.hidden);
  layer.cross_out = pack_linear(tensors, c.number, at + "encoder_attn.out_proj", c.hidden, c.hidden);
  layer.cross_norm = read_norm(tensors, at + "encoder_attn_layer_norm", c.hidden);
  return layer;
}

// Does all parts, several at a time; throws what the first of those that failed threw.
void run_all(const std::vector<std::function<void()>>& parts, int threads) {
  std::vector<std::exception_ptr> errors(parts.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i; (i = next++) < parts.size();) {
      try {
        parts[i]();
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < std::min<int>(threads, parts.size()); ++i) others.emplace_back(work);
  work();
  for (std::thread& thread : others) thread.join();
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace

float ModelConfig::embedding_scale() const {
  return scale_embedding ? static_cast<float>(std::sqrt(static_cast<double>(hidden))) : 1.0f;
}

Table Weights::source_table() const {
  if (projection_is_table() && config.share_embeddings) return target_table();
  return {source_embedding.data()};
}

Table Weights::target_table() const {
  if (projection_is_table()) return {reinterpret_cast<const float*>(projection.data.get()), projection.panel};
  return {(target_embedding.empty() ? source_embedding : target_embedding).data()};
}

std::vector<float> sinusoids(int64_t count, int64_t hidden) {
  std::vector<float> table(count * hidden);
  const int64_t sines = (hidden + 1) / 2;
  for (int64_t position = 0; position < count; ++position) {
    for (int64_t column = 0; column < hidden; ++column) {
      const int64_t pair = column < sines ? column : column - sines;
      const double angle = static_cast<double>(position) / std::pow(10000.0, 2.0 * pair / hidden);
      table[position * hidden + column] = static_cast<float>(column < sines ? std::sin(angle) : std::cos(angle));
    }
  }
  return table;
}

std::vector<float> m2m100_sinusoids(int64_t first, int64_t count, int64_t hidden) {
  std::vector<float> table(count * hidden);  // an odd last column stays 0
  const int64_t half = hidden / 2;
  const float slope = -static_cast<float>(std::log(10000.0) / static_cast<double>(half - 1));
  for (int64_t pair = 0; pair < half; ++pair) {
    const float frequency = std::exp(static_cast<float>(pair) * slope);
    for (int64_t row = 0; row < count; ++row) {
      const float angle = static_cast<float>(first + row) * frequency;
      table[row * hidden + pair] = std::sin(angle);
      table[row * hidden + half + pair] = std::cos(angle);
    }
  }
  return table;
}

Weights load_weights(const ModelConfig& config, const TensorSource& tensors, int threads) {
  Weights w;
  w.config = config;
  w.encoder.resize(config.encoder_layers);
  w.decoder.resize(config.decoder_layers);
  std::vector<std::function<void()>> parts = {[&] { load_embeddings(tensors, w); },
                                              [&] { w.encoder_stack = read_stack(tensors, "encoder", config); },
                                              [&] { w.decoder_stack = read_stack(tensors, "decoder", config); }};
  for (int64_t i = 0; i < config.encoder_layers; ++i)
    parts.push_back([&, i] {
      w.encoder[i] = read_layer<EncoderLayer>(tensors, config, layer_name("encoder", i), config.encoder_ffn);
    });
  for (int64_t i = 0; i < config.decoder_layers; ++i)
    parts.push_back([&, i] { w.decoder[i] = read_decoder_layer(tensors, config, i); });
  parts.push_back([&] {
    Names cross;
    for (int64_t i = 0; i < config.decoder_layers; ++i)
      for (const char* name : {"k_proj", "v_proj"}) cross.push_back(layer_name("decoder", i) + "encoder_attn." + name);
    w.cross_key_value = pack_stacked(tensors, config.number, cross, config.hidden, config.hidden);
  });
  run_all(parts, threads);
  return w;
}

}  // namespace distilmt
