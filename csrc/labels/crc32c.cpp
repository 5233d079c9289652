#include "labels/crc32c.h"

#include <array>
#include <cstring>

#include "common/isa.h"

namespace distilmt {
namespace {

constexpr std::array<uint32_t, 256> table() {
  std::array<uint32_t, 256> t{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = c & 1 ? c >> 1 ^ 0x82F63B78u : c >> 1;
    t[i] = c;
  }
  return t;
}

uint32_t by_table(const unsigned char* data, size_t size, uint32_t c) {
  static constexpr auto kTable = table();
  for (; size; --size) c = c >> 8 ^ kTable[(c ^ *data++) & 255];
  return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t by_instruction(const unsigned char* data, size_t size, uint32_t c) {
  for (; size >= 8; size -= 8, data += 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    c = static_cast<uint32_t>(__builtin_ia32_crc32di(c, word));
  }
  for (; size; --size) c = __builtin_ia32_crc32qi(c, *data++);
  return c;
}
#else
constexpr auto by_instruction = by_table;
#endif

}  // namespace

uint32_t crc32c(const void* data, size_t size, uint32_t before) {
  static const auto run = active_isa() == Isa::portable ? &by_table : &by_instruction;  // avx2 implies SSE 4.2
  return ~run(static_cast<const unsigned char*>(data), size, ~before);
}

}  // namespace distilmt
