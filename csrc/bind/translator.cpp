// Python's door to the translator: load weights, decode id lists. Arguments were checked in
// python/distilmt/translate.py; here only what memory safety needs is checked again.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
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
  require(name == "yes" || name == "no", "early_stopping must be yes, no or never, got " + name);
  return name == "yes" ? EarlyStopping::yes : EarlyStopping::no;
}

const char* name(Status status) {
  switch (status) {
    case Status::ok: return "ok";
    case Status::max_length: return "max_length";
    case Status::empty_source: return "empty_source";
    case Status::too_long: return "too_long";
    case Status::empty_hypothesis: return "empty_hypothesis";
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

std::unique_ptr<Weights> load(const std::string& path, const std::vector<Entry>& header, const py::dict& fields) {
  const ModelConfig config = config_of(fields);
  std::vector<TensorEntry> entries;
  for (const auto& [tensor, dtype, shape, begin, end] : header) entries.push_back({tensor, dtype, shape, begin, end});
  const py::gil_scoped_release release;
  const TensorFile file(path, entries);
  std::unordered_set<std::string> used;
  auto weights =
      std::make_unique<Weights>(load_weights(config, {[&](const std::string& name) { return file.contains(name); },
                                                      [&](const std::string& name, const Shape& shape) {
                                                        used.insert(name);
                                                        return file.read(name, shape);
                                                      }}));
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
  o.early_stopping = early_stopping_of(fields["early_stopping"].cast<std::string>());
  o.max_length = fields["max_length"].cast<int>();
  o.min_length = fields["min_length"].cast<int>();
  o.eos = fields["eos"].cast<int>();
  o.start = fields["start"].cast<int>();
  o.forced_bos = fields["forced_bos"].cast<int>();
  o.forced_eos = fields["forced_eos"].cast<int>();
  o.banned = fields["banned"].cast<std::vector<int>>();
  o.renormalize = fields["renormalize"].cast<bool>();
  return o;
}

void check(const Weights& weights, const Request& request) {
  const ModelConfig& c = weights.config;
  const SearchOptions& o = request.options;
  require(o.beam_size >= 1 && o.beam_size <= 1024 && o.n_best >= 1 && o.n_best <= o.beam_size, "beam_size and n_best");
  require(o.max_length >= 1 && request.threads >= 1 && request.slots >= 0, "max_length, threads and slots");
  auto target = [&](int id) { require(id >= 0 && id < c.target_vocab, "ids must lie in the target vocabulary"); };
  for (int id : {o.eos, o.start, std::max(o.forced_bos, 0), std::max(o.forced_eos, 0)}) target(id);
  for (int id : o.banned) target(id);
  for (const auto& ids : request.targets)
    for (int id : ids) target(id);
  for (const auto& ids : request.sources)
    for (int id : ids) require(id >= 0 && id < c.source_vocab, "ids must lie in the source vocabulary");
  require(!request.scoring || request.targets.size() == request.sources.size(), "one target per source");
}

py::list decode(const Weights& weights, std::vector<std::vector<int>> sources,
                std::optional<std::vector<std::vector<int>>> targets, const py::dict& options, int threads, int slots,
                const std::optional<std::function<void(size_t)>>& progress) {
  Request request;
  request.sources = std::move(sources);
  request.scoring = targets.has_value();
  if (targets) request.targets = std::move(*targets);
  request.options = options_of(options);
  request.threads = threads;
  request.slots = slots;
  check(weights, request);
  std::vector<Output> outputs;
  {
    const py::gil_scoped_release release;
    outputs = run(weights, request, [&](size_t done) {
      const py::gil_scoped_acquire acquire;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();  // Ctrl-C
      if (progress) (*progress)(done);
    });
  }
  py::list results;
  for (const Output& output : outputs) {
    py::list hypotheses;
    for (const Hypothesis& h : output.hypotheses) hypotheses.append(py::make_tuple(h.ids, h.score, h.log_probs));
    results.append(py::make_tuple(name(output.status), hypotheses));
  }
  return results;
}

}  // namespace

void bind_translator(py::module_& m) {
  py::register_exception<ModelError>(m, "ModelError", PyExc_RuntimeError);
  py::class_<Weights>(m, "Weights", "A model, packed for this machine's instruction set.")
      .def(py::init(&load), py::arg("path"), py::arg("entries"), py::arg("config"))
      .def("decode", &decode, py::arg("sources"), py::arg("targets"), py::arg("options"), py::arg("threads"),
           py::arg("slots"), py::arg("progress"),
           "Translates, or scores targets where they are given. Returns (status, [(ids, score, log_probs)]) per "
           "source.");
}

}  // namespace distilmt
