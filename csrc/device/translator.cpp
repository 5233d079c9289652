#include "device/translator.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <map>

#include "common/aligned.h"
#include "device/results.h"
#include "device/search.h"
#include "device/tally.h"
#include "engine/sampler.h"

namespace distilmt {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRows = 4096;       // of a step, where there are so many sentences
constexpr size_t kTokens = 4096;  // of an encoder pass
constexpr int kMostBeams = cuda::kMostCandidates / 2;
constexpr int kPasses = 3;             // encoder passes prepared at a time
constexpr size_t kAhead = 4;           // steps queued before the host waits for one
constexpr double kOfFreeMemory = 0.9;  // what a search may take
constexpr int64_t kMappedBytes = int64_t{2} << 30;

void check_supported(const DeviceModel& model, const Request& request) {
  const SearchOptions& o = request.options;
  const auto refuse = [](bool asked, const char* what) {
    if (asked)
      throw NotOnDevice(std::string(what) + ": not there on a device yet - leave it out, or use device=\"cpu\"");
  };
  refuse(request.hidden_states, "hidden_states");
  refuse(o.sample && o.n_best > kMostBeams, "more than 64 samples");
  refuse(o.sample && o.top_k > cuda::kMostCandidates, "top_k above 128");
  refuse(o.coverage_penalty != 0, "coverage_penalty");
  refuse(o.repetition_penalty != 1, "repetition_penalty");
  refuse(o.no_repeat_ngram_size != 0, "no_repeat_ngram_size");
  refuse(bool(request.neighbours), "neighbours");
  refuse(!o.sample && o.beam_size > kMostBeams, "beam_size above 64");
  refuse(!o.sample && o.n_best > o.beam_size, "n_best above beam_size");
  refuse(request.soft_labels > cuda::kMostCandidates, "soft_labels above 128");
  refuse(request.soft_labels > 0 && o.banned.size() > cuda::kMostBanned, "soft_labels with more than 1024 banned ids");
  for (int64_t heads : {model.config.encoder_heads, model.config.decoder_heads})
    refuse(model.config.hidden / heads > cuda::kHeadSize, "attention heads of more than 128 columns");
}

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
struct Held {
  Held(const DeviceModel& model, const DeviceShape& shape, const Job& job, Memory& memory)
      : search(model, shape, job, memory), encoder(model, memory, shape.tokens) {
    for (int i = 0; i < kPasses; ++i) passes.emplace_back(memory, shape, job.prefixes || job.targets);
  }
  DeviceSearch search;
  DeviceEncoder encoder;
  std::vector<Pass> passes;
};

class Run {
 public:
  Run(const DeviceModel& model, const DeviceShape& shape, Job& job)
      : device_(*model.device), model_(model), shape_(shape), job_(job), held_(model, shape, job, device_) {
    held_.search.upload();
    for (int place = shape.places - 1; place >= 0; --place) free_.push_back(place);
    sentence_.resize(shape.places);
    master_ = aligned<int32_t>(PlaceTable::size(shape.places));
    std::fill_n(master_.get(), PlaceTable::size(shape.places), 0);
  }
  ~Run() {
    device_.settle();
    for (const auto& [launched, graph] : graphs_) device_.drop(graph);
  }

