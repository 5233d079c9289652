// What every layer may use: host/device macros and the check that guards memory.
#pragma once
#include <stdexcept>
#include <string>

// DISTILMT_UNROLL: a loop of a known, small number of turns, whose arrays are to become registers.
// A function that host and device share. Always inlined, also because an .isa.cpp must not leave a copy behind (ODR).
#ifdef __CUDACC__
#define DISTILMT_HD __host__ __device__ __forceinline__
#define DISTILMT_UNROLL _Pragma("unroll")
#else
#define DISTILMT_HD inline __attribute__((always_inline))
#define DISTILMT_UNROLL _Pragma("GCC unroll 8")
#endif

namespace distilmt {

// A promise of this library that does not hold: our bug, or damage in a file. What a user can get wrong is checked in
// Python.
inline void require(bool holds, const std::string& message) {
  if (!holds) throw std::runtime_error(message);
}

}  // namespace distilmt
