#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
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
  const Plan plan = prepare(models.positions(), request, outputs, job);
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
