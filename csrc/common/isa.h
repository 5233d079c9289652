// Which instruction set the kernels use. One build serves every x86-64 machine: each kernel is compiled once per set
// and the choice is made at run time, from the processor, or from DISTILMT_ISA when that is set.
#pragma once
#include <string>
#include <vector>

namespace distilmt {

// In rising order. What stands above avx512 adds dot products of int8 (vnni), of bfloat16 (bf16), and tiles of both
// (amx): matrix products have code for each, other kernels run their avx512 code there.
enum class Isa { portable, avx2, avx512, avx512_vnni, avx512_bf16, amx };

const char* name(Isa isa);

// Sets this processor (and operating system) can run, lowest first.
std::vector<Isa> available_isas();

// The set in use: the best available one, or what DISTILMT_ISA names (read once, at first use).
// Throws std::runtime_error for a name that is unknown or that this machine lacks.
Isa active_isa();

// Picks a kernel: the code of the highest compiled set that is not above `isa`.
template <class F>
F choose(Isa isa, F portable, F avx2, F avx512) {
  return isa >= Isa::avx512 ? avx512 : isa == Isa::avx2 ? avx2 : portable;
}

// Picks the code of a matrix product, which every set has.
template <class F>
F choose(Isa isa, F portable, F avx2, F avx512, F avx512_vnni, F avx512_bf16, F amx) {
  switch (isa) {
    case Isa::portable: return portable;
    case Isa::avx2: return avx2;
    case Isa::avx512: return avx512;
    case Isa::avx512_vnni: return avx512_vnni;
    case Isa::avx512_bf16: return avx512_bf16;
    case Isa::amx: return amx;
  }
  return portable;
}

}  // namespace distilmt
