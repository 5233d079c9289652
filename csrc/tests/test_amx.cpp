// The AMX tiles, run by a stand-in for the tile registers, against the kernel of the set in use.
#include "common/isa.h"
#include "kernels/gemm.h"
#include "kernels/row_blocks.h"
#include "tests/kernels.h"
#include "tests/test.h"

namespace distilmt::amx_on_host {
void gemm_block(const float* a, int64_t lda, int64_t m, const PackedView& w, Activation activation,
                const float* residual, int64_t ldr, float* c, int64_t ldc, uint32_t* scratch);
}

using namespace distilmt;
using namespace distilmt::test;

TEST(amx_tiles_multiply_as_the_others_do) {
  if (active_isa() < Isa::avx512) return;  // panels are as wide as its vectors, and the rest of the file is its code
  for (Number number : {Number::int8, Number::bfloat16})
    for (int64_t m : {1, 15, 16, 17, 32, 33, 40, 97})
      for (int64_t n : {1, 31, 32, 77})
        for (int64_t k : {1, 63, 64, 65, 300}) {
          const auto a = normal(m * k, 1), weight = normal(n * k, 2), bias = normal(n, 3);
          const PackedMatrix w = pack(weight.data(), bias.data(), n, k, number);
          std::vector<float> expected(m * n), c(m * n);
          std::vector<uint32_t> scratch(product_scratch(m, w));
          gemm(a.data(), k, m, w, Activation::relu, nullptr, 0, expected.data(), n);
          amx_on_host::gemm_block(a.data(), k, m, w.view(), Activation::relu, nullptr, 0, c.data(), n, scratch.data());
          // int8 sums are exact. Pairs of bfloat16 are summed in another order.
          CHECK(worst_difference(expected, c) <= (number == Number::int8 ? 0 : 1e-5 * k));
        }
}
