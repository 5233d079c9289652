// A CUDA device. Its two queues are streams that wait for nothing but each other's marks.
#include <cuda.h>
#include <cuda_runtime.h>

#include <array>
#include <cstring>
#include <map>
#include <optional>

#include "device/cublaslt.h"
#include "device/cudnn.h"
#include "device/device.h"
#include "device/kernel_table.h"
#include "device/library.h"
#include "kernels/launch.cuh"

namespace distilmt {
namespace {

void check(cudaError_t error, const std::string& call) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error that is told is over
  const std::string message = call + ": " + cudaGetErrorString(error);
  if (error == cudaErrorMemoryAllocation) throw OutOfDeviceMemory(message);
  throw DeviceError(message);
}

// Keeps the thread's CUDA context. Asked of the driver: to set a device again by its number would make it a context.
class Context {
 public:
  Context() { driver().get(&before_); }
  ~Context() { driver().set(before_); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

 private:
  struct Driver {
    decltype(&cuCtxGetCurrent) get;
    decltype(&cuCtxSetCurrent) set;
    Driver() {
      const Library library("libcuda.so.1");
      library.find("cuCtxGetCurrent", get);
      library.find("cuCtxSetCurrent", set);
    }
  };
  static const Driver& driver() {
    static const Driver driver;
    return driver;
  }
  CUcontext before_ = nullptr;
};

std::string dotted(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

class CudaDevice : public Device {
 public:
  CudaDevice(int ordinal, const std::string& cublaslt, const std::string& cudnn) : ordinal_(ordinal), cudnn_(cudnn) {
    const Context before;
    check(cudaGetDeviceProperties(&properties_, ordinal), "cudaGetDeviceProperties");
    if (properties_.major < kLeastMajor)
      throw DeviceError(name() + ": compute capability " + std::to_string(kLeastMajor) + ".0 or later is wanted");
    current();
    products_.emplace(cublaslt);
    for (Lane& lane : lanes_) {
      check(cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
      for (cudaEvent_t& event : lane.events)
        check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
      check(cudaMalloc(&lane.workspace, CublasLt::kWorkspace), "cudaMalloc of a workspace");
    }
  }
  ~CudaDevice() override {
    const Context before;
    settle();
    for (const auto& [number, graph] : graphs_) cudaGraphExecDestroy(graph);
    for (Lane& lane : lanes_) {
      for (cudaEvent_t event : lane.events) cudaEventDestroy(event);
      cudaFree(lane.workspace);
      cudaStreamDestroy(lane.stream);
    }
  }

  std::string name() const override {
    int driver = 0;
    check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
    return std::string(properties_.name) + ", compute capability " + std::to_string(properties_.major) + "." +
           std::to_string(properties_.minor) + ", driver for CUDA " + dotted(driver) +
           (products_ ? ", cuBLASLt " + products_->version() : "");
  }
  int64_t free_bytes() const override {
    const Context before;
    current();
    size_t free = 0, all = 0;
    check(cudaMemGetInfo(&free, &all), "cudaMemGetInfo");
    return static_cast<int64_t>(free);
  }

  void* allocate(int64_t bytes) override {
    current();
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes), "cudaMalloc of " + std::to_string(bytes) + " bytes");
    check(cudaMemset(memory, 0, bytes), "cudaMemset");
    // The queues do not wait for the default stream.
    check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
    return memory;
  }
  void release(void* memory) override {
    const Context before;  // a model goes whenever nobody refers to it any more, in any thread
    cudaSetDevice(ordinal_);
    cudaFree(memory);
  }
  void* map(int64_t bytes) override {
    current();
    void* memory = nullptr;
    check(cudaHostAlloc(&memory, bytes, cudaHostAllocMapped), "cudaHostAlloc of " + std::to_string(bytes) + " bytes");
    std::memset(memory, 0, bytes);
    return memory;
  }
  void unmap(void* memory) override { cudaFreeHost(memory); }

  void run(Queue queue, const Work& work) override {
    current();
    check(static_cast<cudaError_t>(work(lane(queue).stream)), "kernel");
  }
  void multiply(Queue queue, const Product& product) override {
    current();
    products_->multiply(product, lane(queue).workspace, lane(queue).stream);
  }
  void prepare(const AttentionShape& shape) override {
    current();
    if (!attention_) attention_.emplace(cudnn_, CublasLt::kWorkspace);
    attention_->prepare(shape);
  }
  void attend(Queue queue, const SentenceAttention& attention) override {
    current();
    attention_->attend(attention, lane(queue).workspace, lane(queue).stream);
  }
  void copy(Queue queue, void* to, const void* from, int64_t bytes) override {
    current();
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, lane(queue).stream), "cudaMemcpyAsync");
  }

