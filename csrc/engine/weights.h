// The weights of a model, packed for the kernels; read-only after loading and shared by all workers.
//
// Architecture: the encoder-decoder of Hugging Face's Marian, BART, mBART and M2M100, whose differences are fields of
// ModelConfig (python/distilmt/translator/families.py has the table). Biases everywhere but in the output projection,
// whose bias is final_logits_bias, zeros where a file has none. Names of tensors are those of their state dicts.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/embed.h"
#include "kernels/gemm.h"

namespace distilmt {

// marian: sines | cosines, computed in double. learned: stored. m2m100: sines | cosines with frequencies of its own,
// computed in float32 as there.
enum class PositionTable { marian, learned, m2m100 };

struct ModelConfig {
  Number number = Number::float32;  // that matrix products work on
  int64_t source_vocab = 0, target_vocab = 0;
  int64_t hidden = 0;
  int64_t encoder_layers = 0, decoder_layers = 0;
  int64_t encoder_heads = 0, decoder_heads = 0;
  int64_t encoder_ffn = 0, decoder_ffn = 0;
  int64_t positions = 0;
  Activation activation = Activation::relu;
  PositionTable position_table = PositionTable::marian;
  int64_t first_position = 0;   // row of the position table that the first token reads; M2M100: its padding id plus 1
  bool pre_norm = false;        // norms before each sublayer and behind the stack, not after each sublayer
  bool embedding_norm = false;  // a norm on the sum of embedding and position
  bool scale_embedding = true;
  bool share_embeddings = true;  // one table for both sides
  bool tie_projection = true;    // the output projection is the decoder's table
  std::vector<int> excluded;     // ids that get no probability at all (renormalize_logits with bad_words_ids)

  float embedding_scale() const;
};

struct Norm {
  std::vector<float> gamma, beta;
};

struct EncoderLayer {
  PackedMatrix query_key_value, out, up, down;
  Norm attention_norm, final_norm;
};

struct DecoderLayer {
  PackedMatrix query_key_value, out, cross_query, cross_out, up, down;
  Norm attention_norm, cross_norm, final_norm;
};

struct StackWeights {
  std::vector<float> positions;     // [positions, hidden]
  Norm embedding_norm, final_norm;  // with config.embedding_norm and config.pre_norm
};

struct Weights {
  ModelConfig config;
  std::vector<float> source_embedding;  // [source_vocab, hidden]; empty where the projection holds it
  std::vector<float> target_embedding;  // [target_vocab, hidden]; empty where the projection or the source holds it
  StackWeights encoder_stack, decoder_stack;
  std::vector<EncoderLayer> encoder;
  std::vector<DecoderLayer> decoder;
  PackedMatrix cross_key_value;  // [decoder_layers * 2 * hidden, hidden]: keys | values of all layers in one product
  PackedMatrix projection;       // [target_vocab, hidden] and final_logits_bias

  bool projection_is_table() const { return config.tie_projection && config.number == Number::float32; }
  Table source_table() const;
  Table target_table() const;
};

// Where tensors come from: a file, or random numbers in tests. Asked by several threads at a time.
struct TensorSource {
  std::function<bool(const std::string& name)> contains;
  std::function<std::vector<float>(const std::string& name, const std::vector<int64_t>& shape)> read;
};

// Reads and packs with so many threads, one layer each at a time. Throws std::runtime_error naming the tensor that is
// missing or wrong (of several the first), and tables that should be tied but differ.
Weights load_weights(const ModelConfig& config, const TensorSource& tensors, int threads = 1);

// positions [count, hidden]: sines in the first half of a row, cosines in the second, as
// transformers' MarianSinusoidalPositionalEmbedding.create_weight.
std::vector<float> sinusoids(int64_t count, int64_t hidden);

// positions [count, hidden], those of `first` and up, as transformers' M2M100SinusoidalPositionalEmbedding.
std::vector<float> m2m100_sinusoids(int64_t first, int64_t count, int64_t hidden);

}  // namespace distilmt
