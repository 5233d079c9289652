#include "tests/host_device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "device/kernel_table.h"
#include "device/model.h"

namespace distilmt::test {
namespace {

void multiply_integers(const Product& p) {
  const int8_t *a = static_cast<const int8_t*>(p.a), *w = static_cast<const int8_t*>(p.w);
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t j = 0; j < p.n; ++j) {
      int32_t sum = 0;
      for (int64_t c = 0; c < p.k; ++c) sum += a[i * p.k + c] * w[j * p.k + c];
      static_cast<int32_t*>(p.out)[i * p.n + j] = sum;
    }
}

void multiply_on_host(const Product& p) {
  if (p.int8) return multiply_integers(p);
  const cuda::Storage to = p.wide ? cuda::Storage::float32 : p.storage;
  std::vector<std::vector<float>> w;
  for (int64_t j = 0; j < p.n; ++j) w.push_back(loaded(p.w, j * p.k, p.k, p.storage));
  std::vector<float> out(p.n), bias(p.n);
  if (p.bias) bias = loaded(p.bias, 0, p.n, to);
  for (int64_t i = 0; i < p.m; ++i) {
    const std::vector<float> a = loaded(p.a, i * p.k, p.k, p.storage);
    for (int64_t j = 0; j < p.n; ++j) {
      float sum = 0;
      for (int64_t c = 0; c < p.k; ++c) sum += a[c] * w[j][c];
      if (p.bias) sum += bias[j];
      out[j] = p.relu && !(sum > 0) && sum == sum ? 0 : sum;
    }
    const std::vector<uint8_t> bytes = stored(out.data(), p.n, to);
    std::memcpy(static_cast<uint8_t*>(p.out) + i * static_cast<int64_t>(bytes.size()), bytes.data(), bytes.size());
  }
}

}  // namespace

HostDevice::HostDevice(int64_t memory) : memory_(memory) {
  for (Lane& lane : lanes_) lane.thread = std::thread([this, &lane] { work(lane); });
}

HostDevice::~HostDevice() {
  for (Lane& lane : lanes_) {
    {
      const std::lock_guard lock(lane.mutex);
      lane.leave = true;
    }
    lane.change.notify_all();
    lane.thread.join();
  }
}

void HostDevice::work(Lane& lane) {
  std::unique_lock lock(lane.mutex);
  for (;;) {
    lane.change.wait(lock, [&] { return lane.leave || !lane.tasks.empty(); });
    if (lane.tasks.empty()) return;
    const Task task = std::move(lane.tasks.front());
    lane.tasks.pop_front();
    lock.unlock();
    task();
    lock.lock();
    ++lane.done;
    lane.change.notify_all();
  }
}

std::shared_ptr<void> HostDevice::enter() const {
  if (turns_++ == 0) whose_ = std::this_thread::get_id();
  shared = shared || whose_ != std::this_thread::get_id();
  return {&turns_, [this](void*) { --turns_; }};
}

void HostDevice::queue_task(Queue queue, Task task) {
  if (turns_ == 0) throw DeviceError("work that is queued outside a turn");
  Lane& lane = this->lane(queue);
  if (lane.recording) return lane.recording->push_back(std::move(task));
  if (error_) throw DeviceError("kernel: error " + std::to_string(error_));
  const std::lock_guard lock(lane.mutex);
  lane.tasks.push_back(std::move(task));
  ++lane.queued;
  lane.change.notify_all();
}

void* HostDevice::allocate(int64_t bytes) {
  if (taken_ + bytes > memory_) {
    ++refusals;
    throw OutOfDeviceMemory("allocation of " + std::to_string(bytes) + " bytes");
  }
  void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(memory, 0, bytes);
  taken_ += bytes;
  peak = std::max(peak, taken_);
  sizes_[memory] = bytes;
  return memory;
}

void HostDevice::release(void* memory) {
  taken_ -= sizes_[memory];
  sizes_.erase(memory);
  std::free(memory);
}

void* HostDevice::map(int64_t bytes) { return std::calloc(1, bytes); }
void HostDevice::unmap(void* memory) { std::free(memory); }

void HostDevice::run(Queue queue, const Work& work) {
  queue_task(queue, [this, work] {
    if (const int error = work(nullptr)) error_ = error;
  });
}

void HostDevice::multiply(Queue queue, const Product& product) {
  if (product.int8 && (product.m % 32 != 0 || product.n % 4 != 0 || product.k % 4 != 0))
    throw DeviceError("cuBLASLt is not relied on for such an int8 product");
  queue_task(queue, [product] { multiply_on_host(product); });
}

void HostDevice::attend(Queue queue, const SentenceAttention& attention) {
  queue_task(queue, [this, attention] { cudnn_.attend(attention, workspace_.data(), nullptr); });
}

void HostDevice::copy(Queue queue, void* to, const void* from, int64_t bytes) {
  queue_task(queue, [=] { std::memcpy(to, from, bytes); });
}

int HostDevice::capture(Queue queue, const std::function<void()>& queue_work) {
  std::vector<Task> tasks;
  lane(queue).recording = &tasks;
  queue_work();
  lane(queue).recording = nullptr;
  graphs_[++captures] = std::move(tasks);
  return captures;
}

void HostDevice::launch(Queue queue, int graph) {
  ++launches;
  queue_task(queue, [tasks = graphs_.at(graph)] {
    for (const Task& task : tasks) task();
  });
}

Device::Mark HostDevice::mark(Queue queue) {
  const std::lock_guard lock(lane(queue).mutex);
  return {queue, lane(queue).queued};
}

bool HostDevice::reached(const Mark& mark) {
  const std::lock_guard lock(lane(mark.queue).mutex);
  return lane(mark.queue).done >= mark.number;
}

void HostDevice::wait(const Mark& mark) {
  Lane& lane = this->lane(mark.queue);
  std::unique_lock lock(lane.mutex);
  lane.change.wait(lock, [&] { return lane.done >= mark.number; });
}

void HostDevice::follow(Queue queue, const Mark& mark) {
  queue_task(queue, [this, mark] { wait(mark); });
}

void HostDevice::settle() noexcept {
  for (int queue = 0; queue < kQueues; ++queue) wait(mark(static_cast<Queue>(queue)));
}

void HostDevice::upload(void* to, const void* from, int64_t bytes) { std::memcpy(to, from, bytes); }

const Kernels& HostDevice::kernels() const { return kKernels; }

}  // namespace distilmt::test
