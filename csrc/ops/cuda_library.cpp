#include "ops/cuda_library.h"

#include <dlfcn.h>

#include <optional>
#include <string>

namespace distilmt::ops {
namespace {

std::optional<CudaLibrary> loaded;

void* open(const char* path, int flags) {
  void* library = dlopen(path, flags);
  STD_TORCH_CHECK(library, "distilmt: cannot open ", path, ": ", dlerror());
  return library;
}

template <class F>
void find(void* library, const char* name, F*& function) {
  function = reinterpret_cast<F*>(dlsym(library, name));
  STD_TORCH_CHECK(function, "distilmt: ", name, " is missing: ", dlerror());
}

// path: our library `_cuda`. Torch's own is in memory already, or there is no CUDA torch.
void load_cuda(std::string path) {
  void* ours = open(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* torch = open("libtorch_cuda.so", RTLD_NOW | RTLD_NOLOAD);
  CudaLibrary library;
  find(ours, "distilmt_linear_kd_float", library.linear_kd_float);
  find(ours, "distilmt_linear_kd_double", library.linear_kd_double);
  find(ours, "distilmt_linear_kd_bfloat16", library.linear_kd_bfloat16);
  find(ours, "distilmt_linear_kd_float16", library.linear_kd_float16);
  find(ours, "distilmt_mix_teachers_float", library.mix_teachers_float);
  find(ours, "distilmt_mix_teachers_double", library.mix_teachers_double);
  find(ours, "distilmt_choose_rows_float", library.choose_rows_float);
  find(ours, "distilmt_choose_rows_double", library.choose_rows_double);
  find(ours, "distilmt_accumulate", library.accumulate);
  find(torch, "aoti_torch_get_current_cuda_stream", library.current_stream);
  find(torch, "aoti_torch_cuda_addmm_out", library.addmm_out);
  loaded = library;
}

}  // namespace

const CudaLibrary& cuda_library() {
  STD_TORCH_CHECK(loaded, "distilmt: the CUDA kernels are not loaded; `distilmt doctor` says why");
  return *loaded;
}

void* current_stream(const Tensor& like) {
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(cuda_library().current_stream(like.get_device_index(), &stream));
  return stream;
}

void check_launch(int error) {
  STD_TORCH_CHECK(error == 0, "distilmt: launching a CUDA kernel failed with cudaError ", error);
}

STABLE_TORCH_LIBRARY_FRAGMENT(distilmt, m) { m.def("load_cuda(str path) -> ()"); }
STABLE_TORCH_LIBRARY_IMPL(distilmt, CompositeExplicitAutograd, m) { m.impl("load_cuda", TORCH_BOX(&load_cuda)); }

}  // namespace distilmt::ops
