#include "kernels/embed.h"
#include "kernels/gemm.h"
#include "tests/kernels.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

TEST(embed_rounds_the_product_before_the_sum) {
  const int64_t d = 37;
  const auto table = normal(5 * d, 1), positions = normal(9 * d, 2);
  const int32_t ids[] = {4, 0, 4}, at[] = {0, 8, 3};
  std::vector<float> out(3 * d);
  embed({table.data()}, 6.0827625f, positions.data(), ids, at, 3, d, out.data());
  for (int i = 0; i < 3; ++i)
    for (int64_t c = 0; c < d; ++c) {
      volatile float scaled = 6.0827625f * table[ids[i] * d + c];  // volatile: no fused multiply-add here either
      CHECK(out[i * d + c] == scaled + positions[at[i] * d + c]);
    }
}

TEST(embed_reads_a_packed_table_where_it_lies) {
  const int64_t d = 37, words = 75;  // not a multiple of any panel
  const auto table = normal(words * d, 1), positions = normal(9 * d, 2);
  const int32_t ids[] = {74, 0, 31, 32}, at[] = {0, 8, 3, 1};
  std::vector<float> plain(4 * d), packed(4 * d);
  const PackedMatrix matrix = pack(table.data(), nullptr, words, d);
  CHECK(matrix.panel > 1);
  embed({table.data()}, 2.0f, positions.data(), ids, at, 4, d, plain.data());
  embed({reinterpret_cast<const float*>(matrix.data.get()), matrix.panel}, 2.0f, positions.data(), ids, at, 4, d,
        packed.data());
  CHECK(plain == packed);
}
