#include <algorithm>
#include <cmath>
#include <list>
#include <utility>
#include <vector>

#include "device/cudnn.h"
#include "device/library.h"

namespace distilmt {
namespace {

// The tensors of the operation, by the ids under which cuDNN is given their data.
enum Id : int64_t {
  kQuery = 1,
  kKey,
  kValue,
  kOut,
  kQueryBegin,
  kKeyBegin,
  kValueBegin,
  kOutBegin,
  kQueries,
  kKeys,
  kScale
};

using Four = int64_t[4];

}  // namespace

void Cudnn::check(const Functions& dnn, cudnnStatus_t status, const char* call) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char more[512] = "";
  dnn.last_error(more, sizeof more);
  const std::string message = std::string(call) + ": " + dnn.error(status) + (*more ? std::string(", ") + more : "");
  if (status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED) throw OutOfDeviceMemory(message);
  throw DeviceError(message);
}

// A descriptor of cuDNN's: made, filled, finalized, and dropped with this object.
class Cudnn::Descriptor {
 public:
  Descriptor(const Functions& dnn, cudnnBackendDescriptorType_t type) : dnn_(dnn) {
    check(dnn_, dnn_.descriptor(type, &it_), "cudnnBackendCreateDescriptor");
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { dnn_.drop(it_); }

  Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                  const void* values) {
    check(dnn_, dnn_.set(it_, name, type, count, values), "cudnnBackendSetAttribute");
    return *this;
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& part) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &part.it_);
  }
  Descriptor& finalize() {
    check(dnn_, dnn_.finalize(it_), "cudnnBackendFinalize");
    return *this;
  }
  // How many values there are; `values` has room for so many.
  int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t room, void* values) const {
    int64_t count = 0;
    check(dnn_, dnn_.get(it_, name, type, room, &count, values), "cudnnBackendGetAttribute");
    return count;
  }
  cudnnBackendDescriptor_t get() const { return it_; }

 private:
  const Functions& dnn_;
  cudnnBackendDescriptor_t it_ = nullptr;
};

// All that the plan was made of stays as long as it does.
struct Cudnn::Plan {
  const Functions& dnn;
  float scale;
  std::list<Descriptor> parts;
  const Descriptor* chosen = nullptr;

  Descriptor& add(cudnnBackendDescriptorType_t type) { return parts.emplace_back(dnn, type); }
  Descriptor& tensor(Id id, cudnnDataType_t type, const Four& dims, const Four& strides) {
    const int64_t number = id, alignment = 16;
    return add(CUDNN_BACKEND_TENSOR_DESCRIPTOR)
        .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &number)
        .set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type)
        .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment)
        .set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims)
        .set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
  }
  Descriptor& column(Id id, cudnnDataType_t type, int64_t count) {
    return tensor(id, type, {count, 1, 1, 1}, {1, 1, 1, 1});
  }
};

Cudnn::Cudnn(const std::string& path, int64_t workspace) : workspace_(workspace) {
  const Library library(path);
  library.find("cudnnCreate", dnn_.create);
  library.find("cudnnDestroy", dnn_.destroy);
  library.find("cudnnSetStream", dnn_.set_stream);
  library.find("cudnnGetErrorString", dnn_.error);
  library.find("cudnnGetLastErrorString", dnn_.last_error);
  library.find("cudnnBackendCreateDescriptor", dnn_.descriptor);
  library.find("cudnnBackendDestroyDescriptor", dnn_.drop);
  library.find("cudnnBackendSetAttribute", dnn_.set);
  library.find("cudnnBackendGetAttribute", dnn_.get);
  library.find("cudnnBackendFinalize", dnn_.finalize);
  library.find("cudnnBackendExecute", dnn_.execute);
  check(dnn_, dnn_.create(&handle_), "cudnnCreate");
}

Cudnn::~Cudnn() {
  plans_.clear();
  dnn_.destroy(handle_);
}

void Cudnn::prepare(const AttentionShape& s) {
  if (plans_.count(key_of(s))) return;
  try {
    plans_.emplace(key_of(s), planned(s));
  } catch (const OutOfDeviceMemory&) {
    throw;
  } catch (const DeviceError& error) {
    throw DeviceError("cuDNN cannot attend with " + std::to_string(s.heads) + " heads of " +
                      std::to_string(s.d / s.heads) + " columns, choose attention=\"own\": " + error.what());
  }
}

