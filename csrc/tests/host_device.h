// A device made of threads of this processor: a thread per queue, which does what is queued when it comes to it, plain
// loops for products and behind cuDNN's interface (tests/cudnn_on_host), and the kernels of csrc/cuda compiled for the
// host. Memory has a limit that a test may set.
#pragma once
#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "device/cudnn.h"
#include "device/device.h"

namespace distilmt::test {

constexpr int64_t kCudnnWorkspace = 1024;                     // what tests let it use
constexpr const char* kCudnnOnHost = DISTILMT_CUDNN_ON_HOST;  // its path

class HostDevice : public Device {
 public:
  explicit HostDevice(int64_t memory = int64_t{1} << 32);
  ~HostDevice() override;

  std::string name() const override { return "threads of this processor"; }
  int64_t free_bytes() const override { return says_free > 0 ? says_free : memory_ - taken_; }
  void* allocate(int64_t bytes) override;
  void release(void* memory) override;
  void* map(int64_t bytes) override;
  void unmap(void* memory) override;
  void run(Queue queue, const Work& work) override;
  void multiply(Queue queue, const Product& product) override;
  void prepare(const AttentionShape& shape) override { cudnn_.prepare(shape); }
  void attend(Queue queue, const SentenceAttention& attention) override;
  void copy(Queue queue, void* to, const void* from, int64_t bytes) override;
  int capture(Queue queue, const std::function<void()>& queue_work) override;
  void launch(Queue queue, int graph) override;
  void drop(int graph) override { graphs_.erase(graph); }
  Mark mark(Queue queue) override;
  bool reached(const Mark& mark) override;
  void wait(const Mark& mark) override;
  void follow(Queue queue, const Mark& mark) override;
  void settle() noexcept override;
  void upload(void* to, const void* from, int64_t bytes) override;
  const Kernels& kernels() const override;

  size_t graphs() const { return graphs_.size(); }
  int64_t plans() const { return cudnn_.plans(); }

  int64_t says_free = 0;  // what free_bytes returns, where it shall lie
  int64_t peak = 0;       // bytes taken at a time, at most
  int launches = 0, captures = 0, refusals = 0;
  mutable std::atomic<bool> shared{false};  // two threads have had turns at once

 private:
  using Task = std::function<void()>;
  struct Lane {
    std::thread thread;
    std::mutex mutex;
    std::condition_variable change;
    std::deque<Task> tasks;
    int64_t queued = 0, done = 0;
    bool leave = false;
    std::vector<Task>* recording = nullptr;
  };
  std::shared_ptr<void> enter() const override;
  void queue_task(Queue queue, Task task);
  void work(Lane& lane);
  Lane& lane(Queue queue) { return lanes_[static_cast<int>(queue)]; }

  const int64_t memory_;
  int64_t taken_ = 0;
  Cudnn cudnn_{kCudnnOnHost, kCudnnWorkspace};
  std::vector<unsigned char> workspace_ = std::vector<unsigned char>(kCudnnWorkspace);
  std::atomic<int> error_{0};
  mutable std::atomic<int> turns_{0};  // that last
  mutable std::atomic<std::thread::id> whose_{};
  std::map<void*, int64_t> sizes_;
  std::array<Lane, kQueues> lanes_;
  std::map<int, std::vector<Task>> graphs_;
};

}  // namespace distilmt::test
