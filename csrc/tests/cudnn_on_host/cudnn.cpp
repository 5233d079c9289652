// cuDNN's interface (cuda_on_host/cudnn_graph.h) with plain loops behind it: what device/cudnn.cu opens in tests. It is
// strict: what is not said as cuDNN's documentation wants it is CUDNN_STATUS_BAD_PARAM, with the reason.
//
// It proposes three engines: one whose sums have no fixed order, one that wants too much memory, and one that is right.
// That one's rounding depends on the plan's shape, as of a library that has kernels to choose from.
#include <cudnn_graph.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/half.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

thread_local std::string last;

void expect(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

template <class F>
cudnnStatus_t said(const F& act) {
  try {
    last.clear();
    act();
    return CUDNN_STATUS_SUCCESS;
  } catch (const std::invalid_argument& error) {
    last = error.what();
    return CUDNN_STATUS_BAD_PARAM;
  } catch (const std::bad_alloc&) {
    last = "no memory";
    return CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
  }
}

struct Descriptor {
  cudnnBackendDescriptorType_t type;
  std::map<cudnnBackendAttributeName_t, std::vector<unsigned char>> values;
  bool final = false;
  int engine = 0;

  template <class T>
  std::vector<T> all(cudnnBackendAttributeName_t name) const {
    const auto found = values.find(name);
    expect(found != values.end(), "an attribute is missing");
    const auto* const begin = reinterpret_cast<const T*>(found->second.data());
    return {begin, begin + found->second.size() / sizeof(T)};
  }
  template <class T>
  T one(cudnnBackendAttributeName_t name) const {
    const auto list = all<T>(name);
    expect(list.size() == 1, "expected one value");
    return list[0];
  }
  const Descriptor& part(cudnnBackendAttributeName_t name) const {
    const auto* const found = static_cast<const Descriptor*>(one<void*>(name));
    expect(found->final, "a part is not finalized");
    return *found;
  }
};

size_t size_of(cudnnBackendAttributeType_t type) {
  return type == CUDNN_TYPE_BOOLEAN ? sizeof(bool) : type < CUDNN_TYPE_INT64 ? sizeof(int) : 8;
}

using List = std::vector<int64_t>;

struct Tensor {
  explicit Tensor(const Descriptor& d)
      : id(d.one<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID)),
        type(d.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE)),
        dims(d.all<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS)),
        strides(d.all<int64_t>(CUDNN_ATTR_TENSOR_STRIDES)) {
    expect(d.one<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT) == 16 && dims.size() == 4 && strides.size() == 4, "tensor");
  }
  int64_t id;
  cudnnDataType_t type;
  List dims, strides;
};

// Packed rows of sentences, and where each sentence begins.
struct Rows : Tensor {
  explicit Rows(const Descriptor& d) : Tensor(d), begin(d.part(CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC)) {
    expect(type == CUDNN_DATA_HALF || type == CUDNN_DATA_BFLOAT16, "float16 or bfloat16");
    expect(begin.type == CUDNN_DATA_INT32 && begin.dims == List{dims[0] + 1, 1, 1, 1}, "offsets: [B + 1, 1, 1, 1]");
    expect(dims[3] % 8 == 0 && strides[3] == 1 && strides[1] % 8 == 0 && strides[2] % 8 == 0, "packs of 16 bytes");
  }
  Tensor begin;
};

struct Operation {
  explicit Operation(const Descriptor& d)
      : q(d.part(CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC)),
        k(d.part(CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC)),
        v(d.part(CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC)),
        out(d.part(CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC)),
        queries(d.part(CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC)),
        keys(d.part(CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_KVDESC)),
        scale(d.part(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC)) {
    expect(q.dims == k.dims && q.dims == v.dims && q.dims == out.dims, "shapes differ");
    for (const Tensor* lengths : {&queries, &keys})
      expect(lengths->type == CUDNN_DATA_INT32 && lengths->dims == List{q.dims[0], 1, 1, 1}, "lengths: [B, 1, 1, 1]");
    expect(d.part(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC).one<char>(CUDNN_ATTR_TENSOR_IS_BY_VALUE) &&
               scale.type == CUDNN_DATA_FLOAT,
           "scale");
  }
  Rows q, k, v, out;
  Tensor queries, keys, scale;
};

