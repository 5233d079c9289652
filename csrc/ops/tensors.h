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

inline Tensor mm(const Tensor& a, const Tensor& b) { return call("aten::mm", "", a, b); }

// out = a @ b.  a [m, k], b [k, n] of one dtype, out [m, n] of the same, or float32 where theirs is half precision;
// strided matrices are taken as they are. The CPU's torch lacks the latter product: `exact` makes it of
// float32 copies, else it is rounded to the factors' dtype on the way.
inline void mm_out(const Tensor& out, const Tensor& a, const Tensor& b, bool exact = true) {
  const ScalarType dtype = out.scalar_type();
  if (a.scalar_type() == dtype) {
    call("aten::mm", "out", a, b, out);
  } else if (out.is_cuda()) {
    call("aten::mm", "dtype_out", a, b, dtype, out);
  } else if (exact) {
    call("aten::mm", "out", torch::stable::to(a, dtype), torch::stable::to(b, dtype), out);
  } else {
    Tensor rounded = out;
    torch::stable::copy_(rounded, mm(a, b));
  }
}

// out += scale * a @ b, all of one dtype.  The dispatcher's addmm takes Scalars, which do not cross the stable ABI;
// Torch's shims take doubles.
void addmm_(const Tensor& out, const Tensor& a, const Tensor& b, double scale = 1.0);

// The same where a and b may be half precision and out float32, which no addmm of the stable ABI is: on a GPU their
// product lies in `scratch` for some rows of out at a time.
void add_product_(const Tensor& out, const Tensor& a, const Tensor& b, OptionalTensor& scratch, bool exact);

inline Tensor index_select(const Tensor& t, int64_t dim, const Tensor& index) {
  return call("aten::index_select", "", t, dim, index);
}

inline void index_copy_(const Tensor& t, int64_t dim, const Tensor& index, const Tensor& source) {
  call("aten::index_copy_", "", t, dim, index, source);
}

// t[begin : begin + count], a view.
inline Tensor rows_of(Tensor t, int64_t begin, int64_t count) { return torch::stable::narrow(t, 0, begin, count); }

inline Tensor transpose(const Tensor& t) { return torch::stable::transpose(t, 0, 1); }

inline bool is_half(ScalarType dtype) { return dtype == ScalarType::BFloat16 || dtype == ScalarType::Half; }

// A one-dimensional int64 tensor on the CPU.
inline Tensor tensor_of(const std::vector<int64_t>& values) {
  Tensor t = torch::stable::empty({int64_t(values.size())}, ScalarType::Long);
  std::copy(values.begin(), values.end(), t.mutable_data_ptr<int64_t>());
  return t;
}

template <class number>
number* data(const Tensor& t, int64_t entry = 0) {
  return static_cast<number*>(t.mutable_data_ptr()) + entry;
}

}  // namespace distilmt::ops
