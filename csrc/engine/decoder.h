// The decoder: one step for the beams of many sentences at once, each at its own position.
//
// A sentence in flight owns a slot (keys and values of its own tokens) and a place (keys and values of its source).
// Both are written once and never move; AncestorTable says which beam's entries a beam reads. Memory is fixed at
// construction and touched only as far as sentences reach, so a generous max_length costs addresses, not pages.
#pragma once
#include <atomic>
#include <cstdint>
#include <vector>

#include "engine/ancestors.h"
#include "engine/stream.h"

namespace distilmt {

struct DecoderShape {
  int slots = 1;             // sentences in flight
  int beams = 1;             // per sentence
  int rows = 1;              // of one step, at most
  int positions = 1;         // target tokens at most
  int places = 1;            // encoded sentences: in flight, and waiting
  int source_positions = 1;  // source tokens at most
  bool attention = false;    // keep that of the last layer
};

// One sentence's part of a step: `rows` beams read one token each. A step may hold several positions of a slot, one
// behind the other in rising order: each reads the keys and values of those before it.
struct DecoderInput {
  int slot, place;
  int source_length;
  int position;
  int rows;
  const int32_t* tokens;           // [rows]
  const AncestorTable* ancestors;  // with the entries of this position
};

class Decoder {
 public:
  // stop: once true, layers are left out, and what `step` returns is worthless.
  Decoder(const Weights& weights, const DecoderShape& shape, const std::atomic<bool>& stop);
  static int64_t bytes(const ModelConfig& config, const DecoderShape& shape);

  // Keys and values of a source from its encoder states [length, hidden], for all layers.
  void enter(int place, const float* encoded, int length);

  // Returns hidden states [sum of rows, hidden], valid until the next call.
  const float* step(const std::vector<DecoderInput>& inputs);

  // After a step, where the shape asks for it: the attention [source positions] of a row to its source, mean over the
  // heads of the last layer; else null.
  const float* attention(int64_t row) const {
    return shape_.attention ? attention_.get() + row * shape_.source_positions : nullptr;
  }

 private:
  // E: what keys and values are kept as, float or bfloat16.
  template <class E>
  E* source(int place, int64_t layer) const;
  template <class E>
  void keep_source(int place, int length);
  template <class E>
  E* key(int slot, int position, int64_t layer, int beam) const;
  template <class E>
  void attend_self(const std::vector<DecoderInput>& inputs, int64_t layer);
  template <class E>
  void attend_source(const std::vector<DecoderInput>& inputs, int64_t layer);

  const Weights& weights_;
  const std::atomic<bool>& stop_;
  const DecoderShape shape_;
  const bool narrow_;        // keys and values are bfloat16, as accurate as what products of low precision make of them
  Aligned<uint8_t> own_;     // [slot, layer, position, beam, key | value, hidden]
  Aligned<uint8_t> source_;  // [place, layer, source position, key | value, hidden]
  Aligned<float> wide_;      // of one source, as its product gives it: [source position, layer, key | value, hidden]
  Stream stream_;
  Aligned<float> query_key_value_, context_, inner_;
  Aligned<float> attention_;                // [rows, source positions]
  std::vector<const void*> keys_, values_;  // [position] of the beam at hand
  std::vector<int32_t> ids_, at_;
};

}  // namespace distilmt
