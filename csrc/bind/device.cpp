// Python's door to the translator on a device. Arguments were checked in python/distilmt/translator/device.py and
// translate.py.
#include <pybind11/functional.h>

#include "bind/request.h"
#include "common/platform.h"
#include "device/open.h"
#include "device/translator.h"

namespace py = pybind11;

namespace distilmt {
namespace {

cuda::Storage storage_of(const std::string& name) {
  if (name == "float32") return cuda::Storage::float32;
  if (name == "float16" || name == "int8") return cuda::Storage::float16;  // int8: what is not multiplied
  require(name == "bfloat16", "compute_type on a device must be float32, float16, bfloat16 or int8, got " + name);
  return cuda::Storage::bfloat16;
}

py::list decode_on_device(std::vector<const DeviceModel*> members, std::vector<float> shares, bool geometric,
                          Lists sources, std::optional<Lists> targets, const py::dict& options, int soft_labels,
                          bool hidden_states, int slots, const std::optional<std::function<void(size_t)>>& progress,
                          std::optional<Lists> prefixes, const std::optional<py::function>& neighbours) {
  const DeviceModels models(std::move(members), std::move(shares), geometric);
  for (const DeviceModel* model : models.members)
    require(model->device == models.members[0]->device, "models must lie on one device");
  const ModelConfig& first = models.members[0]->config;
  Request request = request_of(std::move(sources), std::move(targets), std::move(prefixes), options, soft_labels,
                               hidden_states, 1, slots);
  check(first, request);
  if (neighbours) request.neighbours = neighbours_of(*neighbours, first.hidden, first.target_vocab);
  std::vector<Output> outputs;
  {
    const py::gil_scoped_release release;
    outputs = run(models, request, ticker(progress));
  }
  return results_of(outputs, first.hidden);
}

}  // namespace

void bind_device(py::module_& m) {
  py::register_exception<DeviceError>(m, "DeviceError", PyExc_RuntimeError);
  py::register_exception<OutOfDeviceMemory>(m, "OutOfDeviceMemory", PyExc_MemoryError);
  py::register_exception<NotOnDevice>(m, "NotOnDevice", PyExc_ValueError);
  py::class_<Device, std::shared_ptr<Device>>(m, "Device", "A CUDA device, with the library `_cuda` and cuBLASLt.")
      .def(py::init(&open_device), py::arg("library"), py::arg("cublaslt"), py::arg("cudnn"), py::arg("ordinal"),
           py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("name", &Device::name)
      .def_property_readonly("free_bytes", &Device::free_bytes)
      .def(
          "prepare_attention",
          [](Device& device, const Weights& weights, const std::string& compute_type) {
            const AttentionShape shape = attention_of(weights.config, storage_of(compute_type));
            const py::gil_scoped_release release;
            const Device::Turn turn(device);
            device.prepare(shape);
          },
          py::arg("weights"), py::arg("compute_type"), "Raises DeviceError: why cuDNN does not attend in the encoder.");
  py::class_<DeviceModel>(m, "DeviceModel", "A model on a device.")
      .def(py::init([](std::shared_ptr<Device> device, const Weights& weights, const std::string& compute_type,
                       bool cudnn) {
             const cuda::Storage storage = storage_of(compute_type);
             const py::gil_scoped_release release;
             return std::make_unique<DeviceModel>(std::move(device), weights, storage, compute_type == "int8", cudnn);
           }),
           py::arg("device"), py::arg("weights"), py::arg("compute_type"), py::arg("cudnn"));
  m.def(
      "count_devices",
      [](const std::string& library) {
        std::string why;
        const int count = count_devices(library, why);
        return py::make_tuple(count, why);
      },
      py::arg("library"), "(number of CUDA devices, why there are none)");
  m.def("decode_on_device", &decode_on_device, py::arg("models"), py::arg("shares"), py::arg("geometric"),
        py::arg("sources"), py::arg("targets"), py::arg("options"), py::arg("soft_labels"), py::arg("hidden_states"),
        py::arg("slots"), py::arg("progress"), py::arg("prefixes"), py::arg("neighbours"),
        "As decode, of models on one device.");
}

}  // namespace distilmt
