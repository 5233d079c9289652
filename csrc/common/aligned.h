// Memory for vectors: 64-byte aligned, owned, movable, not initialised. Large blocks ask Linux for huge pages, since
// weights are streamed and 4 KiB pages would cost a TLB miss every kilofloat.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace distilmt {

struct Free {
  void operator()(void* p) const { std::free(p); }
};

template <class T>
using Aligned = std::unique_ptr<T[], Free>;  // T must be trivial: nothing is constructed or destroyed

// `count` values of T, not initialised. Without huge pages for memory of which only parts are touched. Throws
// std::bad_alloc; a count of 0 gives a pointer that may be compared, not read.
template <class T>
Aligned<T> aligned(int64_t count, bool huge_pages = true) {
  constexpr std::size_t kLine = 64, kHuge = std::size_t(1) << 21;
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
  const std::size_t alignment = bytes >= kHuge ? kHuge : kLine;
  const std::size_t rounded = (bytes + kLine - 1) / kLine * kLine;
  void* p = nullptr;
  if (posix_memalign(&p, alignment, rounded ? rounded : kLine) != 0) throw std::bad_alloc();
#if defined(__linux__)
  if (bytes >= kHuge && huge_pages)
    madvise(p, rounded, MADV_HUGEPAGE);  // advice: a kernel without huge pages may refuse it
#endif
  return Aligned<T>(static_cast<T*>(p));
}

}  // namespace distilmt
