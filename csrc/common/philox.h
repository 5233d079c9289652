// Random numbers that are a function of (key, counter): nothing is shared, so who draws, when and in whose company
// changes no number. Philox4x32-10 of Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
#pragma once
#include <cstdint>

#include "common/platform.h"

namespace distilmt {

struct Philox {
  uint32_t word[4];  // independent, uniform
};

DISTILMT_HD Philox philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    const uint64_t a = uint64_t{0xD2511F53u} * c0, b = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(b);
    c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(a);
  }
  return {{c0, c1, c2, c3}};
}

// Names the draws of one row: sentence (key), token, sample. `stream` keeps the kernel's draws and the search's apart.
struct DrawKey {
  uint64_t sentence;
  uint32_t token, sample;

  // Uniform in (0, 1], 53 bits.
  DISTILMT_HD double uniform(uint32_t draw, uint32_t stream) const {
    const Philox p =
        philox(draw, token, sample, stream, static_cast<uint32_t>(sentence), static_cast<uint32_t>(sentence >> 32));
    return static_cast<double>(((uint64_t{p.word[0]} << 32 | p.word[1]) >> 11) + 1) * 0x1p-53;
  }
};

}  // namespace distilmt