  // Takes sentences from `waiting`; those whose output stands leave `unread`.
  void all(std::deque<size_t>& waiting, std::vector<bool>& unread, const std::function<void(size_t)>& tick) {
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

 private:
  // A pass is worth its launches where it fills a part of the slots, or the device has nothing else to do.
  void encode(std::deque<size_t>& waiting) {
    const size_t least = std::min<size_t>(waiting.size(), std::max(1, shape_.slots / 8));
    if (waiting.empty() || free_.empty() || (free_.size() < least && in_search_ > 0)) return;
    Pass& pass = held_.passes[next_pass_];
    if (pass.used && (!pass.places.empty() || !device_.reached(pass.published))) return;
    next_pass_ = (next_pass_ + 1) % kPasses;
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
    held_.encoder.queue(pass.tokens, held_.search.source(), shape_.places, shape_.source_positions);
    pass.encoded = device_.mark(Queue::encode);
    pending_.push_back(&pass);
  }

  // Tells the decoder of passes that are done; waits for one only where the decoder has nothing else.
  void publish() {
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

  void announce(int place, Pass& pass) {
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

  int longest(const std::vector<int>& prefix) const {
    if (job_.targets) return 1;  // the end symbol
    return std::min(job_.options.max_length,
                    static_cast<int>(model_.config.positions) - static_cast<int>(prefix.size()));
  }

  // One step more. The steps are captured for slots, slots / 2, slots / 4 ... of which the least that holds all
  // sentences in search is taken: who they are the device knows, how many at most the host.
  void step() {
    int launched = shape_.slots;
    while (launched % 2 == 0 && launched / 2 >= in_search_) launched /= 2;
    const auto graph = graphs_.find(launched);
    if (graph == graphs_.end()) {
      held_.search.queue(launched);  // as it is: libraries load their kernels now, which a capture does not allow
      graphs_[launched] = device_.capture(Queue::decode, [&] { held_.search.queue(launched); });
    } else {
      device_.launch(Queue::decode, graph->second);
    }
    steps_.push_back(device_.mark(Queue::decode));
    if (steps_.size() <= kAhead) return;
    device_.wait(steps_.front());
    steps_.pop_front();
  }

  void read(std::vector<bool>& unread) {
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

  Device& device_;
  const DeviceModel& model_;
  const DeviceShape shape_;
  Job& job_;
  Held held_;
  std::vector<int> free_;              // places
  std::vector<size_t> sentence_;       // [places] whose it is
  Aligned<int32_t> master_;            // of the PlaceTable on the device
  std::deque<Pass*> pending_;          // encoded, or on their way
  std::deque<Device::Mark> steps_;     // queued, not known to be done
  std::map<int, int> graphs_;          // launched: graph
  int next_pass_ = 0, in_search_ = 0;  // sentences the decoder knows of, whose results are not read
  uint32_t ready_ = 0, read_ = 0;      // entries of the rings
};

int beams_of(const Request& request) {
  if (request.scoring) return 1;
  return request.options.sample ? request.options.n_best : request.options.beam_size;
}

DeviceShape shape_of(const Request& request, const Plan& plan, int slots, int sentences) {
  DeviceShape shape;
  shape.beams = beams_of(request);
  shape.slots = std::min(slots, sentences);
  shape.places = std::min(sentences, shape.slots + shape.slots / 2 + 1);
  shape.positions = plan.target;
  shape.source_positions = plan.source;
  size_t tokens = 0;
  for (const auto& source : request.sources) tokens += source.size();
  shape.tokens = std::max(plan.source, static_cast<int>(std::min(tokens, kTokens)));
  shape.pages = shape.slots * shape.pages_per_slot();
  return shape;
}

bool fits(const DeviceModel& model, const DeviceShape& shape, const Job& job, int64_t free_bytes) {
  Tally tally;
  const Held held(model, shape, job, tally);
  return tally.device <= static_cast<int64_t>(kOfFreeMemory * static_cast<double>(free_bytes)) &&
         tally.mapped <= kMappedBytes;
}

// The most slots that memory suffices for. Pages are saved first, down to a quarter of what sentences could come to
// need: hardly any come so far, and one without a page waits.
DeviceShape fitting(const DeviceModel& model, const Request& request, const Job& job, const Plan& plan, int slots,
                    int sentences) {
  DeviceShape shape = shape_of(request, plan, slots, sentences);
  const int64_t free_bytes = model.device->free_bytes();
  while (!fits(model, shape, job, free_bytes)) {
    if (shape.pages / 2 >= std::max(1, shape.slots / 4) * shape.pages_per_slot())
      shape.pages /= 2;
    else if (shape.slots > 1)
      shape = shape_of(request, plan, shape.slots / 2, sentences);
    else
      break;  // allocation will say what is wanting
  }
  return shape;
}

}  // namespace

std::vector<Output> run(const DeviceModel& model, const Request& request, const std::function<void(size_t)>& tick) {
  check_supported(model, request);
  std::vector<Output> outputs(request.sources.size());
  Job job;
  const Plan plan = prepare(model.config.positions, request, outputs, job);
  std::vector<bool> unread(outputs.size(), false);
  for (size_t index : job.order) unread[index] = true;
  int slots = request.slots > 0 ? request.slots : std::max(1, kRows / beams_of(request));
  for (;;) {
    std::deque<size_t> waiting;
    for (size_t index : job.order)
      if (unread[index]) waiting.push_back(index);
    if (waiting.empty()) break;
    const DeviceShape shape = fitting(model, request, job, plan, slots, static_cast<int>(waiting.size()));
    try {
      Run(model, shape, job).all(waiting, unread, tick);
    } catch (const OutOfDeviceMemory&) {
      if (shape.slots == 1) throw;
      slots = shape.slots / 2;  // what has been read stays
    }
  }
  for (const auto& [copy, first] : plan.copies) outputs[copy] = outputs[first];
  tick(job.done);
  return outputs;
}

}  // namespace distilmt
