// A library opened at run time, for as long as the process lives.
#pragma once
#include <dlfcn.h>

#include <string>

#include "device/device.h"

namespace distilmt {

class Library {
 public:
  explicit Library(const std::string& path) : path_(path), handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (!handle_) throw DeviceError("cannot open " + path + ": " + dlerror());
  }

  template <class F>
  void find(const char* name, F*& function) const {
    function = reinterpret_cast<F*>(dlsym(handle_, name));
    if (!function) throw DeviceError(path_ + ": " + name + " is missing: " + dlerror());
  }

 private:
  const std::string path_;
  void* const handle_;
};

}  // namespace distilmt
