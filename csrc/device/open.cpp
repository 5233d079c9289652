#include "device/open.h"

#include "device/library.h"

namespace distilmt {

int count_devices(const std::string& library, std::string& why) {
  DistilmtCudaDevices* devices;
  Library(library).find("distilmt_cuda_devices", devices);
  const char* said = nullptr;
  const int count = devices(&said);
  why = said ? said : "";
  return count;
}

std::shared_ptr<Device> open_device(const std::string& library, const std::string& cublaslt, const std::string& cudnn,
                                    int ordinal) {
  DistilmtCudaDevice* open;
  Library(library).find("distilmt_cuda_device", open);
  return std::shared_ptr<Device>(open(ordinal, cublaslt.c_str(), cudnn.c_str()));
}

}  // namespace distilmt
