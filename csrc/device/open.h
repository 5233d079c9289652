// The library `_cuda`, which holds a CUDA device's side of this folder and the kernels, opened at run time.
#pragma once
#include <memory>
#include <string>

#include "device/device.h"

namespace distilmt {

// What the library exports.
extern "C" {
typedef int DistilmtCudaDevices(const char** why);
typedef Device* DistilmtCudaDevice(int ordinal, const char* cublaslt, const char* cudnn);
}

// How many devices there are; where there are none, why. Throws DeviceError where the library cannot be opened.
int count_devices(const std::string& library, std::string& why);

// cublaslt, cudnn: paths of those libraries; the latter is opened when first asked for. Throws DeviceError.
std::shared_ptr<Device> open_device(const std::string& library, const std::string& cublaslt, const std::string& cudnn,
                                    int ordinal);

}  // namespace distilmt
