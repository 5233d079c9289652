#include "common/isa.h"

#include <cstdlib>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace distilmt {
namespace {

constexpr Isa kAll[] = {Isa::portable, Isa::avx2, Isa::avx512, Isa::avx512_vnni, Isa::avx512_bf16, Isa::amx};

#if defined(__x86_64__)
bool amx() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  if (!(d >> 22 & 1) || !(d >> 24 & 1) || !(d >> 25 & 1)) return false;  // bf16, tile, int8
  // Linux hands the tile registers out on request only (arch_prctl ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA).
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}
#endif

bool runs(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::portable: return true;
    case Isa::avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::avx512:
      return runs(Isa::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    case Isa::avx512_vnni: return runs(Isa::avx512) && __builtin_cpu_supports("avx512vnni");
    case Isa::avx512_bf16: return runs(Isa::avx512_vnni) && __builtin_cpu_supports("avx512bf16");
    case Isa::amx: return runs(Isa::avx512_bf16) && amx();
  }
  return false;
#else
  return isa == Isa::portable;
#endif
}

Isa choose_isa() {
  const auto have = available_isas();
  const char* wanted = std::getenv("DISTILMT_ISA");
  if (!wanted || !*wanted) return have.back();
  std::string known;
  for (Isa isa : kAll) {
    known += std::string(known.empty() ? "" : ", ") + name(isa);
    if (std::string(wanted) != name(isa)) continue;
    if (runs(isa)) return isa;
    throw std::runtime_error(std::string("DISTILMT_ISA=") + wanted + ": this processor lacks it; its best is " +
                             name(have.back()));
  }
  throw std::runtime_error(std::string("DISTILMT_ISA must be one of ") + known + ", got " + wanted);
}

}  // namespace

const char* name(Isa isa) {
  switch (isa) {
    case Isa::portable: return "portable";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512_vnni: return "avx512_vnni";
    case Isa::avx512_bf16: return "avx512_bf16";
    case Isa::amx: return "amx";
  }
  return "?";
}

std::vector<Isa> available_isas() {
  std::vector<Isa> have;
  for (Isa isa : kAll)
    if (runs(isa)) have.push_back(isa);
  return have;
}

Isa active_isa() {
  static const Isa isa = choose_isa();
  return isa;
}

}  // namespace distilmt
