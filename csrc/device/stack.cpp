#include "device/stack.h"

#include <algorithm>

namespace distilmt {

ResidualStack::ResidualStack(const DeviceModel& model, const DeviceStack& stack, Memory& memory, Queue queue,
                             int64_t max_rows, int64_t ffn, int64_t widest)
    : model_(model),
      stack_(stack),
      queue_(queue),
      x_(memory, max_rows * model.config.hidden),
      input_(memory, max_rows * model.config.hidden * cuda::bytes(model.storage)) {
  if (!model.int8) return;
  max_rows = model.rounded(max_rows);
  integers_ = DeviceArray<int8_t>(memory, max_rows * std::max(model.config.hidden, ffn));
  scale_ = DeviceArray<float>(memory, max_rows);
  sums_ = DeviceArray<int32_t>(memory, max_rows * std::max(widest, std::max(3 * model.config.hidden, ffn)));
}

void ResidualStack::start(const void* table, const int32_t* ids, const int32_t* at, const int32_t* live, int beams,
                          int64_t rows) {
  rows_ = rows;
  const ModelConfig& c = model_.config;
  const bool normed = c.pre_norm || c.embedding_norm;
  run(model_.device->kernels().embed,
      cuda::Embedding{model_.storage, table, stack_.positions.get(), c.embedding_scale(), ids, at, live, beams, rows,
                      c.hidden, x_.get(), normed ? nullptr : input_.get()});
  if (c.embedding_norm) {
    const DeviceNorm& n = stack_.embedding_norm;
    run(model_.device->kernels().layer_norm,
        cuda::Norms{model_.storage, x_.get(), nullptr, nullptr, n.gamma.get(), n.beta.get(), kEps, false, rows_,
                    c.hidden, c.pre_norm ? nullptr : input_.get()});
  }
  if (c.pre_norm) norm(nullptr, nullptr, stack_.layers[0].attention_norm);
}

void ResidualStack::feed_forward(size_t i, Stored& inner, Stored& given) {
  const DeviceLayer& layer = stack_.layers[i];
  const bool last = i + 1 == stack_.layers.size();
  product(input(), layer.up, inner, model_.config.activation);
  bare_product(inner.get(), layer.down, given);
  close(given, layer.down, layer.final_norm, last ? stack_.final_norm : stack_.layers[i + 1].attention_norm);
}

void ResidualStack::close(const Stored& given, const DeviceMatrix& last, const DeviceNorm& own,
                          const DeviceNorm& next) {
  norm(&given, last.bias.get(), model_.config.pre_norm ? next : own);
}

void ResidualStack::norm(const Stored* given, const float* bias, const DeviceNorm& norm) {
  run(model_.device->kernels().layer_norm,
      cuda::Norms{model_.storage, x_.get(), given ? given->get() : nullptr, bias, norm.gamma.get(), norm.beta.get(),
                  kEps, model_.config.pre_norm, rows_, model_.config.hidden, input_.get()});
}

void ResidualStack::product(const void* in, const DeviceMatrix& w, Stored& out, Activation activation) {
  if (model_.int8) return multiply_int8(in, w, w.bias.get(), activation, out.get(), false);
  const bool plain = activation == Activation::none || activation == Activation::relu;
  const void* bias = plain ? w.stored_bias.get() : nullptr;
  model_.device->multiply(queue_, {in, w.weight.get(), bias, out.get(), rows_, w.n, w.k, model_.storage, false,
                                   activation == Activation::relu});
  if (!plain)
    run(model_.device->kernels().epilogue,
        cuda::Epilogue{model_.storage, out.get(), w.bias.get(), activation, rows_, w.n});
}

void ResidualStack::multiply(const void* in, const DeviceMatrix& w, void* out, bool wide) {
  if (model_.int8) return multiply_int8(in, w, nullptr, Activation::none, out, wide);
  model_.device->multiply(queue_, {in, w.weight.get(), nullptr, out, rows_, w.n, w.k, model_.storage, wide});
}

void ResidualStack::multiply_int8(const void* in, const DeviceMatrix& w, const float* bias, Activation activation,
                                  void* out, bool wide) {
  const Kernels& kernels = model_.device->kernels();
  int32_t* const sums = wide ? static_cast<int32_t*>(out) : sums_.get();  // in place: of one size
  run(kernels.quantise, cuda::Quantising{model_.storage, in, rows_, w.k, integers_.get(), scale_.get()});
  Product product{integers_.get(), w.weight.get(), nullptr, sums, model_.rounded(rows_), w.n, w.k, model_.storage};
  product.int8 = true;
  model_.device->multiply(queue_, product);
  run(kernels.dequantise, cuda::Dequantising{wide ? cuda::Storage::float32 : model_.storage, sums, scale_.get(),
                                             w.scale.get(), bias, activation, rows_, w.n, out});
}

}  // namespace distilmt
