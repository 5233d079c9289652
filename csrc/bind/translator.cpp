// Python's door to the translator: load weights, decode id lists.
#include <pybind11/functional.h>

#include <memory>
#include <mutex>
#include <unordered_set>

#include "bind/request.h"
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

py::list decode(std::vector<const Weights*> members, std::vector<float> shares, bool geometric, Lists sources,
                std::optional<Lists> targets, const py::dict& options, int soft_labels, bool hidden_states, int threads,
                int slots, const std::optional<std::function<void(size_t)>>& progress, std::optional<Lists> prefixes,
                const std::optional<py::function>& neighbours) {
  const Models models(std::move(members), std::move(shares), geometric);
  const ModelConfig& first = models.members[0]->config;
  Request request = request_of(std::move(sources), std::move(targets), std::move(prefixes), options, soft_labels,
                               hidden_states, threads, slots);
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
