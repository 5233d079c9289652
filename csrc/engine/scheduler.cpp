#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "engine/scorer.h"
#include "engine/worker.h"

namespace distilmt {
namespace {

// Rows that the matrix products of a step should have: the weights are read once per step, whatever the number.
constexpr int kRows = 48;
// Rows of a step that scores: they come without waiting for each other, and more of them cost little memory.
constexpr int kScoringRows = 192;
// One encoded sentence waits for so many that are decoded: enough for an encoder pass of some hundred rows.
constexpr int kWaiting = 4;
// Keys and values of one worker, in bytes, beyond which fewer slots are used.
constexpr int64_t kWorkerBytes = int64_t{1} << 30;

// What is decoded, and what of it is read.
struct Plan {
  int source = 1, target = 1;                     // positions of the longest
  std::vector<std::pair<size_t, size_t>> copies;  // (output, output that is the same)
};

// Decides what needs no decoding, and the order of the rest.
Plan prepare(const Models& models, const Request& request, Job& job) {
  const size_t positions = static_cast<size_t>(models.positions());
  const auto& behind = request.scoring ? request.targets : request.prefixes;
  const std::vector<int> nothing;
  Plan plan;
  std::map<std::pair<const std::vector<int>&, const std::vector<int>&>, size_t> seen;
  for (size_t i = 0; i < request.sources.size(); ++i) {
    const std::vector<int>& source = request.sources[i];
    const std::vector<int>& target = behind.empty() ? nothing : behind[i];
    Output& output = (*job.outputs)[i];
    if (source.empty()) {
      output.status = Status::empty_source;
    } else if (source.size() > positions || target.size() + 1 > positions) {
      output.status = Status::too_long;
    } else if (const auto [first, is_new] = seen.try_emplace({source, target}, i); !is_new) {
      plan.copies.emplace_back(i, first->second);
    } else {
      const size_t generated = request.scoring ? 1 : static_cast<size_t>(job.options.max_length);
      plan.source = std::max(plan.source, static_cast<int>(source.size()));
      plan.target = std::max(plan.target, static_cast<int>(std::min(positions, target.size() + generated)));
      job.order.push_back(i);
    }
  }
  job.done = request.sources.size() - job.order.size();
  // Equal lengths keep the order of the input, so that a run can be followed.
  std::stable_sort(job.order.begin(), job.order.end(),
                   [&](size_t a, size_t b) { return request.sources[a].size() > request.sources[b].size(); });
  return plan;
}

DecoderShape choose_shape(const Models& models, const Request& request, const Job& job, int workers, const Plan& plan) {
  const SearchOptions& o = job.options;
  DecoderShape shape;
  shape.beams = request.scoring ? 1 : o.sample ? o.n_best : o.beam_size;
  shape.positions = plan.target;
  shape.source_positions = plan.source;
  shape.attention = !request.scoring && o.coverage_penalty != 0;
  const int share = static_cast<int>((job.order.size() + workers - 1) / workers);
  auto with = [&](int slots) {
    shape.slots = slots;
    shape.places = request.scoring ? slots : slots + (slots + kWaiting - 1) / kWaiting;
    shape.rows = request.scoring ? kScoringRows : slots * shape.beams;
    return shape;
  };
  if (request.slots > 0) return with(std::min(request.slots, share));
  int slots = std::min(share, std::max(1, kRows / shape.beams));
  const int64_t soft = request.soft_labels > 0 ? SoftLabels::bytes_per_row(request.soft_labels) : 0;
  const int64_t noted = soft * shape.positions * shape.beams;  // by a slot
  while (slots > 1 && Ensemble::bytes(models, with(slots)) + slots * noted > kWorkerBytes) --slots;
  // As many rounds, but even ones: a worker that is first to be free would take all of a last, small one.
  const int rounds = (share + slots - 1) / slots;
  return with((share + rounds - 1) / rounds);
}

// The worker threads of one call, and what they report. Leaving the scope stops and joins them.
class Crew {
 public:
  explicit Crew(Job& job) : job_(job) {}
  ~Crew() {
    job_.stop = true;
    for (std::thread& thread : threads_) thread.join();
  }

  void add(const Models& models, const DecoderShape& shape) {
    threads_.emplace_back([this, &models, shape] {
      std::exception_ptr error;
      try {
        if (job_.targets)
          Scorer(models, job_, shape).run();
        else
          Worker(models, job_, shape).run();
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

std::vector<Output> run(const Models& models, const Request& request, const std::function<void(size_t)>& tick) {
  std::vector<Output> outputs(request.sources.size());
  Job job;
  job.sources = &request.sources;
  job.targets = request.scoring ? &request.targets : nullptr;
  job.prefixes = request.prefixes.empty() ? nullptr : &request.prefixes;
  job.neighbours = request.scoring || !request.neighbours ? nullptr : &request.neighbours;
  job.options = request.options;
  job.soft_labels = request.soft_labels;
  job.hidden_states = request.hidden_states;
  job.options.max_length = std::min(request.options.max_length, static_cast<int>(models.positions()));
  job.outputs = &outputs;
  const Plan plan = prepare(models, request, job);
  if (!job.order.empty()) {
    const int workers = static_cast<int>(std::min<size_t>(request.threads, job.order.size()));
    const DecoderShape shape = choose_shape(models, request, job, workers, plan);
    Crew crew(job);
    for (int i = 0; i < workers; ++i) crew.add(models, shape);
    crew.wait(tick);
  }
  for (const auto& [copy, first] : plan.copies) outputs[copy] = outputs[first];
  tick(job.done);
  return outputs;
}

}  // namespace distilmt
