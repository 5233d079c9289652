// One attempt at a job on a device: the host's side of the loop. It fills places, launches steps and reads results.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "common/aligned.h"
#include "device/search.h"

namespace distilmt {

// One encoder pass, from the sentences taken to their places told to the decoder.
struct Pass {
  Pass(Memory& memory, const DeviceShape& shape, bool prefixes)
      : tokens(memory, shape.tokens),
        told(memory, shape.places, DeviceArray<int32_t>::Kind::mapped),
        prefix_tokens(memory, prefixes ? int64_t{shape.places} * shape.positions : 0,
                      DeviceArray<int32_t>::Kind::mapped) {}

  EncoderPass tokens;
  PlaceTable told;
  DeviceArray<int32_t> prefix_tokens;  // [places, positions]
  std::vector<int> places;             // filled by this pass
  Device::Mark encoded, published;
  bool used = false;
};

// What one attempt at a job holds on the device, in the order in which it is taken.
struct RunMemory {
  RunMemory(const DeviceModels& models, const DeviceShape& shape, const Job& job, Memory& memory)
      : search(models, shape, job, memory) {
    for (int i = 0; i < kPasses; ++i) passes.emplace_back(memory, shape, job.prefixes || job.targets);
  }
  static constexpr int kPasses = 3;  // prepared at a time

  DeviceSearch search;
  std::vector<Pass> passes;
};

// Waits where it is kAhead steps ahead of the device; with neighbours in every step, for their hidden states.
class DeviceRun {
 public:
  DeviceRun(const DeviceModels& models, const DeviceShape& shape, Job& job);
  ~DeviceRun();

  // Takes sentences from `waiting`; those whose output stands leave `unread`.
  void all(std::deque<size_t>& waiting, std::vector<bool>& unread, const std::function<void(size_t)>& tick);

 private:
  using Part = DeviceSearch::Part;

  void encode(std::deque<size_t>& waiting);
  void publish();
  void announce(int place, Pass& pass);
  int longest(const std::vector<int>& prefix) const;
  void step();
  void queue(int launched, Part part);
  void read(std::vector<bool>& unread);

  Device& device_;
  const DeviceModels& models_;
  const DeviceShape shape_;
  Job& job_;
  RunMemory held_;
  std::vector<int> free_;                       // places
  std::vector<size_t> sentence_;                // [places] whose it is
  Aligned<int32_t> master_;                     // of the PlaceTable on the device
  std::deque<Pass*> pending_;                   // encoded, or on their way
  std::deque<Device::Mark> steps_;              // queued, not known to be done
  std::map<std::pair<int, Part>, int> graphs_;  // of steps for so many slots
  int next_pass_ = 0, in_search_ = 0;           // sentences the decoder knows of, whose results are not read
  uint32_t ready_ = 0, read_ = 0;               // entries of the rings
};

}  // namespace distilmt
