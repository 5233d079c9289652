#include "text/rank.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

namespace distilmt {
namespace {

// What the threads of one call share. Leaving the scope stops and joins them.
class Crew {
 public:
  Crew(const std::vector<NBest>& lists, const RankOptions& options, std::vector<Ranking>& out, int threads)
      : lists_(lists), options_(options), out_(out), end_(lists.size()), working_(threads) {
    try {
      for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    } catch (...) {  // no thread, or no memory for one: no destructor runs, and a joinable thread would end the process
      stop();
      throw;
    }
  }
  ~Crew() { stop(); }

  void wait(const std::function<void()>& tick) {
    std::unique_lock lock(mutex_);
    while (!change_.wait_for(lock, std::chrono::milliseconds(50), [&] { return working_ == 0; })) {
      lock.unlock();  // tick may take its time
      tick();
      lock.lock();
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void stop() {
    end_ = 0;
    for (std::thread& thread : threads_) thread.join();
  }

  void work() {
    size_t i = 0;
    try {
      Ranker ranker(options_);
      while ((i = next_++) < end_) out_[i] = ranker.rank(lists_[i]);
    } catch (...) {
      // Lines are taken in order: those before this one are finished by whoever has them, those behind are not begun.
      const std::lock_guard lock(mutex_);
      if (i < end_) error_ = std::current_exception();
      end_ = std::min<size_t>(end_, i);
    }
    const std::lock_guard lock(mutex_);
    --working_;
    change_.notify_one();
  }

  const std::vector<NBest>& lists_;
  const RankOptions& options_;
  std::vector<Ranking>& out_;
  std::atomic<size_t> next_{0}, end_;
  std::mutex mutex_;
  std::condition_variable change_;
  int working_;
  std::exception_ptr error_;
  std::vector<std::thread> threads_;
};

}  // namespace

std::vector<Ranking> rank(const std::vector<NBest>& lists, const RankOptions& options, int threads,
                          const std::function<void()>& tick) {
  std::vector<Ranking> out(lists.size());
  const auto workers = static_cast<int>(std::min<size_t>(std::max(1, threads), lists.size()));
  if (workers > 0) Crew(lists, options, out, workers).wait(tick);
  return out;
}

}  // namespace distilmt
