// Matrix products by cuBLASLt, which is opened at run time: the library that a CUDA torch brings. For .cu files.
#pragma once
#include <cublasLt.h>

#include <map>
#include <string>
#include <tuple>

#include "device/product.h"

namespace distilmt {

class CublasLt {
 public:
  // Throws DeviceError where the library cannot be opened, or lacks a function.
  explicit CublasLt(const std::string& library);
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  // workspace: kWorkspace bytes on the device, of this stream alone.
  void multiply(const Product& product, void* workspace, cudaStream_t stream);

  std::string version() const;  // as "13.0.2"

  static constexpr size_t kWorkspace = size_t{32} << 20;

 private:
  // What a product is but for its rows; the algorithm is chosen for this alone, at kRows rows.
  using Kind = std::tuple<int64_t, int64_t, cuda::Storage, bool, bool, bool, bool>;
  struct Shaped;
  static Kind kind_of(const Product& product);
  cublasLtMatmulAlgo_t choose(const Product& product);

  struct Functions {
    decltype(&cublasLtGetVersion) version;
    decltype(&cublasLtCreate) create;
    decltype(&cublasLtDestroy) destroy;
    decltype(&cublasLtMatmulDescCreate) desc_create;
    decltype(&cublasLtMatmulDescDestroy) desc_destroy;
    decltype(&cublasLtMatmulDescSetAttribute) desc_set;
    decltype(&cublasLtMatrixLayoutCreate) layout_create;
    decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
    decltype(&cublasLtMatmulPreferenceCreate) preference_create;
    decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
    decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
    decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
    decltype(&cublasLtMatmulAlgoCheck) check;
    decltype(&cublasLtMatmul) multiply;
  } lt_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Kind, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace distilmt
