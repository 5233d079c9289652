#include "device/run.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "device/results.h"
#include "engine/sampler.h"

namespace distilmt {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kAhead = 4;  // steps queued before the host waits for one

}  // namespace

DeviceRun::DeviceRun(const DeviceModels& models, const DeviceShape& shape, Job& job)
    : device_(*models.members[0]->device),
      models_(models),
      shape_(shape),
      job_(job),
      held_(models, shape, job, device_) {
  held_.search.upload();
  for (int place = shape.places - 1; place >= 0; --place) free_.push_back(place);
  sentence_.resize(shape.places);
  master_ = aligned<int32_t>(PlaceTable::size(shape.places));
  std::fill_n(master_.get(), PlaceTable::size(shape.places), 0);
}
DeviceRun::~DeviceRun() {
  device_.settle();
  for (const auto& [step, graph] : graphs_) device_.drop(graph);
}

void DeviceRun::all(std::deque<size_t>& waiting, std::vector<bool>& unread, const std::function<void(size_t)>& tick) {
  auto ticked = Clock::now();
  for (;;) {
    read(unread);
    encode(waiting);
    publish();
    if (in_search_ > 0)
      step();
    else if (pending_.empty() && waiting.empty())
      return;
    if (Clock::now() - ticked < std::chrono::milliseconds(50)) continue;
    tick(job_.done);
    ticked = Clock::now();
  }
}

// A pass is worth its launches where it fills a part of the slots, or the device has nothing else to do.
void DeviceRun::encode(std::deque<size_t>& waiting) {
  const size_t least = std::min<size_t>(waiting.size(), std::max(1, shape_.slots / 8));
  if (waiting.empty() || free_.empty() || (free_.size() < least && in_search_ > 0)) return;
  Pass& pass = held_.passes[next_pass_];
  if (pass.used && (!pass.places.empty() || !device_.reached(pass.published))) return;
  next_pass_ = (next_pass_ + 1) % RunMemory::kPasses;
  pass.used = true;
  pass.tokens.clear();
  while (!waiting.empty() && !free_.empty()) {
    const std::vector<int>& source = (*job_.sources)[waiting.front()];
    if (pass.tokens.tokens + static_cast<int64_t>(source.size()) > shape_.tokens) break;
    const int place = free_.back();
    free_.pop_back();
    sentence_[place] = waiting.front();
    waiting.pop_front();
    pass.tokens.add(place, source.data(), static_cast<int>(source.size()));
    pass.places.push_back(place);
  }
  held_.search.models().encode(pass.tokens);
  pass.encoded = device_.mark(Queue::encode);
  pending_.push_back(&pass);
}

// Tells the decoder of passes that are done; waits for one only where the decoder has nothing else.
void DeviceRun::publish() {
  while (!pending_.empty()) {
    Pass& pass = *pending_.front();
    if (!device_.reached(pass.encoded)) {
      if (in_search_ > 0) return;
      device_.wait(pass.encoded);
    }
    device_.follow(Queue::decode, pass.encoded);
    for (int place : pass.places) announce(place, pass);
    std::copy_n(master_.get(), PlaceTable::size(shape_.places), pass.told.data());
    device_.copy(Queue::decode, held_.search.places().data(), pass.told.data(), pass.told.bytes());
    pass.published = device_.mark(Queue::decode);
    in_search_ += static_cast<int>(pass.places.size());
    pass.places.clear();
    pending_.pop_front();
  }
}

void DeviceRun::announce(int place, Pass& pass) {
  const size_t index = sentence_[place];
  const std::vector<int>&source = (*job_.sources)[index], &prefix = forced_tokens(job_, index);
  const PlaceTable::Fields f = PlaceTable::fields(master_.get(), shape_.places);
  f.key[place] = sentence_key(job_.options.seed, source, prefix);
  f.source_length[place] = static_cast<int32_t>(source.size());
  f.limit[place] = longest(prefix);
  f.prefix_begin[place] = place * shape_.positions;
  f.prefix_length[place] = static_cast<int32_t>(prefix.size());
  f.ready[ready_ % shape_.places] = place;
  *f.ready_tail = ++ready_;
  if (prefix.empty()) return;
  int32_t* const tokens = pass.prefix_tokens.get() + int64_t{place} * shape_.positions;
  std::copy(prefix.begin(), prefix.end(), tokens);
  device_.copy(Queue::decode, held_.search.prefix_tokens(place), tokens, 4 * static_cast<int64_t>(prefix.size()));
}

int DeviceRun::longest(const std::vector<int>& prefix) const {
  if (job_.targets) return 1;  // the end symbol
  return std::min(job_.options.max_length, static_cast<int>(models_.positions()) - static_cast<int>(prefix.size()));
}

// One step more. The steps are captured for all slots, half of them, a quarter ... rounded up, of which the least that
// holds all sentences in search is taken: who they are the device knows, how many at most the host.
void DeviceRun::step() {
  int launched = shape_.slots;
  while (launched > 1 && (launched + 1) / 2 >= in_search_) launched = (launched + 1) / 2;
  if (job_.neighbours) {  // which the host asks, and so it waits
    queue(launched, Part::layers);
    device_.wait(device_.mark(Queue::decode));
    held_.search.ask(*job_.neighbours, launched);
    return queue(launched, Part::choice);
  }
  queue(launched, Part::all);
  steps_.push_back(device_.mark(Queue::decode));
  if (steps_.size() <= kAhead) return;
  device_.wait(steps_.front());
  steps_.pop_front();
}

void DeviceRun::queue(int launched, Part part) {
  const auto graph = graphs_.find({launched, part});
  if (graph != graphs_.end()) return device_.launch(Queue::decode, graph->second);
  held_.search.queue(launched, part);  // as it is: libraries load their kernels now, which a capture does not allow
  graphs_[{launched, part}] = device_.capture(Queue::decode, [&] { held_.search.queue(launched, part); });
}

void DeviceRun::read(std::vector<bool>& unread) {
  const cuda::Results& r = held_.search.results();
  const uint32_t done = std::atomic_ref<uint32_t>(*r.done).load(std::memory_order_acquire);
  for (; read_ != done; ++read_) {
    const int place = r.finished[read_ % shape_.places];
    const size_t index = sentence_[place];
    read_result(held_.search.results(), place, job_, index, longest(forced_tokens(job_, index)),
                (*job_.outputs)[index]);
    unread[index] = false;
    free_.push_back(place);
    --in_search_;
    ++job_.done;
  }
}

}  // namespace distilmt
