// Runs every test whose name contains all arguments, and none that follows a `-`: distilmt_tests beam -cuda_. Exit 77
// (ctest: skipped) where DISTILMT_ISA names a set this machine lacks.
#include <cstring>

#include "common/isa.h"
#include "tests/test.h"

static bool wanted(const char* name, int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const bool without = argv[i][0] == '-';
    if ((std::strstr(name, argv[i] + without) != nullptr) == without) return false;
  }
  return true;
}

int main(int argc, char** argv) {
  using namespace distilmt::test;
  try {
    std::cout << "isa: " << distilmt::name(distilmt::active_isa()) << std::endl;
  } catch (const std::exception& e) {
    std::cerr << e.what() << std::endl;
    return 77;
  }
  int run = 0;
  for (const Case& test : cases()) {
    if (!wanted(test.name, argc, argv)) continue;
    const int before = failures();
    try {
      test.body();
    } catch (const std::exception& e) {
      ++failures();
      std::cerr << test.name << ": threw " << e.what() << std::endl;
    }
    std::cout << (failures() == before ? "ok    " : "FAILED ") << test.name << std::endl;
    ++run;
  }
  std::cout << run << " tests, " << failures() << " failed checks" << std::endl;
  return failures() || !run ? 1 : 0;
}
