#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "engine/scorer.h"
#include "engine/worker.h"

namespace distilmt {
namespace {

// Rows that the matrix products of a step should have: the weights are read once per step, whatever the number.
constexpr int kRows = 96;
// Rows of a step that scores: they come without waiting for each other, and more of them cost little memory.
constexpr int kScoringRows = 192;
// Keys and values of one worker, in bytes, beyond which fewer slots are used.
constexpr int64_t kWorkerBytes = int64_t{1} << 30;

// Decides what needs no decoding, and the order of the rest. Returns the longest source and target, end symbols
// included.
std::pair<int, int> prepare(const Weights& weights, const Request& request, Job& job) {
  const size_t positions = static_cast<size_t>(weights.config.positions);
  size_t source = 1, target = 1;
  for (size_t i = 0; i < request.sources.size(); ++i) {
    const size_t length = request.sources[i].size() + 1;
    const size_t forced = request.scoring ? request.targets[i].size() + 1 : 1;
    Output& output = (*job.outputs)[i];
    if (length == 1) {
      output.status = Status::empty_source;
    } else if (length > positions || forced > positions) {
      output.status = Status::too_long;
    } else {
      source = std::max(source, length);
      target = std::max(target, forced);
      job.order.push_back(i);
    }
  }
  job.done = request.sources.size() - job.order.size();
  // Equal lengths keep the order of the input, so that a run can be followed.
  std::stable_sort(job.order.begin(), job.order.end(),
                   [&](size_t a, size_t b) { return request.sources[a].size() > request.sources[b].size(); });
  if (!request.scoring) target = std::min(positions, static_cast<size_t>(job.options.max_length));
  return {static_cast<int>(source), static_cast<int>(target)};
}

DecoderShape choose_shape(const Weights& weights, const Request& request, const Job& job, int workers, int source,
                          int target) {
  DecoderShape shape;
  shape.beams = request.scoring ? 1 : job.options.beam_size;
  shape.positions = target;
  shape.source_positions = source;
  const int share = static_cast<int>((job.order.size() + workers - 1) / workers);
  auto with = [&](int slots) {
    shape.slots = slots;
    shape.places = request.scoring ? slots : 2 * slots;
    shape.rows = request.scoring ? kScoringRows : slots * shape.beams;
    return shape;
  };
  if (request.slots > 0) return with(std::min(request.slots, share));
  int slots = std::min(share, std::max(1, kRows / shape.beams));
  const int64_t soft = request.soft_labels > 0 ? SoftLabels::bytes_per_row(request.soft_labels) : 0;
  const int64_t noted = soft * shape.positions * shape.beams;  // by a slot
  while (slots > 1 && Decoder::bytes(weights.config, with(slots)) + slots * noted > kWorkerBytes) --slots;
  return with(slots);
}

// The worker threads of one call, and what they report. Leaving the scope stops and joins them.
class Crew {
 public:
  explicit Crew(Job& job) : job_(job) {}
  ~Crew() {
    job_.stop = true;
    for (std::thread& thread : threads_) thread.join();
  }

  void add(const Weights& weights, const DecoderShape& shape) {
    threads_.emplace_back([this, &weights, shape] {
      std::exception_ptr error;
      try {
        if (job_.targets)
          Scorer(weights, job_, shape).run();
        else
          Worker(weights, job_, shape).run();
      } catch (...) {
        error = std::current_exception();
        job_.stop = true;
      }
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = error;
      ++finished_;
      change_.notify_one();
    });
  }

  void wait(const std::function<void(size_t)>& tick) {
    std::unique_lock lock(mutex_);
    while (!change_.wait_for(lock, std::chrono::milliseconds(50), [&] { return finished_ == threads_.size(); })) {
      lock.unlock();  // tick may take its time
      tick(job_.done);
      lock.lock();
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  Job& job_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable change_;
  size_t finished_ = 0;
  std::exception_ptr error_;
};

}  // namespace

std::vector<Output> run(const Weights& weights, const Request& request, const std::function<void(size_t)>& tick) {
  std::vector<Output> outputs(request.sources.size());
  Job job;
  job.sources = &request.sources;
  job.targets = request.scoring ? &request.targets : nullptr;
  job.options = request.options;
  job.soft_labels = request.soft_labels;
  job.hidden_states = request.hidden_states;
  job.options.max_length = std::min(request.options.max_length, static_cast<int>(weights.config.positions));
  std::sort(job.options.banned.begin(), job.options.banned.end());  // as project_top_k wants them
  job.outputs = &outputs;
  const auto [source, target] = prepare(weights, request, job);
  if (!job.order.empty()) {
    const int workers = static_cast<int>(std::min<size_t>(request.threads, job.order.size()));
    const DecoderShape shape = choose_shape(weights, request, job, workers, source, target);
    Crew crew(job);
    for (int i = 0; i < workers; ++i) crew.add(weights, shape);
    crew.wait(tick);
  }
  tick(job.done);
  return outputs;
}

}  // namespace distilmt
