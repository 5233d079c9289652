// Attention by cuDNN, which is opened at run time: the library that a CUDA torch brings. For .cu files.
//
// Its graph API is spoken in the C of its back-end: the operation is one node there (SDPA_FWD, since 9.15), which the
// headers of the C++ front-end would say no shorter, at minutes of compilation.
#pragma once
#include <cudnn_graph.h>

#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "device/attention.h"

namespace distilmt {

class Cudnn {
 public:
  // workspace: bytes that a plan may use. Throws DeviceError where the library cannot be opened, or lacks a function.
  Cudnn(const std::string& library, int64_t workspace);
  ~Cudnn();
  Cudnn(const Cudnn&) = delete;
  Cudnn& operator=(const Cudnn&) = delete;

  // Makes the plan of a shape, unless it is there. Throws DeviceError: cuDNN has none, and why.
  void prepare(const AttentionShape& shape);
  // Queues; workspace: of the stream alone, as many bytes as the constructor was told.
  void attend(const SentenceAttention& attention, void* workspace, cudaStream_t stream);

  int64_t plans() const { return static_cast<int64_t>(plans_.size()); }

 private:
  using Key = std::tuple<cuda::Storage, int64_t, int64_t, int64_t>;
  struct Functions {
    decltype(&cudnnCreate) create;
    decltype(&cudnnDestroy) destroy;
    decltype(&cudnnSetStream) set_stream;
    decltype(&cudnnGetErrorString) error;
    decltype(&cudnnGetLastErrorString) last_error;
    decltype(&cudnnBackendCreateDescriptor) descriptor;
    decltype(&cudnnBackendDestroyDescriptor) drop;
    decltype(&cudnnBackendSetAttribute) set;
    decltype(&cudnnBackendGetAttribute) get;
    decltype(&cudnnBackendFinalize) finalize;
    decltype(&cudnnBackendExecute) execute;
  };
  class Descriptor;
  struct Plan;
  static void check(const Functions& dnn, cudnnStatus_t status, const char* call);
  static Key key_of(const AttentionShape& shape) { return {shape.storage, shape.d, shape.heads, shape.longest}; }
  std::unique_ptr<Plan> planned(const AttentionShape& shape) const;
  void choose(Plan& plan, const Descriptor& graph) const;

  Functions dnn_;
  const int64_t workspace_;
  cudnnHandle_t handle_ = nullptr;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

}  // namespace distilmt
