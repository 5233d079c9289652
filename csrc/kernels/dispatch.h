// How kernels/X.cpp reaches the code of X.isa.cpp, which is compiled once per instruction set inside a namespace of its
// name.
//
//   DISTILMT_PER_ISA(void f(int x);)    declares f in each set's namespace (inside namespace distilmt)
//   DISTILMT_ACTIVE(f)(7);              calls that of the set in use
//
// ODR: an .isa.cpp must not emit inline functions or templates that other files emit too (the linker keeps one copy,
// perhaps one of AVX-512 code on a machine without it). So those files use raw pointers, own functions, and almost no
// standard library.
#pragma once
#include "common/isa.h"

#if defined(__x86_64__)
#define DISTILMT_PER_ISA(...) \
  namespace portable {        \
  __VA_ARGS__                 \
  }                           \
  namespace avx2 {            \
  __VA_ARGS__                 \
  }                           \
  namespace avx512 {          \
  __VA_ARGS__                 \
  }
#define DISTILMT_ACTIVE(f) choose(active_isa(), portable::f, avx2::f, avx512::f)
// Of matrix products, compiled for every set.
#define DISTILMT_PER_PRODUCT_ISA(...) \
  DISTILMT_PER_ISA(__VA_ARGS__)       \
  namespace avx512_vnni {             \
  __VA_ARGS__                         \
  }                                   \
  namespace avx512_bf16 {             \
  __VA_ARGS__                         \
  }                                   \
  namespace amx {                     \
  __VA_ARGS__                         \
  }
#define DISTILMT_ACTIVE_PRODUCT(f) \
  choose(active_isa(), portable::f, avx2::f, avx512::f, avx512_vnni::f, avx512_bf16::f, amx::f)
#else
#define DISTILMT_PER_ISA(...) \
  namespace portable {        \
  __VA_ARGS__                 \
  }
#define DISTILMT_ACTIVE(f) portable::f
#define DISTILMT_PER_PRODUCT_ISA(...) DISTILMT_PER_ISA(__VA_ARGS__)
#define DISTILMT_ACTIVE_PRODUCT(f) portable::f
#endif
