// Rates of the matrix products on one core, billions of multiply-adds a second, beside what the processor's int8
// instruction can do at best: 512-bit vpdpbusd on registers alone.
//
//   cmake --preset release && cmake --build --preset release --target distilmt_kernels
//   g++ -O2 -std=c++20 -Icsrc benchmarks/bench_products.cpp build/release/csrc/libdistilmt_kernels.a -o build/products
//   build/products [rows]
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "common/isa.h"
#include "kernels/project.h"

using namespace distilmt;

static double cpu_seconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

// The shortest of some runs: what disturbs a product only makes it longer.
static double rate(double products, const std::function<void()>& run) {
  const int times = std::max(3, static_cast<int>(2e9 / products));
  double shortest = 1e9;
  for (int round = 0; round < 7; ++round) {
    const double start = cpu_seconds();
    for (int i = 0; i < times; ++i) run();
    shortest = std::min(shortest, (cpu_seconds() - start) / times);
  }
  return products / shortest / 1e9;
}

static std::vector<float> normal(int64_t count) {
  static std::mt19937 random(1);
  std::normal_distribution<float> draw;
  std::vector<float> x(count);
  for (float& value : x) value = draw(random);
  return x;
}

#if defined(__x86_64__)
static void registers_alone() {
  for (int i = 0; i < 1000; ++i)
    asm volatile(
        "vpdpbusd %%zmm17, %%zmm16, %%zmm0\n vpdpbusd %%zmm17, %%zmm16, %%zmm1\n"
        "vpdpbusd %%zmm17, %%zmm16, %%zmm2\n vpdpbusd %%zmm17, %%zmm16, %%zmm3\n"
        "vpdpbusd %%zmm17, %%zmm16, %%zmm4\n vpdpbusd %%zmm17, %%zmm16, %%zmm5\n"
        "vpdpbusd %%zmm17, %%zmm16, %%zmm6\n vpdpbusd %%zmm17, %%zmm16, %%zmm7\n"
        "vpdpbusd %%zmm17, %%zmm16, %%zmm8\n vpdpbusd %%zmm17, %%zmm16, %%zmm9\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9");
}
#endif

int main(int argc, char** argv) {
  const int64_t m = argc > 1 ? std::atoi(argv[1]) : 88;  // 22 sentences of 4 beams
  std::printf("isa %s, %ld rows\n", name(active_isa()), static_cast<long>(m));
#if defined(__x86_64__)
  if (active_isa() >= Isa::avx512_vnni) std::printf("vpdpbusd on registers: %.0f\n", rate(640e3, registers_alone));
#endif
  for (const auto& [number, type] : {std::pair{Number::float32, "float32"}, std::pair{Number::bfloat16, "bfloat16"},
                                     std::pair{Number::int8, "int8"}})
    for (const auto& [n, k] :
         {std::pair<int64_t, int64_t>{1536, 512}, {512, 512}, {2048, 512}, {512, 2048}, {32001, 512}}) {
      const auto a = normal(m * k), weight = normal(n * k);
      std::vector<float> c(m * n), log_sum_exp(m);
      std::vector<Candidate> top(m * 8);
      std::vector<int64_t> none(m + 1, 0);
      const PackedMatrix w = pack(weight.data(), nullptr, n, k, number);
      const double products = static_cast<double>(m) * n * k;
      std::printf("%-8s %5ld x %4ld: %6.1f", type, static_cast<long>(n), static_cast<long>(k),
                  rate(products, [&] { gemm(a.data(), k, m, w, Activation::none, nullptr, 0, c.data(), n); }));
      if (n > 30000) {
        Projection p{a.data(), k, m, &w, nullptr, none.data(), nullptr, 8, top.data(), log_sum_exp.data()};
        std::printf("   with log-sum-exp and the best 8, without the logits: %6.1f",
                    rate(products, [&] { project(p); }));
      }
      std::printf("\n");
    }
}