  int capture(Queue queue, const std::function<void()>& queue_work) override {
    current();
    const cudaStream_t stream = lane(queue).stream;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t graph = nullptr;
    try {
      queue_work();
    } catch (...) {
      cudaStreamEndCapture(stream, &graph);
      if (graph) cudaGraphDestroy(graph);
      throw;
    }
    check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    cudaGraphExec_t ready = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&ready, graph, 0);
    cudaGraphDestroy(graph);
    check(error, "cudaGraphInstantiate");
    graphs_[++captured_] = ready;
    return captured_;
  }
  void launch(Queue queue, int graph) override {
    current();
    check(cudaGraphLaunch(graphs_.at(graph), lane(queue).stream), "cudaGraphLaunch");
  }
  void drop(int graph) override {
    cudaGraphExecDestroy(graphs_.at(graph));
    graphs_.erase(graph);
  }

  Mark mark(Queue queue) override {
    current();
    Lane& lane = this->lane(queue);
    const Mark mark{queue, lane.marks++};
    // An event is used again: what was marked with it kMarks ago has to be reached.
    if (mark.number >= kMarks) check(cudaEventSynchronize(event(mark)), "cudaEventSynchronize");
    check(cudaEventRecord(event(mark), lane.stream), "cudaEventRecord");
    return mark;
  }
  bool reached(const Mark& mark) override {
    if (old(mark)) return true;
    const cudaError_t error = cudaEventQuery(event(mark));
    if (error == cudaErrorNotReady) return cudaGetLastError(), false;
    check(error, "cudaEventQuery");
    return true;
  }
  void wait(const Mark& mark) override {
    if (!old(mark)) check(cudaEventSynchronize(event(mark)), "cudaEventSynchronize");
  }
  void follow(Queue queue, const Mark& mark) override {
    if (!old(mark)) check(cudaStreamWaitEvent(lane(queue).stream, event(mark), 0), "cudaStreamWaitEvent");
  }
  void settle() noexcept override {
    cudaSetDevice(ordinal_);
    for (Lane& lane : lanes_) cudaStreamSynchronize(lane.stream);
  }

  void upload(void* to, const void* from, int64_t bytes) override {
    current();
    check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
    check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
  }

  const Kernels& kernels() const override { return kKernels; }

 private:
  static constexpr int kLeastMajor = 8;  // of the compute capability: what the kernels are compiled for
  static constexpr int64_t kMarks = 64;
  struct Lane {
    cudaStream_t stream = nullptr;
    std::array<cudaEvent_t, kMarks> events{};
    int64_t marks = 0;
    void* workspace = nullptr;
  };

  std::shared_ptr<void> enter() const override { return std::make_shared<Context>(); }
  // Calls may come from any thread.
  void current() const { check(cudaSetDevice(ordinal_), "cudaSetDevice " + std::to_string(ordinal_)); }
  Lane& lane(Queue queue) { return lanes_[static_cast<int>(queue)]; }
  cudaEvent_t event(const Mark& mark) { return lane(mark.queue).events[mark.number % kMarks]; }
  bool old(const Mark& mark) { return mark.number + kMarks < lane(mark.queue).marks; }

  const int ordinal_;
  const std::string cudnn_;
  cudaDeviceProp properties_;
  std::optional<CublasLt> products_;  // made for the device that is current then
  std::optional<Cudnn> attention_;
  std::array<Lane, kQueues> lanes_;
  std::map<int, cudaGraphExec_t> graphs_;
  int captured_ = 0;
};

}  // namespace
}  // namespace distilmt

// What the library `_cuda` offers to `_native` (device/open.h).

DISTILMT_EXPORT distilmt::Device* distilmt_cuda_device(int ordinal, const char* cublaslt, const char* cudnn) {
  return new distilmt::CudaDevice(ordinal, cublaslt, cudnn);
}

// How many devices there are; *why says why there are none, and is null where there are.
DISTILMT_EXPORT int distilmt_cuda_devices(const char** why) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  *why = error == cudaSuccess ? nullptr : cudaGetErrorString(error);
  return error == cudaSuccess ? count : 0;
}
