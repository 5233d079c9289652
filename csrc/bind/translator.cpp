// Python's door to the translator: load weights, decode id lists. Arguments were checked in
// python/distilmt/translate.py; here only what memory safety needs is checked again.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <unordered_set>

#include "common/platform.h"
#include "engine/safetensors.h"
#include "engine/scheduler.h"

namespace py = pybind11;

namespace distilmt {
namespace {

using Entry = std::tuple<std::string, std::string, Shape, int64_t, int64_t>;  // name, dtype, shape, begin, end

Activation activation_of(const std::string& name) {
  if (name == "relu") return Activation::relu;
  if (name == "gelu") return Activation::gelu;
  require(name == "silu", "activation must be relu, gelu or silu, got " + name);
  return Activation::silu;
}

Number number_of(const std::string& name) {
  if (name == "float32") return Number::float32;
  if (name == "bfloat16") return Number::bfloat16;
  require(name == "int8", "compute_type must be float32, bfloat16 or int8, got " + name);
  return Number::int8;
}

PositionTable position_table_of(const std::string& name) {
  if (name == "marian") return PositionTable::marian;
  if (name == "learned") return PositionTable::learned;
  require(name == "m2m100", "position_table must be marian, learned or m2m100, got " + name);
  return PositionTable::m2m100;
}

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

ModelConfig config_of(const py::dict& fields) {
  auto number = [&](const char* key) {
    const auto value = fields[key].cast<int64_t>();
    require(value > 0 && value < (1 << 24), std::string("config: ") + key + " must lie in [1, 2^24)");
    return value;
  };
  ModelConfig c;
  c.number = number_of(fields["compute_type"].cast<std::string>());
  c.source_vocab = number("source_vocab");
  c.target_vocab = number("target_vocab");
  c.hidden = number("hidden");
  c.encoder_layers = number("encoder_layers");
  c.decoder_layers = number("decoder_layers");
  c.encoder_heads = number("encoder_heads");
  c.decoder_heads = number("decoder_heads");
  c.encoder_ffn = number("encoder_ffn");
  c.decoder_ffn = number("decoder_ffn");
  c.positions = number("positions");
  require(c.hidden % c.encoder_heads == 0 && c.hidden % c.decoder_heads == 0, "config: heads must divide hidden");
  c.activation = activation_of(fields["activation"].cast<std::string>());
  c.position_table = position_table_of(fields["position_table"].cast<std::string>());
  c.first_position = fields["first_position"].cast<int64_t>();
  require(c.first_position >= 0 && c.first_position < (1 << 24), "config: first_position must lie in [0, 2^24)");
  c.pre_norm = fields["pre_norm"].cast<bool>();
  c.embedding_norm = fields["embedding_norm"].cast<bool>();
  c.scale_embedding = fields["scale_embedding"].cast<bool>();
  c.share_embeddings = fields["share_embeddings"].cast<bool>();
  c.tie_projection = fields["tie_projection"].cast<bool>();
  c.excluded = fields["excluded"].cast<std::vector<int>>();
  for (int id : c.excluded) require(id >= 0 && id < c.target_vocab, "config: excluded ids must lie in the vocabulary");
  require(!c.share_embeddings || c.source_vocab == c.target_vocab,
          "config: shared embeddings need one vocabulary size");
  return c;
}

std::unique_ptr<Weights> load(const std::string& path, const std::vector<Entry>& header, const py::dict& fields,
                              int threads) {
  const ModelConfig config = config_of(fields);
  std::vector<TensorEntry> entries;
  for (const auto& [tensor, dtype, shape, begin, end] : header) entries.push_back({tensor, dtype, shape, begin, end});
  const py::gil_scoped_release release;
  const TensorFile file(path, entries);
  std::unordered_set<std::string> used;
  std::mutex mutex;
  const TensorSource tensors{[&](const std::string& name) { return file.contains(name); },
                             [&](const std::string& name, const Shape& shape) {
                               {
                                 const std::lock_guard lock(mutex);
                                 used.insert(name);
                               }
                               return file.read(name, shape);
                             }};
  auto weights = std::make_unique<Weights>(load_weights(config, tensors, threads));
  // Layers and norms that the config does not have: it is another model's.
  for (const TensorEntry& entry : entries)
    for (const char* part : {"model.encoder.layer", "model.decoder.layer"})
      require(entry.name.rfind(part, 0) != 0 || used.count(entry.name) != 0,
              "tensor " + entry.name + ": in the file, but the config describes a model without it");
  return weights;
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

void check(const Models& models, const Request& request) {
  require(!models.members.empty() && models.shares.size() == models.members.size(), "one share per model");
  for (const Weights* model : models.members)
    require(model && model->config.source_vocab == models.members[0]->config.source_vocab &&
                model->config.target_vocab == models.members[0]->config.target_vocab,
            "models must have equal vocabularies");
  const ModelConfig& c = models.members[0]->config;
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

// The Python callable as the engine calls it, from its own threads; what it returns was checked in
// python/distilmt/neighbours.py.
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

py::list decode(std::vector<const Weights*> members, std::vector<float> shares, bool geometric,
                std::vector<std::vector<int>> sources, std::optional<std::vector<std::vector<int>>> targets,
                const py::dict& options, int soft_labels, bool hidden_states, int threads, int slots,
                const std::optional<std::function<void(size_t)>>& progress,
                std::optional<std::vector<std::vector<int>>> prefixes, const std::optional<py::function>& neighbours) {
  const Models models(std::move(members), std::move(shares), geometric);
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
  check(models, request);
  const ModelConfig& first = models.members[0]->config;
  if (neighbours) request.neighbours = neighbours_of(*neighbours, first.hidden, first.target_vocab);
  std::vector<Output> outputs;
  {
    const py::gil_scoped_release release;
    outputs = run(models, request, [&](size_t done) {
      const py::gil_scoped_acquire acquire;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();  // Ctrl-C
      if (progress) (*progress)(done);
    });
  }
  py::list results;
  for (const Output& output : outputs) {
    py::list hypotheses;
    for (const Hypothesis& h : output.hypotheses) hypotheses.append(python_of(h, first.hidden));
    results.append(py::make_tuple(name(output.status), hypotheses));
  }
  return results;
}

}  // namespace

void bind_translator(py::module_& m) {
  py::class_<Weights>(m, "Weights", "A model, packed for this machine's instruction set.")
      .def(py::init(&load), py::arg("path"), py::arg("entries"), py::arg("config"), py::arg("threads") = 1);
  m.def(
      "decode", &decode, py::arg("models"), py::arg("shares"), py::arg("geometric"), py::arg("sources"),
      py::arg("targets"), py::arg("options"), py::arg("soft_labels"), py::arg("hidden_states"), py::arg("threads"),
      py::arg("slots"), py::arg("progress"), py::arg("prefixes"), py::arg("neighbours"),
      "Translates, or scores targets where they are given; several models as one, by the mean of their distributions. "
      "Returns (status, [(ids, score, log_probs, soft_labels, hidden_states)]) per source.");
}

}  // namespace distilmt
