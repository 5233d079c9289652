// A model on a device: the weights of the CPU engine (engine/weights.h), unpacked, in the storage of the device's
// products.
#pragma once
#include <memory>
#include <vector>

#include "device/device.h"
#include "engine/weights.h"

namespace distilmt {

constexpr int64_t kColumns = 8;      // what the stride of logits is a multiple of
constexpr int64_t kInt8Rows = 32;    // what the rows of an int8 product are: fewer than 17 are not to be relied on
constexpr int64_t kInt8Numbers = 4;  // and its inputs and outputs

struct DeviceMatrix {
  int64_t n = 0, k = 0;
  DeviceArray<uint8_t> weight;       // [n, k] stored, or int8
  DeviceArray<float> scale;          // [n] of int8
  DeviceArray<uint8_t> stored_bias;  // [n]
  DeviceArray<float> bias;           // [n]
};

struct DeviceNorm {
  DeviceArray<float> gamma, beta;  // [hidden]
};

// An encoder's layer has no cross-attention: those parts are empty.
struct DeviceLayer {
  DeviceMatrix query_key_value, out, cross_query, cross_out, up, down;
  DeviceNorm attention_norm, cross_norm, final_norm;
};

struct DeviceStack {
  DeviceArray<float> positions;  // [positions, hidden]
  DeviceNorm embedding_norm, final_norm;
  std::vector<DeviceLayer> layers;
};

// The encoder's, as cuDNN is asked for it.
inline AttentionShape attention_of(const ModelConfig& c, cuda::Storage storage) {
  return {storage, c.hidden, c.encoder_heads, c.positions};
}

struct DeviceModel {
  // Rows that memory is taken for, where a product has so many: an int8 product has idle ones behind them.
  int64_t rounded(int64_t rows) const { return int8 ? (rows + kInt8Rows - 1) / kInt8Rows * kInt8Rows : rows; }

  // weights: of number float32. int8: matrices are integers in [-127, 127] with a scale per output channel, everything
  // else is stored. cudnn: the encoder attends by cuDNN, else by the kernel of csrc/cuda.
  DeviceModel(std::shared_ptr<Device> device, const Weights& weights, cuda::Storage storage, bool int8 = false,
              bool cudnn = false);

  const void* source_table() const { return own_source_table.get() ? own_source_table.get() : target_table(); }
  const void* target_table() const {
    if (config.tie_projection && !int8) return projection.weight.get();
    return own_target_table.get() ? own_target_table.get() : own_source_table.get();
  }

  AttentionShape attention() const { return attention_of(config, storage); }

  std::shared_ptr<Device> device;
  ModelConfig config;
  cuda::Storage storage;
  bool int8, cudnn;
  DeviceStack encoder, decoder;
  DeviceMatrix cross_key_value;
  DeviceMatrix projection;  // a multiple of kColumns outputs, zeros behind the vocabulary
  DeviceArray<uint8_t> own_source_table, own_target_table;  // [vocab, hidden] stored; empty where another one serves
};

// values [count] as they are stored.
std::vector<uint8_t> stored(const float* values, int64_t count, cuda::Storage storage);
// And back, `count` of them from the first-th on.
std::vector<float> loaded(const void* values, int64_t first, int64_t count, cuda::Storage storage);

}  // namespace distilmt
