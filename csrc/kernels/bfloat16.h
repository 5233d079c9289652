// bfloat16 in memory: the upper half of a float32.
#pragma once
#include <cstdint>

namespace distilmt {

struct bfloat16 {
  uint16_t bits;
};

}  // namespace distilmt
