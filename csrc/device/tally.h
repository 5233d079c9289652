// A memory that only counts what would be taken: so a search knows what it needs before it begins.
#pragma once
#include "device/device.h"

namespace distilmt {

class Tally : public Memory {
 public:
  int64_t device = 0, mapped = 0;  // bytes

  void* allocate(int64_t bytes) override {
    device += (bytes + kUnit - 1) / kUnit * kUnit;
    return nowhere();
  }
  void* map(int64_t bytes) override {
    mapped += bytes;
    return nowhere();
  }
  void release(void*) override {}
  void unmap(void*) override {}

 private:
  // Never read or written; not null, so that offsets from it are defined.
  static void* nowhere() { return reinterpret_cast<void*>(uintptr_t{1} << 20); }
  static constexpr int64_t kUnit = 512;  // what cudaMalloc rounds to
};

}  // namespace distilmt
