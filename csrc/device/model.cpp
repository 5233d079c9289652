#include "device/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/platform.h"
#include "engine/safetensors.h"
#include "kernels/attention.h"

namespace distilmt {
namespace {

// Row-major [rows, k], zeros behind n; a float32 matrix is packed as engine/weights.h reads its tied table.
std::vector<float> unpacked(const PackedMatrix& m, int64_t padded) {
  require(m.number == Number::float32, "a device takes weights that were packed as float32");
  const float* data = reinterpret_cast<const float*>(m.data.get());
  std::vector<float> rows(padded * m.k);
  for (int64_t row = 0; row < m.n; ++row)
    for (int64_t c = 0; c < m.k; ++c) rows[row * m.k + c] = data[(row / m.panel * m.k + c) * m.panel + row % m.panel];
  return rows;
}

template <class T>
DeviceArray<T> uploaded(Device& device, const void* values, int64_t count) {
  DeviceArray<T> array(device, count);
  device.upload(array.get(), values, count * static_cast<int64_t>(sizeof(T)));
  return array;
}

DeviceArray<uint8_t> uploaded(Device& device, const std::vector<float>& values, cuda::Storage storage) {
  if (values.empty()) return {};
  const std::vector<uint8_t> bytes = stored(values.data(), static_cast<int64_t>(values.size()), storage);
  return uploaded<uint8_t>(device, bytes.data(), static_cast<int64_t>(bytes.size()));
}

DeviceNorm uploaded(Device& device, const Norm& norm) {
  const auto of = [&](const std::vector<float>& v) { return uploaded<float>(device, v.data(), v.size()); };
  if (norm.gamma.empty()) return {};
  return {of(norm.gamma), of(norm.beta)};
}

// What products are of.
struct Numbers {
  cuda::Storage storage;
  bool int8;
};

DeviceArray<uint8_t> quantised(Device& device, const std::vector<float>& w, int64_t n, int64_t k,
                               DeviceArray<float>& scale) {
  std::vector<int8_t> integers(n * k);
  std::vector<float> scales(n);
  for (int64_t row = 0; row < n; ++row) {
    const float* from = w.data() + row * k;
    float largest = 0;
    for (int64_t c = 0; c < k; ++c) largest = std::max(largest, std::abs(from[c]));
    scales[row] = largest / 127;
    for (int64_t c = 0; c < k && largest > 0; ++c)
      integers[row * k + c] = static_cast<int8_t>(std::nearbyint(from[c] / scales[row]));
  }
  scale = uploaded<float>(device, scales.data(), n);
  return uploaded<uint8_t>(device, integers.data(), n * k);
}

DeviceMatrix uploaded(Device& device, const PackedMatrix& m, Numbers numbers, int64_t unit = 1) {
  const int64_t n = (m.n + unit - 1) / unit * unit;
  if (numbers.int8 && (n % kInt8Numbers != 0 || m.k % kInt8Numbers != 0))
    throw NotOnDevice("int8 with a matrix of " + std::to_string(n) + " outputs and " + std::to_string(m.k) +
                      " inputs, not multiples of " + std::to_string(kInt8Numbers));
  std::vector<float> bias(m.bias.get(), m.bias.get() + m.n);
  bias.resize(n);
  DeviceMatrix to;
  to.n = n;
  to.k = m.k;
  to.bias = uploaded<float>(device, bias.data(), n);
  to.stored_bias = uploaded(device, bias, numbers.storage);
  to.weight = numbers.int8 ? quantised(device, unpacked(m, n), n, m.k, to.scale)
                           : uploaded(device, unpacked(m, n), numbers.storage);
  return to;
}

// What the layers of both sides have.
template <class Layer>
DeviceLayer uploaded_layer(Device& device, const Layer& layer, Numbers numbers) {
  DeviceLayer to;
  to.query_key_value = uploaded(device, layer.query_key_value, numbers);
  to.out = uploaded(device, layer.out, numbers);
  to.up = uploaded(device, layer.up, numbers);
  to.down = uploaded(device, layer.down, numbers);
  to.attention_norm = uploaded(device, layer.attention_norm);
  to.final_norm = uploaded(device, layer.final_norm);
  return to;
}

DeviceStack uploaded(Device& device, const StackWeights& stack) {
  return {uploaded<float>(device, stack.positions.data(), stack.positions.size()),
          uploaded(device, stack.embedding_norm),
          uploaded(device, stack.final_norm),
          {}};
}

}  // namespace

std::vector<uint8_t> stored(const float* values, int64_t count, cuda::Storage storage) {
  std::vector<uint8_t> bytes(count * cuda::bytes(storage));
  if (storage == cuda::Storage::float32) std::memcpy(bytes.data(), values, bytes.size());
  if (storage == cuda::Storage::bfloat16) to_bfloat16(values, count, reinterpret_cast<bfloat16*>(bytes.data()));
  if (storage == cuda::Storage::float16)
    for (int64_t i = 0; i < count; ++i) {
      const _Float16 half = static_cast<_Float16>(values[i]);
      std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
  return bytes;
}

std::vector<float> loaded(const void* values, int64_t first, int64_t count, cuda::Storage storage) {
  if (storage == cuda::Storage::float32) {
    const float* from = static_cast<const float*>(values) + first;
    return {from, from + count};
  }
  std::vector<float> numbers;
  const uint16_t* from = static_cast<const uint16_t*>(values) + first;
  for (int64_t i = 0; i < count; ++i)
    numbers.push_back(storage == cuda::Storage::float16 ? from_half(from[i]) : from_bfloat16(from[i]));
  return numbers;
}

DeviceModel::DeviceModel(std::shared_ptr<Device> on, const Weights& w, cuda::Storage storage, bool int8, bool cudnn)
    : device(std::move(on)), config(w.config), storage(storage), int8(int8), cudnn(cudnn) {
  const Numbers numbers{storage, int8};
  Device& d = *device;
  const Device::Turn turn(d);
  if (cudnn) d.prepare(attention());
  encoder = uploaded(d, w.encoder_stack);
  decoder = uploaded(d, w.decoder_stack);
  for (const EncoderLayer& layer : w.encoder) encoder.layers.push_back(uploaded_layer(d, layer, numbers));
  for (const DecoderLayer& layer : w.decoder) {
    DeviceLayer to = uploaded_layer(d, layer, numbers);
    to.cross_query = uploaded(d, layer.cross_query, numbers);
    to.cross_out = uploaded(d, layer.cross_out, numbers);
    to.cross_norm = uploaded(d, layer.cross_norm);
    decoder.layers.push_back(std::move(to));
  }
  cross_key_value = uploaded(d, w.cross_key_value, numbers);
  projection = uploaded(d, w.projection, numbers, kColumns);
  // Of a tied float32 model the projection holds the table.
  if (!config.tie_projection)
    own_target_table = uploaded(d, w.target_embedding, storage);
  else if (int8)
    own_target_table = uploaded(d, unpacked(w.projection, w.projection.n), storage);
  own_source_table = uploaded(d, w.source_embedding, storage);
}

}  // namespace distilmt