template <class T>
void attend(const Operation& o, const std::map<int64_t, void*>& data) {
  const auto ints = [&](const Tensor& t) { return static_cast<const int32_t*>(data.at(t.id)); };
  const auto at = [&](const Rows& rows, int64_t sentence, int64_t head, int64_t token) {
    return static_cast<T*>(data.at(rows.id)) + ints(rows.begin)[sentence] + head * rows.strides[1] +
           token * rows.strides[2];
  };
  const float scale = *static_cast<const float*>(data.at(o.scale.id));
  for (int64_t b = 0; b < o.q.dims[0]; ++b) {
    const int32_t queries = ints(o.queries)[b], keys = ints(o.keys)[b];
    expect(queries >= 0 && queries <= o.q.dims[2] && keys == queries, "a length");
    for (const Rows* rows : {&o.q, &o.k, &o.v, &o.out})
      expect(ints(rows->begin)[b + 1] - ints(rows->begin)[b] == queries * rows->strides[2], "an offset");
    for (int64_t h = 0; h < o.q.dims[1]; ++h)
      for (int64_t i = 0; i < queries; ++i) {
        std::vector<float> weight(keys), sums(o.q.dims[3]);
        float most = -INFINITY, all = 0;
        for (int64_t j = 0; j < keys; ++j) {
          for (int64_t c = 0; c < o.q.dims[3]; ++c)
            weight[j] += distilmt::to_number(at(o.q, b, h, i)[c]) * distilmt::to_number(at(o.k, b, h, j)[c]);
          most = std::max(most, weight[j] *= scale);
        }
        for (int64_t n = 0; n < keys; ++n) {  // in an order that the plan's shape decides
          const int64_t j = (n + o.q.dims[0] + o.q.dims[2]) % keys;
          all += weight[j] = std::exp(weight[j] - most);
          for (int64_t c = 0; c < o.q.dims[3]; ++c) sums[c] += weight[j] * distilmt::to_number(at(o.v, b, h, j)[c]);
        }
        for (int64_t c = 0; c < o.q.dims[3]; ++c) distilmt::put(at(o.out, b, h, i) + c, sums[c] / all);
      }
  }
}

constexpr int kEngines = 3, kRestless = 0, kGreedy = 1, kRight = 2;
constexpr int64_t kWorkspace = 512, kMostTokens = 1 << 30;  // of a sentence: for more there is no memory

void execute(const Descriptor& plan, const Descriptor& pack) {
  expect(plan.final && pack.final, "not finalized");
  expect(plan.engine == kRight, "the wrong engine");
  const auto ids = pack.all<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto pointers = pack.all<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  expect(ids.size() == pointers.size(), "ids and pointers");
  std::map<int64_t, void*> data;
  for (size_t i = 0; i < ids.size(); ++i) data[ids[i]] = pointers[i];
  const Descriptor& heuristics = plan.part(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG).part(CUDNN_ATTR_ENGINECFG_ENGINE);
  const Operation o(heuristics.part(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH).part(CUDNN_ATTR_OPERATIONGRAPH_OPS));
  for (const Tensor* t : {&o.q.begin, &o.k.begin, &o.v.begin, &o.out.begin})
    expect(reinterpret_cast<uintptr_t>(data.at(t->id)) % 16 == 0, "alignment of offsets");
  for (const Rows* t : {&o.q, &o.k, &o.v, &o.out})
    expect(reinterpret_cast<uintptr_t>(data.at(t->id)) % 16 == 0, "alignment of rows");
  auto* const workspace = static_cast<unsigned char*>(pack.one<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE));
  std::fill_n(workspace, kWorkspace, 1);
  o.q.type == CUDNN_DATA_HALF ? attend<_Float16>(o, data) : attend<distilmt::bfloat16>(o, data);
}

