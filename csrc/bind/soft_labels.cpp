// Python's door to stored soft labels. Shapes of arrays are checked here, bytes by csrc/labels.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "labels/soft_label_lines.h"

namespace py = pybind11;

namespace distilmt {
namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

void expect(bool fits, const char* what) {
  if (!fits) throw std::invalid_argument(what);
}

py::bytes encode(const Array<int32_t>& target, const Array<int32_t>& ids, const Array<float>& log_probs, double floor) {
  expect(target.ndim() == 1 && ids.ndim() == 2 && log_probs.ndim() == 2 && ids.shape(0) == target.shape(0) &&
             log_probs.shape(0) == target.shape(0) && ids.shape(1) == log_probs.shape(1),
         "expected ids and log_probs [tokens, k], one row per target token");
  return encode_soft_labels(target.data(), ids.data(), log_probs.data(), target.size(), ids.shape(1), floor);
}

py::bytes encode_hidden(const Array<int32_t>& target, const Array<uint16_t>& states) {
  expect(target.ndim() == 1 && states.ndim() == 2 && states.shape(0) == target.shape(0),
         "expected states [tokens, d], one row per target token");
  return encode_states(target.data(), states.data(), target.size(), states.shape(1));
}

template <class T>
py::array of(const std::vector<T>& values) {
  return py::array_t<T>(values.size(), values.data());
}

// (target, ids, log_probs, tail), or (target, states)
py::tuple decode(const py::bytes& bytes) {
  const std::string_view view = bytes;
  StoredSentence s;
  decode_sentence(reinterpret_cast<const uint8_t*>(view.data()), view.size(), s);
  if (s.width > 0) {
    Array<uint16_t> states({s.tokens(), s.width});
    std::memcpy(states.mutable_data(), s.states, 2 * states.size());
    return py::make_tuple(of(s.target), states);
  }
  Array<int32_t> ids({s.tokens(), s.k});
  Array<float> log_probs({s.tokens(), s.k}), tail(s.tokens());
  std::fill_n(ids.mutable_data(), ids.size(), 0);
  std::fill_n(log_probs.mutable_data(), log_probs.size(), -std::numeric_limits<float>::infinity());
  const uint32_t n = grid_steps(s.k);
  for (int64_t t = 0; t < s.tokens(); ++t) {
    uint32_t rest = n;
    int32_t* id = ids.mutable_data() + t * s.k;
    const int64_t count = s.begin[t + 1] - s.begin[t];
    for (int64_t j = 0; j < count; ++j) {
      const uint32_t steps = s.steps[s.begin[t] + j];
      id[j] = s.ids[s.begin[t] + j];
      log_probs.mutable_at(t, j) = static_cast<float>(std::log(static_cast<double>(steps) / n));
      rest -= steps;
    }
    tail.mutable_at(t) = static_cast<float>(static_cast<double>(rest) / n);
  }
  return py::make_tuple(of(s.target), ids, log_probs, tail);
}

SoftLabelLines lines_of(const Array<uint8_t>& bytes, const Array<uint64_t>& offsets) {
  expect(bytes.ndim() == 1 && offsets.ndim() == 1 && offsets.size() >= 1, "expected bytes and an index");
  return {bytes.data(), static_cast<uint64_t>(bytes.size()), offsets.data(), offsets.size() - 1};
}

py::tuple targets(const Array<uint8_t>& bytes, const Array<uint64_t>& offsets, const Array<int64_t>& lines) {
  const SoftLabelLines store = lines_of(bytes, offsets);
  Array<int64_t> lengths(lines.size());
  std::vector<int32_t> all;
  {
    int64_t* into = lengths.mutable_data();
    const py::gil_scoped_release release;
    all = store.targets(lines.data(), lines.size(), into);
  }
  return py::make_tuple(of(all), lengths);
}

void expect_batch(const Array<int64_t>& lines, const Array<int64_t>& labels) {
  expect(lines.ndim() == 1 && labels.ndim() == 2 && labels.shape(0) == lines.shape(0),
         "expected labels [lines, width], one row per line");
}

py::tuple gather(const Array<uint8_t>& bytes, const Array<uint64_t>& offsets, const Array<int64_t>& lines,
                 const Array<int64_t>& labels, int64_t k, int64_t columns) {
  expect_batch(lines, labels);
  expect(1 <= k && k <= kMaxStoredK, "expected k from 1 to 1024");
  const SoftLabelLines store = lines_of(bytes, offsets);
  Array<int64_t> ids({labels.shape(0), labels.shape(1), k});
  Array<float> log_probs({labels.shape(0), labels.shape(1), k});
  int64_t* into = ids.mutable_data();
  float* log_probs_into = log_probs.mutable_data();
  {
    const py::gil_scoped_release release;
    store.gather(lines.data(), lines.size(), labels.data(), labels.shape(1), k, columns, into, log_probs_into);
  }
  return py::make_tuple(ids, log_probs);
}

Array<uint16_t> gather_states(const Array<uint8_t>& bytes, const Array<uint64_t>& offsets, const Array<int64_t>& lines,
                              const Array<int64_t>& labels, int64_t width) {
  expect_batch(lines, labels);
  expect(width >= 1, "expected states of at least one number");
  const SoftLabelLines store = lines_of(bytes, offsets);
  Array<uint16_t> states({labels.shape(0), labels.shape(1), width});
  uint16_t* into = states.mutable_data();
  {
    const py::gil_scoped_release release;
    store.gather_states(lines.data(), lines.size(), labels.data(), labels.shape(1), width, into);
  }
  return states;
}

}  // namespace

void bind_soft_labels(py::module_& m) {
  m.def("encode_soft_labels", &encode, py::arg("target"), py::arg("ids"), py::arg("log_probs"), py::arg("floor"));
  m.def("encode_states", &encode_hidden, py::arg("target"), py::arg("states"));
  m.def("decode_soft_labels", &decode, py::arg("bytes"));
  m.def("soft_label_targets", &targets, py::arg("bytes"), py::arg("offsets"), py::arg("lines"));
  m.def("gather_soft_labels", &gather, py::arg("bytes"), py::arg("offsets"), py::arg("lines"), py::arg("labels"),
        py::arg("k"), py::arg("columns"));
  m.def("gather_states", &gather_states, py::arg("bytes"), py::arg("offsets"), py::arg("lines"), py::arg("labels"),
        py::arg("width"));
}

}  // namespace distilmt
