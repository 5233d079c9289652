// Kernels by the device of their tensors: rows side by side on the CPU's threads, or on the current CUDA stream.
#pragma once
#include "ops/cuda_library.h"

namespace distilmt::ops {

inline int launch(const LinearKDRows<float>& rows, void* stream) {
  return cuda_library().linear_kd_float(&rows, stream);
}
inline int launch(const LinearKDRows<double>& rows, void* stream) {
  return cuda_library().linear_kd_double(&rows, stream);
}
inline int launch(const LinearKDRows<float, bfloat16>& rows, void* stream) {
  return cuda_library().linear_kd_bfloat16(&rows, stream);
}
inline int launch(const LinearKDRows<float, float16>& rows, void* stream) {
  return cuda_library().linear_kd_float16(&rows, stream);
}
inline int launch(const MixedRows<float>& rows, void* stream) {
  return cuda_library().mix_teachers_float(&rows, stream);
}
inline int launch(const MixedRows<double>& rows, void* stream) {
  return cuda_library().mix_teachers_double(&rows, stream);
}
inline int launch(const ChooseRows<float>& call, void* stream) {
  return cuda_library().choose_rows_float(&call, stream);
}
inline int launch(const ChooseRows<double>& call, void* stream) {
  return cuda_library().choose_rows_double(&call, stream);
}

template <class real, class storage>
void on_cpu(const LinearKDRows<real, storage>& rows, int64_t begin, int64_t end) {
  linear_kd_rows(rows, begin, end);
}
template <class real>
void on_cpu(const MixedRows<real>& rows, int64_t begin, int64_t end) {
  mix_teachers(rows, begin, end);
}

// While it lives, a GPU's tensors meet their own device and its stream.
struct OnDevice {
  std::optional<torch::stable::accelerator::DeviceGuard> guard;
  explicit OnDevice(const Tensor& t) {
    if (t.is_cuda()) guard.emplace(t.get_device_index());
  }
};

template <class Rows>
void run_rows(const Rows& rows, const Tensor& like) {
  if (like.is_cuda()) return check_launch(launch(rows, current_stream(like)));
  torch::stable::parallel_for(0, rows.rows, 1, [&](int64_t begin, int64_t end) { on_cpu(rows, begin, end); });
}

template <class real>
void run(const ChooseRows<real>& call, const Tensor& like) {
  if (like.is_cuda()) return check_launch(launch(call, current_stream(like)));
  choose_rows(call);
}

}  // namespace distilmt::ops