std::unique_ptr<Cudnn::Plan> Cudnn::planned(const AttentionShape& s) const {
  const cudnnDataType_t type = s.storage == cuda::Storage::float16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16;
  const int64_t size = s.d / s.heads;
  // cuDNN itself looks at neither, and reads packs of 16 bytes.
  if (s.storage == cuda::Storage::float32 || size % 8 != 0)
    throw DeviceError("it takes float16 and bfloat16, and heads of a multiple of 8 columns");
  auto plan = std::unique_ptr<Plan>(new Plan{dnn_, 1 / std::sqrt(static_cast<float>(size)), {}});
  // The stride of sentences is that of their beginnings.
  const auto rows = [&](Id id, Id begin, int64_t step) -> const Descriptor& {
    const Descriptor& begins = plan->column(begin, CUDNN_DATA_INT32, AttentionShape::kSentences + 1).finalize();
    return plan
        ->tensor(id, type, {AttentionShape::kSentences, s.heads, s.longest, size}, {s.longest * step, size, step, 1})
        .set(CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC, begins)
        .finalize();
  };
  const bool by_value = true;
  Descriptor& operation = plan->add(CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, rows(kQuery, kQueryBegin, 3 * s.d))
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, rows(kKey, kKeyBegin, 3 * s.d))
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, rows(kValue, kValueBegin, 3 * s.d))
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, rows(kOut, kOutBegin, s.d))
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC,
           plan->column(kScale, CUDNN_DATA_FLOAT, 1)
               .set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value)
               .finalize())
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC,
           plan->column(kQueries, CUDNN_DATA_INT32, AttentionShape::kSentences).finalize())
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_KVDESC,
           plan->column(kKeys, CUDNN_DATA_INT32, AttentionShape::kSentences).finalize())
      .finalize();
  choose(*plan, plan->add(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)
                    .set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle_)
                    .set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation)
                    .finalize());
  return plan;
}

// The first of cuDNN's proposals whose sums have one order and that the workspace suffices for.
void Cudnn::choose(Plan& plan, const Descriptor& graph) const {
  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  const Descriptor& proposals = plan.add(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)
                                    .set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
                                    .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode)
                                    .finalize();
  const auto results = [&](std::vector<cudnnBackendDescriptor_t>& room) {
    return proposals.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                         static_cast<int64_t>(room.size()), room.empty() ? nullptr : room.data());
  };
  std::vector<cudnnBackendDescriptor_t> found;
  std::vector<const Descriptor*> configs(results(found));
  for (const Descriptor*& config : configs)
    found.push_back((config = &plan.add(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR))->get());
  configs.resize(results(found));
  const auto plan_of = [&](const Descriptor& config) -> const Descriptor* {
    const Descriptor engine(dnn_, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendDescriptor_t of = engine.get();
    config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &of);
    std::vector<cudnnBackendNumericalNote_t> notes(CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
    const int64_t count = engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                     static_cast<int64_t>(notes.size()), notes.data());
    notes.resize(std::min<int64_t>(count, CUDNN_NUMERICAL_NOTE_TYPE_COUNT));
    if (std::count(notes.begin(), notes.end(), CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC))
      throw DeviceError("its sums have no fixed order");
    const Descriptor& made = plan.add(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)
                                 .set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle_)
                                 .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config)
                                 .finalize();
    int64_t bytes = 0;
    made.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &bytes);
    if (bytes > workspace_) throw DeviceError("it wants a workspace of " + std::to_string(bytes) + " bytes");
    return &made;
  };
  std::string why = "it proposes none";
  for (const Descriptor* config : configs) {
    try {
      plan.chosen = plan_of(*config);
      return;
    } catch (const OutOfDeviceMemory&) {
      throw;
    } catch (const DeviceError& error) {
      why = error.what();
    }
  }
  throw DeviceError(why);
}

void Cudnn::attend(const SentenceAttention& a, void* workspace, cudaStream_t stream) {
  prepare(a.shape);
  Plan& plan = *plans_.at(key_of(a.shape));
  check(dnn_, dnn_.set_stream(handle_, stream), "cudnnSetStream");
  const auto part = [&](int64_t i) {
    return static_cast<const char*>(a.qkv) + i * a.shape.d * cuda::bytes(a.shape.storage);
  };
  for (int64_t first = 0; first < a.sentences; first += AttentionShape::kSentences) {
    const int32_t *length = a.table + first, *in = length + a.stride, *out = in + a.stride;
    const int64_t ids[] = {kQuery,      kKey,      kValue,   kOut,  kQueryBegin, kKeyBegin,
                           kValueBegin, kOutBegin, kQueries, kKeys, kScale};
    const void* const data[] = {part(0), part(1), part(2), a.out, in, in, in, out, length, length, &plan.scale};
    Descriptor pack(dnn_, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, std::size(ids), ids)
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, std::size(data), data)
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace)
        .finalize();
    check(dnn_, dnn_.execute(handle_, plan.chosen->get(), pack.get()), "cudnnBackendExecute");
  }
}

}  // namespace distilmt