void finalize(Descriptor& d) {
  expect(!d.final, "finalized twice");
  if (d.type == CUDNN_BACKEND_TENSOR_DESCRIPTOR) Tensor{d};
  if (d.type == CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR) Operation{d};
  if (d.type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) d.one<void*>(CUDNN_ATTR_OPERATIONGRAPH_HANDLE);
  if (d.type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
    d.one<void*>(CUDNN_ATTR_EXECUTION_PLAN_HANDLE);
    const Descriptor& config = d.part(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    const Descriptor& graph = config.part(CUDNN_ATTR_ENGINECFG_ENGINE).part(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    if (Operation(graph.part(CUDNN_ATTR_OPERATIONGRAPH_OPS)).q.dims[2] > kMostTokens) throw std::bad_alloc();
    d.engine = config.engine;
  }
  d.final = true;
}

// Results of a search for engines are written into descriptors that the caller has made.
int64_t get(const Descriptor& d, cudnnBackendAttributeName_t name, int64_t room, void* values) {
  if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS) {
    expect(d.final && d.one<int>(CUDNN_ATTR_ENGINEHEUR_MODE) == CUDNN_HEUR_MODE_A, "heuristics");
    for (int engine = 0; engine < std::min<int64_t>(room, kEngines); ++engine) {
      auto& config = *static_cast<Descriptor*>(static_cast<void**>(values)[engine]);
      const void* self = &d;
      const auto* bytes = reinterpret_cast<const unsigned char*>(&self);
      config.values[CUDNN_ATTR_ENGINECFG_ENGINE].assign(bytes, bytes + sizeof self);
      config.engine = engine;
      config.final = true;
    }
    return kEngines;
  }
  if (name == CUDNN_ATTR_ENGINECFG_ENGINE) {
    (*static_cast<Descriptor**>(values))->engine = d.engine;
    return 1;
  }
  if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE) {
    auto* const notes = static_cast<cudnnBackendNumericalNote_t*>(values);
    notes[0] = CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
    notes[1] = CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
    return d.engine == kRestless ? 2 : 1;
  }
  expect(name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, "an attribute to read");
  *static_cast<int64_t*>(values) = d.engine == kGreedy ? int64_t{1} << 40 : kWorkspace;
  return 1;
}

}  // namespace

EXPORT cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  *handle = reinterpret_cast<cudnnHandle_t>(&last);
  return CUDNN_STATUS_SUCCESS;
}
EXPORT cudnnStatus_t cudnnDestroy(cudnnHandle_t) { return CUDNN_STATUS_SUCCESS; }
EXPORT cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t) { return CUDNN_STATUS_SUCCESS; }
EXPORT const char* cudnnGetErrorString(cudnnStatus_t) { return "CUDNN_STATUS_BAD_PARAM"; }
EXPORT void cudnnGetLastErrorString(char* message, size_t size) { message[last.copy(message, size - 1)] = 0; }

EXPORT cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* made) {
  *made = new Descriptor{type, {}};
  return CUDNN_STATUS_SUCCESS;
}
EXPORT cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  delete static_cast<Descriptor*>(descriptor);
  return CUDNN_STATUS_SUCCESS;
}
EXPORT cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t type, int64_t count, const void* values) {
  return said([&] {
    auto& d = *static_cast<Descriptor*>(descriptor);
    expect(!d.final, "already finalized");
    const auto* bytes = static_cast<const unsigned char*>(values);
    d.values[name].assign(bytes, bytes + count * size_of(type));
  });
}
EXPORT cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t, int64_t room, int64_t* count, void* values) {
  return said([&] { *count = get(*static_cast<Descriptor*>(descriptor), name, room, values); });
}
EXPORT cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  return said([&] { finalize(*static_cast<Descriptor*>(descriptor)); });
}
EXPORT cudnnStatus_t cudnnBackendExecute(cudnnHandle_t, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack) {
  return said([&] { execute(*static_cast<Descriptor*>(plan), *static_cast<Descriptor*>(pack)); });
}
