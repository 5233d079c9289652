// CUDA threads as fibers of one thread of the machine: a barrier is a switch of stacks, so that whole decodes can be
// tested. Sanitizers see threads instead (cuda_runtime.h).
#pragma once
#include <ucontext.h>

#include <memory>
#include <vector>

namespace cuda_on_host {

class Fibers {
 public:
  using Body = void (*)(void* context, unsigned thread);

  // body(context, i) for each i below count, one after the other wherever `yield` is called. after_switch: called in a
  // fiber whenever it goes on.
  void run(unsigned count, Body body, void* context) {
    while (fibers_.size() < count) fibers_.push_back(std::make_unique<Fiber>());
    body_ = body;
    context_ = context;
    for (unsigned i = 0; i < count; ++i) {
      fibers_[i]->state = Fiber::fresh;
      fibers_[i]->next = (i + 1) % count;
      fibers_[i]->last = (i + count - 1) % count;
    }
    at_ = 0;
    left_ = count;
    if (count > 0) jump(home_);
  }

  unsigned thread() const { return at_; }

  // The next fiber goes on.
  void yield() {
    const unsigned mine = at_;
    at_ = fibers_[mine]->next;
    if (at_ != mine) jump(*fibers_[mine]);
    at_ = mine;
  }

 private:
  struct Fiber {
    static constexpr size_t kStack = size_t{256} << 10;
    enum { fresh, started } state = fresh;
    unsigned next = 0, last = 0;
    void* where[5];
    ucontext_t start;
    std::unique_ptr<char[]> stack{new char[kStack]};
  };

  static __attribute__((noinline)) void resume(void** where) { __builtin_longjmp(where, 1); }

  // From here to the fiber `at_`; comes back when somebody jumps to `from`.
  __attribute__((noinline)) void jump(Fiber& from) {
    if (__builtin_setjmp(from.where)) return;
    enter();
  }
  __attribute__((noinline)) void enter() {
    Fiber& to = *fibers_[at_];
    if (to.state == Fiber::started) resume(to.where);
    to.state = Fiber::started;
    getcontext(&to.start);
    to.start.uc_stack.ss_sp = to.stack.get();
    to.start.uc_stack.ss_size = Fiber::kStack;
    to.start.uc_link = nullptr;
    const auto self = reinterpret_cast<uintptr_t>(this);
    makecontext(&to.start, reinterpret_cast<void (*)()>(&main), 2, static_cast<unsigned>(self),
                static_cast<unsigned>(self >> 32));
    setcontext(&to.start);
  }
  static void main(unsigned low, unsigned high) { reinterpret_cast<Fibers*>(uintptr_t{high} << 32 | low)->finish(); }
  __attribute__((noinline)) void finish() {
    body_(context_, at_);
    const Fiber& gone = *fibers_[at_];
    fibers_[gone.last]->next = gone.next;
    fibers_[gone.next]->last = gone.last;
    at_ = gone.next;
    if (--left_ == 0) resume(home_.where);
    enter();
  }

  std::vector<std::unique_ptr<Fiber>> fibers_;
  Fiber home_;
  Body body_ = nullptr;
  void* context_ = nullptr;
  unsigned at_ = 0, left_ = 0;
};

}  // namespace cuda_on_host
