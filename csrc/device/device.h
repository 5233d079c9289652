// A machine that works through queues: a CUDA device (device/cuda_device.cu, in the library `_cuda`), or threads of
// this processor, in tests.
//
// Nothing here waits but `wait` and `settle`. What is queued between the two ends of `capture` is not done but kept as
// a graph, with the arguments it had, and done by every `launch`.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "device/attention.h"
#include "device/product.h"

namespace distilmt {

struct Kernels;

// What a device said no to. The message names the call.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct OutOfDeviceMemory : DeviceError {
  using DeviceError::DeviceError;
};

// What a device cannot do yet.
struct NotOnDevice : std::invalid_argument {
  explicit NotOnDevice(const std::string& option)
      : std::invalid_argument(option + ": not there on a device yet - leave it out, or use device=\"cpu\"") {}
};

// A CUDA stream: what is in it is done in its order. The decoder's steps, and the encoder's passes beside them.
enum class Queue { decode, encode };
constexpr int kQueues = 2;

// Where the memory of a device comes from. A search can be laid out in a memory that only counts (device/tally.h).
class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  virtual ~Memory() = default;

  // 256-byte aligned, all bytes zero. Throws OutOfDeviceMemory.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void release(void* memory) = 0;
  // Memory of the host that the device reads and writes at the same address.
  virtual void* map(int64_t bytes) = 0;
  virtual void unmap(void* memory) = 0;
};

class Device : public Memory {
 public:
  // Starts a kernel in the stream that it is given; returns what the kernel's entry returns, 0 for success.
  using Work = std::function<int(void* stream)>;
  // A place in a queue: what was queued before it.
  struct Mark {
    Queue queue = Queue::decode;
    int64_t number = 0;
  };

  // A thread's turn at the device: others wait until it is over. What was the thread's CUDA context is so again then.
  class Turn {
   public:
    explicit Turn(Device& device) : alone_(device.turn_), entered_(device.enter()) {}

   private:
    const std::lock_guard<std::recursive_mutex> alone_;  // recursive: a callback of a run may translate too
    const std::shared_ptr<void> entered_;
  };

  // What it is called, and what of it a user may have to know.
  virtual std::string name() const = 0;
  virtual int64_t free_bytes() const = 0;

  // Queued. `from` and `to` of a copy lie on the device or in mapped memory, and stay as they are until it is done.
  virtual void run(Queue queue, const Work& work) = 0;
  // A kernel of csrc/cuda with its argument.
  template <class Argument>
  void start(Queue queue, int (*kernel)(const Argument*, void*), const Argument& argument) {
    run(queue, [=](void* stream) { return kernel(&argument, stream); });
  }
  virtual void multiply(Queue queue, const Product& product) = 0;
  // By cuDNN. `prepare` makes what `attend` needs, and throws DeviceError where cuDNN cannot be had, or cannot do it.
  virtual void prepare(const AttentionShape& shape) = 0;
  virtual void attend(Queue queue, const SentenceAttention& attention) = 0;
  virtual void copy(Queue queue, void* to, const void* from, int64_t bytes) = 0;
  virtual int capture(Queue queue, const std::function<void()>& queue_work) = 0;  // the graph's number
  virtual void launch(Queue queue, int graph) = 0;
  virtual void drop(int graph) = 0;  // once the queues are empty

  virtual Mark mark(Queue queue) = 0;
  virtual bool reached(const Mark& mark) = 0;
  virtual void wait(const Mark& mark) = 0;
  // What comes into `queue` from now on is done behind the mark.
  virtual void follow(Queue queue, const Mark& mark) = 0;
  // Until all queues are empty. Does not throw.
  virtual void settle() = 0;

  // From memory of any kind, at once: for weights.
  virtual void upload(void* to, const void* from, int64_t bytes) = 0;

  virtual const Kernels& kernels() const = 0;

 private:
  // Lasts as long as a turn.
  virtual std::shared_ptr<void> enter() const { return nullptr; }

  std::recursive_mutex turn_;
};

// Values on a device, or mapped, with their owner.
template <class T>
class DeviceArray {
 public:
  enum class Kind { device, mapped };

  DeviceArray() = default;
  DeviceArray(Memory& memory, int64_t count, Kind kind = Kind::device) : memory_(&memory), kind_(kind), count_(count) {
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    if (bytes > 0) data_ = static_cast<T*>(kind == Kind::mapped ? memory.map(bytes) : memory.allocate(bytes));
  }
  DeviceArray(DeviceArray&& other) noexcept { *this = std::move(other); }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(kind_, other.kind_);
    std::swap(count_, other.count_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~DeviceArray() {
    if (data_) kind_ == Kind::mapped ? memory_->unmap(data_) : memory_->release(data_);
  }

  T* get() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }  // mapped memory alone
  int64_t count() const { return count_; }

 private:
  Memory* memory_ = nullptr;
  Kind kind_ = Kind::device;
  int64_t count_ = 0;
  T* data_ = nullptr;
};

}  // namespace distilmt
