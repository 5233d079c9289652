// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, RFC 3720 appendix B.4): the checksum of stored labels.
#pragma once
#include <cstddef>
#include <cstdint>

namespace distilmt {

// Of `size` bytes; `before` is the checksum of what stands in front of them. By the processor's instruction where the
// set in use (common/isa.h) is above portable, by table else: the same number.
uint32_t crc32c(const void* data, size_t size, uint32_t before = 0);

}  // namespace distilmt
