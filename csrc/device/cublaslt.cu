#include "device/cublaslt.h"
#include "device/library.h"

namespace distilmt {
namespace {

// Rows that an algorithm is chosen for. Any number of rows then runs it, so that a row's bits do not depend on them.
constexpr int64_t kRows = 1024;

std::string shape_of(const Product& p) {
  return "a product of " + std::to_string(p.m) + " rows, " + std::to_string(p.n) + " outputs and " +
         std::to_string(p.k) + " inputs";
}

void check(cublasStatus_t status, const char* call, const Product* product = nullptr) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const std::string message = std::string(call) + (product ? " of " + shape_of(*product) : "") + ": cuBLASLt status " +
                              std::to_string(static_cast<int>(status));
  if (status == CUBLAS_STATUS_ALLOC_FAILED) throw OutOfDeviceMemory(message);
  throw DeviceError(message);
}

cudaDataType_t type_of(const Product& product) {
  if (product.int8) return CUDA_R_8I;
  const cuda::Storage storage = product.storage;
  if (storage == cuda::Storage::float16) return CUDA_R_16F;
  return storage == cuda::Storage::bfloat16 ? CUDA_R_16BF : CUDA_R_32F;
}

}  // namespace

// The descriptors of one product. cuBLASLt is column-major: out^T [n, m] = w^T's transpose [n, k] times a^T [k, m].
struct CublasLt::Shaped {
  const Functions& lt;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t w = nullptr, a = nullptr, out = nullptr;

  Shaped(const Functions& lt, const Product& p, int64_t rows) : lt(lt) {
    const cudaDataType_t in = type_of(p), to = p.int8 ? CUDA_R_32I : p.wide ? CUDA_R_32F : in;
    check(
        lt.desc_create(&operation, p.int8 ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F, p.int8 ? CUDA_R_32I : CUDA_R_32F),
        "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    if (p.bias) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, p.relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(to));
    } else if (p.relu) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_RELU);
    }
    check(lt.layout_create(&w, in, p.k, p.n, p.k), "cublasLtMatrixLayoutCreate");
    check(lt.layout_create(&a, in, p.k, rows, p.k), "cublasLtMatrixLayoutCreate");
    check(lt.layout_create(&out, to, p.n, rows, p.n), "cublasLtMatrixLayoutCreate");
  }
  ~Shaped() {
    for (cublasLtMatrixLayout_t layout : {w, a, out})
      if (layout) lt.layout_destroy(layout);
    if (operation) lt.desc_destroy(operation);
  }
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, T value) {
    check(lt.desc_set(operation, attribute, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }
};

CublasLt::CublasLt(const std::string& path) {
  const Library library(path);
  library.find("cublasLtGetVersion", lt_.version);
  library.find("cublasLtCreate", lt_.create);
  library.find("cublasLtDestroy", lt_.destroy);
  library.find("cublasLtMatmulDescCreate", lt_.desc_create);
  library.find("cublasLtMatmulDescDestroy", lt_.desc_destroy);
  library.find("cublasLtMatmulDescSetAttribute", lt_.desc_set);
  library.find("cublasLtMatrixLayoutCreate", lt_.layout_create);
  library.find("cublasLtMatrixLayoutDestroy", lt_.layout_destroy);
  library.find("cublasLtMatmulPreferenceCreate", lt_.preference_create);
  library.find("cublasLtMatmulPreferenceDestroy", lt_.preference_destroy);
  library.find("cublasLtMatmulPreferenceSetAttribute", lt_.preference_set);
  library.find("cublasLtMatmulAlgoGetHeuristic", lt_.heuristic);
  library.find("cublasLtMatmulAlgoCheck", lt_.check);
  library.find("cublasLtMatmul", lt_.multiply);
  check(lt_.create(&handle_), "cublasLtCreate");
}

CublasLt::~CublasLt() {
  if (handle_) lt_.destroy(handle_);
}

std::string CublasLt::version() const {
  const size_t number = lt_.version();
  return std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." + std::to_string(number % 100);
}

CublasLt::Kind CublasLt::kind_of(const Product& p) {
  return {p.n, p.k, p.storage, p.wide, p.relu, p.bias != nullptr, p.int8};
}

cublasLtMatmulAlgo_t CublasLt::choose(const Product& p) {
  const Shaped shaped(lt_, p, kRows);
  cublasLtMatmulPreference_t preference;
  check(lt_.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  const uint32_t no_reduction = CUBLASLT_REDUCTION_SCHEME_NONE;  // so no sum is split over k
  const size_t workspace = kWorkspace;
  lt_.preference_set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &no_reduction, sizeof no_reduction);
  lt_.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
  cublasLtMatmulHeuristicResult_t best;
  int found = 0;
  const cublasStatus_t status = lt_.heuristic(handle_, shaped.operation, shaped.w, shaped.a, shaped.out, shaped.out,
                                              preference, 1, &best, &found);
  lt_.preference_destroy(preference);
  check(status, "cublasLtMatmulAlgoGetHeuristic", &p);
  if (found == 0) throw DeviceError("cuBLASLt has no algorithm without split sums for " + shape_of(p));
  return best.algo;
}

void CublasLt::multiply(const Product& p, void* workspace, cudaStream_t stream) {
  if (p.m == 0) return;
  const Kind kind = kind_of(p);
  auto at = algorithms_.find(kind);
  if (at == algorithms_.end()) at = algorithms_.emplace(kind, choose(p)).first;
  const Shaped shaped(lt_, p, p.m);
  cublasLtMatmulHeuristicResult_t checked;
  check(lt_.check(handle_, shaped.operation, shaped.w, shaped.a, shaped.out, shaped.out, &at->second, &checked),
        "cublasLtMatmulAlgoCheck", &p);
  if (checked.workspaceSize > kWorkspace)
    throw DeviceError("cuBLASLt wants " + std::to_string(checked.workspaceSize) + " bytes of workspace for " +
                      shape_of(p));
  const float one = 1, none = 0;  // of the sums' type
  const int32_t one_integer = 1;  // 0 has the same bits in both
  check(lt_.multiply(handle_, shaped.operation, p.int8 ? static_cast<const void*>(&one_integer) : &one, p.w, shaped.w,
                     p.a, shaped.a, &none, p.out, shaped.out, p.out, shaped.out, &at->second, workspace, kWorkspace,
                     stream),
        "cublasLtMatmul", &p);
}

}  // namespace distilmt
