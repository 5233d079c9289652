// When weights are asked for. Included by .isa.cpp files only.
#pragma once
#include "kernels/numbers.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

// What a tile asks memory for while it works: its share of the next panel, `lines` of 64 bytes for each chunk of
// groups. So weights flow all the time and not only while the first tile of a panel runs, which would wait for them.
struct Prefetch {
  const char* from;
  int64_t lines;

  DISTILMT_INLINE Prefetch() : from(nullptr), lines(0) {}  // nothing
  // For one of `tiles` tiles, the t-th, of the panel at hand.
  DISTILMT_INLINE Prefetch(const uint32_t* panel, int64_t groups, int64_t t, int64_t tiles) {
    const int64_t chunks = (groups + kChunk - 1) / kChunk, per_chunk = kChunk * kPanel * 4 / 64;
    lines = (per_chunk + tiles - 1) / tiles;
    from = reinterpret_cast<const char*>(panel + groups * kPanel) + t * lines * chunks * 64;
  }
  DISTILMT_INLINE void chunk() {
    for (int64_t line = 0; line < lines; ++line, from += 64) __builtin_prefetch(from, 0, 2);
  }
};

}  // namespace
}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
