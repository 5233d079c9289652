// The residual stream of a stack of layers on a device, where engine/stream.h has it on the CPU: a float32 stream, and
// beside it what the next product reads, in the products' storage. What a sublayer gives is added and normed by one
// kernel.
#pragma once
#include "device/kernels.h"
#include "device/model.h"

namespace distilmt {

// Values of the products' storage.
using Stored = DeviceArray<uint8_t>;

class ResidualStack {
 public:
  // widest: of the products whose results are stored.
  ResidualStack(const DeviceModel& model, const DeviceStack& stack, Memory& memory, Queue queue, int64_t max_rows,
                int64_t ffn, int64_t widest);

  // Rows of an encoder: ids and at [rows]. Of a decoder: ids [slots, beams] and at [slots], of the slots in live.
  void start(const void* table, const int32_t* ids, const int32_t* at, const int32_t* live, int beams, int64_t rows);

  // [rows, hidden] stored: what the next sublayer reads; behind the last one the states of the stack.
  const void* input() const { return input_.get(); }

  // The feed-forward sublayer of layer i.
  void feed_forward(size_t i, Stored& inner, Stored& given);

  // given [rows, hidden] stored: what a sublayer gave, but for the bias of its last product. own, next: the norms of
  // this sublayer and of the one behind it.
  void close(const Stored& given, const DeviceMatrix& last, const DeviceNorm& own, const DeviceNorm& next);

  // out [rows, w.n] stored = activation(in w^T + bias)
  void product(const void* in, const DeviceMatrix& w, Stored& out, Activation activation = Activation::none);
  // out = in w^T, for a kernel behind it that adds the bias: stored, or float32.
  void bare_product(const void* in, const DeviceMatrix& w, Stored& out) { multiply(in, w, out.get(), false); }
  void bare_product(const void* in, const DeviceMatrix& w, DeviceArray<float>& out) {
    multiply(in, w, out.get(), true);
  }

  // Starts a kernel with this argument, in the stack's queue.
  template <class Argument>
  void run(int (*kernel)(const Argument*, void*), const Argument& argument) const {
    model_.device->start(queue_, kernel, argument);
  }

 private:
  void multiply(const void* in, const DeviceMatrix& w, void* out, bool wide);
  void multiply_int8(const void* in, const DeviceMatrix& w, const float* bias, Activation activation, void* out,
                     bool wide);
  void norm(const Stored* given, const float* bias, const DeviceNorm& norm);

  static constexpr float kEps = 1e-5f;  // as engine/stream.h

  const DeviceModel& model_;
  const DeviceStack& stack_;
  const Queue queue_;
  int64_t rows_ = 0;
  DeviceArray<float> x_;  // [rows, hidden]
  Stored input_;
  // Of an int8 product: rows quantised, and sums where they do not fit their result's memory.
  DeviceArray<int8_t> integers_;
  DeviceArray<float> scale_;
  DeviceArray<int32_t> sums_;
};

}  // namespace distilmt
