// Python's door to stored labels: records and their checksum. Contents are checked in
// python/distilmt/labels/records.py.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/platform.h"
#include "labels/crc32c.h"
#include "labels/records.h"

namespace py = pybind11;

namespace distilmt {
namespace {

using PythonCandidate = std::tuple<std::string, std::vector<int32_t>, double, double, uint32_t>;

py::bytes encode_record(uint64_t line, uint8_t verdict, std::string cause,
                        const std::vector<PythonCandidate>& candidates, const py::bytes& soft,
                        const py::bytes& forced) {
  Record record{line, verdict, std::move(cause), {}, soft, forced};
  for (const auto& [text, ids, score, log_prob, tokens] : candidates)
    record.candidates.push_back({text, ids, score, log_prob, tokens});
  std::string out;
  append_frame(out, record);
  return py::bytes(out);
}

// (line, verdict, cause, candidates, soft, forced, offset of the first byte behind the frame)
py::tuple python_of(const Record& record, size_t end) {
  py::list candidates;
  for (const Candidate& c : record.candidates)
    candidates.append(py::make_tuple(c.text, c.ids, c.score, c.log_prob, c.tokens));
  return py::make_tuple(record.line, record.verdict, record.cause, candidates, py::bytes(record.soft),
                        py::bytes(record.forced), end);
}

py::list scan_records(const py::buffer& data, size_t offset, size_t limit) {
  const py::buffer_info info = data.request();
  require(info.ndim == 1 && info.itemsize == 1 && info.strides[0] == 1, "scan_records: expected bytes");
  const std::string_view all(static_cast<const char*>(info.ptr), info.size);
  require(offset <= all.size(), "scan_records: offset behind the end");
  py::list records;
  Record record;
  while (records.size() < limit) {
    const size_t bytes = parse_frame(all.substr(offset), record);
    if (bytes == 0) break;
    offset += bytes;
    records.append(python_of(record, offset));
  }
  return records;
}

}  // namespace

void bind_labels(py::module_& m) {
  m.def("encode_record", &encode_record, py::arg("line"), py::arg("verdict"), py::arg("cause"), py::arg("candidates"),
        py::arg("soft"), py::arg("forced"), "The frame of one record (csrc/labels/records.h).");
  m.def("scan_records", &scan_records, py::arg("data"), py::arg("offset"), py::arg("limit"),
        "At most `limit` whole, sound frames from an offset on, as tuples that end in the offset behind each.");
  m.def(
      "crc32c",
      [](const py::buffer& data, uint32_t before) {
        const py::buffer_info info = data.request();
        return crc32c(info.ptr, static_cast<size_t>(info.size * info.itemsize), before);
      },
      py::arg("data"), py::arg("before") = 0, "CRC-32C of bytes; `before` is that of what stands in front of them.");
}

}  // namespace distilmt
