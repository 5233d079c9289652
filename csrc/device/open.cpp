#include "device/open.h"

#include <dlfcn.h>

namespace distilmt {
namespace {

template <class F>
F* find(const std::string& path, const char* name) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) throw DeviceError("cannot open " + path + ": " + dlerror());
  void* found = dlsym(library, name);
  if (!found) throw DeviceError(path + ": " + name + " is missing: " + dlerror());
  return reinterpret_cast<F*>(found);
}

}  // namespace

int count_devices(const std::string& library, std::string& why) {
  const char* said = nullptr;
  const int count = find<DistilmtCudaDevices>(library, "distilmt_cuda_devices")(&said);
  why = said ? said : "";
  return count;
}

std::shared_ptr<Device> open_device(const std::string& library, const std::string& cublaslt, int ordinal) {
  const auto open = find<DistilmtCudaDevice>(library, "distilmt_cuda_device");
  return std::shared_ptr<Device>(open(ordinal, cublaslt.c_str()));
}

}  // namespace distilmt
