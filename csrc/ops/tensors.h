// What the operators need of ATen beyond torch/csrc/stable/ops.h.
#pragma once
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <array>
#include <optional>
#include <type_traits>
#include <vector>

namespace distilmt::ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

// Any ATen operator that takes tensors and integers and returns one tensor.
template <class... Args>
Tensor call(const char* op, const char* overload, const Args&... args) {
  std::array<StableIValue, sizeof...(args)> stack{torch::stable::detail::from(args)...};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(op, overload, stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

// out = a @ b.  a [m, k], b [k, n], out [m, n], of one dtype; strided matrices are taken as they are.
inline void mm_out(const Tensor& out, const Tensor& a, const Tensor& b) { call("aten::mm", "out", a, b, out); }

inline Tensor mm(const Tensor& a, const Tensor& b) {
  const Tensor out = torch::stable::new_empty(a, {a.size(0), b.size(1)});
  mm_out(out, a, b);
  return out;
}

// out += scale * a @ b.  The dispatcher's addmm takes Scalars, which do not cross the stable ABI; Torch's shims take
// doubles.
void addmm_(const Tensor& out, const Tensor& a, const Tensor& b, double scale = 1.0);

inline Tensor index_select(const Tensor& t, int64_t dim, const Tensor& index) {
  return call("aten::index_select", "", t, dim, index);
}

inline void index_copy_(const Tensor& t, int64_t dim, const Tensor& index, const Tensor& source) {
  call("aten::index_copy_", "", t, dim, index, source);
}

// t[begin : begin + count], a view.
inline Tensor rows_of(Tensor t, int64_t begin, int64_t count) { return torch::stable::narrow(t, 0, begin, count); }

inline Tensor transpose(const Tensor& t) { return torch::stable::transpose(t, 0, 1); }

inline Tensor to_cpu(const Tensor& t) {
  return t.is_cuda() ? torch::stable::to(t, torch::stable::Device(torch::headeronly::DeviceType::CPU)) : t;
}

// A one-dimensional tensor (int64 or float64) on the device of `like`.
template <class number>
Tensor from_host(const std::vector<number>& values, const Tensor& like) {
  Tensor host = torch::stable::empty({int64_t(values.size())},
                                     std::is_integral_v<number> ? ScalarType::Long : ScalarType::Double);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<number>());
  return like.is_cuda() ? torch::stable::to(host, like.device()) : host;
}

}  // namespace distilmt::ops
