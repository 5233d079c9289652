#include "bind/request.h"

#include <pybind11/functional.h>
#include <pybind11/numpy.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>

#include "common/platform.h"

namespace py = pybind11;

namespace distilmt {
namespace {

EarlyStopping early_stopping_of(const std::string& name) {
  if (name == "never") return EarlyStopping::never;
  if (name == "exact") return EarlyStopping::exact;
  require(name == "yes" || name == "no", "early_stopping must be yes, no, never or exact, got " + name);
  return name == "yes" ? EarlyStopping::yes : EarlyStopping::no;
}

const char* name(Status status) {
  switch (status) {
    case Status::ok: return "ok";
    case Status::max_length: return "max_length";
    case Status::empty_source: return "empty_source";
    case Status::too_long: return "too_long";
    case Status::empty_hypothesis: return "empty_hypothesis";
    case Status::not_finite: return "not_finite";
  }
  return "?";
}

SearchOptions options_of(const py::dict& fields) {
  SearchOptions o;
  o.beam_size = fields["beam_size"].cast<int>();
  o.n_best = fields["n_best"].cast<int>();
  o.length_penalty = fields["length_penalty"].cast<double>();
  o.length_form = fields["length_penalty_form"].cast<std::string>() == "gnmt" ? LengthForm::gnmt : LengthForm::power;
  o.coverage_penalty = fields["coverage_penalty"].cast<double>();
  o.patience = fields["patience"].cast<double>();
  o.early_stopping = early_stopping_of(fields["early_stopping"].cast<std::string>());
  o.max_length = fields["max_length"].cast<int>();
  o.min_length = fields["min_length"].cast<int>();
  o.repetition_penalty = fields["repetition_penalty"].cast<float>();
  o.no_repeat_ngram_size = fields["no_repeat_ngram_size"].cast<int>();
  o.sample = fields["sample"].cast<bool>();
  o.temperature = fields["temperature"].cast<float>();
  o.top_k = fields["top_k"].cast<int>();
  o.top_p = fields["top_p"].cast<double>();
  o.seed = fields["seed"].cast<uint64_t>();
  o.eos = fields["eos"].cast<int>();
  o.start = fields["start"].cast<int>();
  o.forced_bos = fields["forced_bos"].cast<int>();
  o.forced_eos = fields["forced_eos"].cast<int>();
  o.banned = fields["banned"].cast<std::vector<int>>();
  o.renormalize = fields["renormalize"].cast<bool>();
  return o;
}

template <class T>
py::array_t<T> array(const std::vector<T>& values, int64_t columns) {
  return py::array_t<T>({static_cast<int64_t>(values.size()) / columns, columns}, values.data());
}

// (ids, score, log_probs, soft labels or None, hidden states or None)
py::tuple python_of(const Hypothesis& h, int64_t hidden) {
  py::object soft = py::none(), states = py::none();
  if (const SoftLabels& s = h.soft_labels; s.k > 0)
    soft = py::make_tuple(array(s.ids, s.k), array(s.log_probs, s.k),
                          py::array_t<float>(s.tail_mass.size(), s.tail_mass.data()),
                          py::array_t<float>(s.entropy.size(), s.entropy.data()));
  if (!h.states.empty()) states = array(h.states, hidden);
  return py::make_tuple(h.ids, h.score, h.log_probs, soft, states);
}

}  // namespace

Request request_of(Lists sources, std::optional<Lists> targets, std::optional<Lists> prefixes, const py::dict& options,
                   int soft_labels, bool hidden_states, int threads, int slots) {
  Request request;
  request.sources = std::move(sources);
  request.scoring = targets.has_value();
  if (targets) request.targets = std::move(*targets);
  if (prefixes) request.prefixes = std::move(*prefixes);
  request.options = options_of(options);
  request.soft_labels = soft_labels;
  request.hidden_states = hidden_states;
  request.threads = threads;
  request.slots = slots;
  return request;
}

void check(const ModelConfig& c, const Request& request) {
  const SearchOptions& o = request.options;
  require(o.beam_size >= 1 && o.beam_size <= 1024 && o.n_best >= 1 && o.n_best <= 1024, "beam_size and n_best");
  require(o.patience > 0 && o.patience <= 1024, "patience");
  require(o.sample || o.n_best <= std::max(1L, std::lround(o.beam_size * o.patience)), "n_best");
  require(o.temperature > 0 && o.top_k >= 0 && o.top_p > 0 && o.no_repeat_ngram_size >= 0, "search options");
  require(o.max_length >= 1 && request.threads >= 1 && request.slots >= 0, "max_length, threads and slots");
  auto target = [&](int id) { require(id >= 0 && id < c.target_vocab, "ids must lie in the target vocabulary"); };
  for (int id : {o.eos, o.start, std::max(o.forced_bos, 0), std::max(o.forced_eos, 0)}) target(id);
  for (int id : o.banned) target(id);
  for (const auto* lists : {&request.targets, &request.prefixes})
    for (const auto& ids : *lists)
      for (int id : ids) target(id);
  for (const auto& ids : request.sources)
    for (int id : ids) require(id >= 0 && id < c.source_vocab, "ids must lie in the source vocabulary");
  require(request.soft_labels >= 0 && request.soft_labels <= c.target_vocab,
          "soft_labels must be at most the vocabulary");
  require(!request.scoring || request.targets.size() == request.sources.size(), "one target per source");
  require(request.prefixes.empty() || request.prefixes.size() == request.sources.size(), "one prefix per source");
}

// What the callable returns was checked in python/distilmt/translator/neighbours.py.
FindNeighbours neighbours_of(const py::function& find, int64_t hidden, int64_t vocab) {
  // Not the GIL alone: Python hands it over while the callable runs, and the callable may keep state.
  auto one = std::make_shared<std::mutex>();
  return [find = py::object(find), one, hidden, vocab](const float* states, int64_t rows) {
    const std::lock_guard lock(*one);
    const py::gil_scoped_acquire acquire;
    const auto found = find(py::array_t<float>({rows, hidden}, states)).cast<py::tuple>();
    const auto ids = found[0].cast<py::array_t<int32_t, py::array::c_style>>();
    const auto probabilities = found[1].cast<py::array_t<float, py::array::c_style>>();
    const auto lambda = found[2].cast<py::array_t<float, py::array::c_style>>();
    require(ids.ndim() == 2 && ids.shape(0) == rows && probabilities.size() == ids.size() && lambda.size() == rows,
            "neighbours: shapes");
    Neighbours n{ids.shape(1),
                 {ids.data(), ids.data() + ids.size()},
                 {probabilities.data(), probabilities.data() + ids.size()},
                 {lambda.data(), lambda.data() + rows}};
    for (int id : n.ids) require(id >= 0 && id < vocab, "neighbours: ids must lie in the target vocabulary");
    return n;
  };
}

std::function<void(size_t)> ticker(const std::optional<std::function<void(size_t)>>& progress) {
  return [&progress](size_t done) {
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();  // Ctrl-C
    if (progress) (*progress)(done);
  };
}

py::list results_of(const std::vector<Output>& outputs, int64_t hidden) {
  py::list results;
  for (const Output& output : outputs) {
    py::list hypotheses;
    for (const Hypothesis& h : output.hypotheses) hypotheses.append(python_of(h, hidden));
    results.append(py::make_tuple(name(output.status), hypotheses));
  }
  return results;
}

}  // namespace distilmt
