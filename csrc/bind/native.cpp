// The module distilmt._native: one bind_x(m) per file of this folder. Nothing here knows Torch.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/isa.h"

namespace py = pybind11;

namespace distilmt {

void bind_device(py::module_& m);
void bind_labels(py::module_& m);
void bind_soft_labels(py::module_& m);
void bind_text(py::module_& m);
void bind_translator(py::module_& m);

namespace {

py::dict build_facts() {
  py::dict facts;
  facts["version"] = DISTILMT_VERSION;
  facts["build_type"] = DISTILMT_BUILD_TYPE;
  facts["compiler"] = DISTILMT_COMPILER;
  facts["cuda_built"] = bool(DISTILMT_CUDA_BUILT);
  return facts;
}

}  // namespace
}  // namespace distilmt

PYBIND11_MODULE(_native, m) {
  using namespace distilmt;
  m.doc() = "Native half of distilmt: the translator and build facts.";
  m.def("build_facts", &build_facts, "Version, compiler and parts of this build.");
  m.def("active_isa", [] { return std::string(name(active_isa())); }, "Instruction set the kernels use.");
  m.def(
      "available_isas",
      [] {
        std::vector<std::string> names;
        for (Isa isa : available_isas()) names.emplace_back(name(isa));
        return names;
      },
      "Instruction sets this machine can run, lowest first.");
  bind_device(m);
  bind_labels(m);
  bind_soft_labels(m);
  bind_text(m);
  bind_translator(m);
}
