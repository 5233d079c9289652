// AMX in plain C++, so that kernels/tile_amx.h can be tested on a processor without it: eight registers of 16 lines of
// 64 bytes, and the instructions that the kernel uses. Semantics: Intel, Intrinsics Guide and ISA Extensions Reference
// (TDPBUSD, TDPBF16PS).
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace host_tiles {

struct Tile {
  uint8_t bytes[16][64];
};
inline thread_local Tile tiles[8];
inline thread_local bool configured = false;

inline Tile& tile(int index) {
  if (!configured) throw std::logic_error("a tile register was used without a configuration");
  return tiles[index];
}

inline float widened(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float x;
  std::memcpy(&x, &wide, sizeof x);
  return x;
}

// Line i, group j of `sum` += the four products (or two) of line i, group g of a with line g, group j of b.
template <class Sum, class Product>
void multiply(int sum, int a, int b, Product product) {
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) {
      Sum total;
      std::memcpy(&total, tile(sum).bytes[i] + 4 * j, 4);
      for (int g = 0; g < 16; ++g) total += product(tile(a).bytes[i] + 4 * g, tile(b).bytes[g] + 4 * j);
      std::memcpy(tile(sum).bytes[i] + 4 * j, &total, 4);
    }
}

inline void loadconfig(const void* config) {
  const uint8_t* bytes = static_cast<const uint8_t*>(config);
  bool whole = bytes[0] == 1;
  for (int i = 0; i < 8; ++i) whole = whole && bytes[16 + 2 * i] == 64 && bytes[17 + 2 * i] == 0 && bytes[48 + i] == 16;
  if (!whole) throw std::logic_error("the stand-in knows registers of 16 lines of 64 bytes only");
  configured = true;
}
inline void release() { configured = false; }
inline void zero(int t) { tile(t) = {}; }
inline void loadd(int t, const void* from, int64_t stride) {
  for (int i = 0; i < 16; ++i) std::memcpy(tile(t).bytes[i], static_cast<const char*>(from) + i * stride, 64);
}
inline void stored(int t, void* to, int64_t stride) {
  for (int i = 0; i < 16; ++i) std::memcpy(static_cast<char*>(to) + i * stride, tile(t).bytes[i], 64);
}
inline void dpbusd(int sum, int a, int b) {
  multiply<int32_t>(sum, a, b, [](const uint8_t* x, const uint8_t* y) {
    int32_t total = 0;
    for (int i = 0; i < 4; ++i) total += x[i] * static_cast<int8_t>(y[i]);
    return total;
  });
}
inline void dpbf16ps(int sum, int a, int b) {
  multiply<float>(sum, a, b, [](const uint8_t* x, const uint8_t* y) {
    uint16_t p[2], q[2];
    std::memcpy(p, x, 4);
    std::memcpy(q, y, 4);
    return widened(p[0]) * widened(q[0]) + widened(p[1]) * widened(q[1]);
  });
}

}  // namespace host_tiles

// The compiler's headers may have these names as functions or macros.
#undef _tile_loadconfig
#define _tile_loadconfig ::host_tiles::loadconfig
#undef _tile_release
#define _tile_release ::host_tiles::release
#undef _tile_zero
#define _tile_zero ::host_tiles::zero
#undef _tile_loadd
#define _tile_loadd ::host_tiles::loadd
#undef _tile_stored
#define _tile_stored ::host_tiles::stored
#undef _tile_dpbusd
#define _tile_dpbusd ::host_tiles::dpbusd
#undef _tile_dpbf16ps
#define _tile_dpbf16ps ::host_tiles::dpbf16ps
