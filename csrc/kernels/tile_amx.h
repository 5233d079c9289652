// The tile of AMX: two by two tile registers, 32 rows times a panel of 32 columns. Packed rows and panels are those of
// numbers.h: a chunk of a row is one line of a tile register (64 bytes), 16 groups of a panel are 16 lines.
//
// A tile register reads 16 rows whether or not there are so many: what lies behind them in the packed rows is
// multiplied too and nobody looks at it. So packed rows need kAmxSlack groups behind them.
#pragma once
#include <immintrin.h>

#include "kernels/prefetch.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

constexpr int64_t kAmxSlack = 16 * kChunk;

// The intrinsics take register numbers as literals: a macro, since a function's arguments are none.
#define DISTILMT_AMX_DOT(sum, a, b)  \
  do {                               \
    if constexpr (T::kPerGroup == 4) \
      _tile_dpbusd(sum, a, b);       \
    else                             \
      _tile_dpbf16ps(sum, a, b);     \
  } while (false)

template <class T>
struct AmxTiles {
  static constexpr int kRows = 32, kUnit = 16;

  // All eight registers hold 16 lines of 64 bytes. Held for the length of a run of products, then given back: a thread
  // that keeps tiles pays for them at every switch.
  struct Session {
    Session() {
      struct alignas(64) {
        uint8_t palette = 1, start_row = 0, reserved[14] = {};
        uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t lines[16] = {16, 16, 16, 16, 16, 16, 16, 16};
      } config;
      _tile_loadconfig(&config);
    }
    ~Session() { _tile_release(); }
  };

  static void multiply(int count, const uint32_t* rows, const uint32_t* panel, int64_t groups, uint32_t* out,
                       Prefetch next) {
    constexpr int64_t kLine = 64, kPanelLine = 4 * kPanel, kSecond = 16 * kChunk;
    const int64_t step = count * kChunk;
    _tile_zero(0);
    _tile_zero(1);
    if (count > 16) {
      _tile_zero(2);
      _tile_zero(3);
      for (; groups > 0; groups -= kChunk, rows += step, panel += kChunk * kPanel) {
        next.chunk();
        _tile_loadd(4, rows, kLine);
        _tile_loadd(6, panel, kPanelLine);
        _tile_loadd(7, panel + kWidth, kPanelLine);
        DISTILMT_AMX_DOT(0, 4, 6);
        DISTILMT_AMX_DOT(1, 4, 7);
        _tile_loadd(5, rows + kSecond, kLine);
        DISTILMT_AMX_DOT(2, 5, 6);
        DISTILMT_AMX_DOT(3, 5, 7);
      }
      _tile_stored(2, out + 16 * kPanel, kPanelLine);
      _tile_stored(3, out + 16 * kPanel + kWidth, kPanelLine);
    } else {
      for (; groups > 0; groups -= kChunk, rows += step, panel += kChunk * kPanel) {
        next.chunk();
        _tile_loadd(4, rows, kLine);
        _tile_loadd(6, panel, kPanelLine);
        _tile_loadd(7, panel + kWidth, kPanelLine);
        DISTILMT_AMX_DOT(0, 4, 6);
        DISTILMT_AMX_DOT(1, 4, 7);
      }
    }
    _tile_stored(0, out, kPanelLine);
    _tile_stored(1, out + kWidth, kPanelLine);
  }
};

}  // namespace
}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
