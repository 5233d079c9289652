// Python's door to the text measures: n-best lists ranked, and the tokens of 13a. Options are checked in
// python/distilmt/labels/select.py.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/platform.h"
#include "text/rank.h"
#include "text/tokenize_13a.h"
#include "text/unicode.h"

namespace py = pybind11;

namespace distilmt {
namespace {

using PythonEntry = std::tuple<std::string, std::vector<int>, double, double>;
using PythonList =
    std::tuple<uint64_t, std::vector<PythonEntry>, std::optional<std::string>, std::vector<int>, std::vector<double>>;

template <class Kind>
Kind named(const py::dict& options, const char* key, const std::vector<std::pair<std::string, Kind>>& kinds) {
  const auto name = options[key].cast<std::string>();
  for (const auto& [known, kind] : kinds)
    if (name == known) return kind;
  throw py::value_error(std::string(key) + ": unknown " + name);
}

RankOptions options_of(const py::dict& options) {
  RankOptions o;
  o.rule = named<Rule>(options, "rule",
                       {{"model", Rule::model},
                        {"bleu", Rule::bleu},
                        {"gleu", Rule::gleu},
                        {"chrf", Rule::chrf},
                        {"mbr", Rule::mbr},
                        {"estimate", Rule::estimate},
                        {"sample", Rule::sample}});
  o.smoothing = named<Smoothing>(
      options, "smoothing",
      {{"kim-rush", Smoothing::kim_rush}, {"bergamot", Smoothing::bergamot}, {"sacrebleu", Smoothing::sacrebleu}});
  o.tokens = named<Tokens>(options, "tokens", {{"13a", Tokens::t13a}, {"words", Tokens::words}, {"ids", Tokens::ids}});
  o.weighted = named<bool>(options, "weights", {{"uniform", false}, {"model", true}});
  o.temperature = options["temperature"].cast<double>();
  o.seed = options["seed"].cast<uint64_t>();
  require(o.temperature > 0, "rank: temperature above 0");
  return o;
}

NBest list_of(PythonList&& given) {
  auto& [line, entries, gold, gold_ids, numbers] = given;
  NBest list{line, {}, std::move(gold), std::move(gold_ids), std::move(numbers)};
  for (auto& [text, ids, score, log_prob] : entries)
    list.entries.push_back({std::move(text), std::move(ids), score, log_prob});
  return list;
}

// (order, numbers, (bleu and chrF of the model's first, bleu and chrF of the rule's first) or None)
py::tuple python_of(const Ranking& r) {
  py::object nearness = py::none();
  if (r.before) nearness = py::make_tuple(r.before->bleu, r.before->chrf, r.after->bleu, r.after->chrf);
  return py::make_tuple(r.order, r.numbers, nearness);
}

py::list rank_lists(std::vector<PythonList> given, const py::dict& options, int threads) {
  std::vector<NBest> lists;
  lists.reserve(given.size());
  for (PythonList& list : given) lists.push_back(list_of(std::move(list)));
  const RankOptions chosen = options_of(options);
  std::vector<Ranking> rankings;
  {
    const py::gil_scoped_release release;
    rankings = rank(lists, chosen, threads, [] {
      const py::gil_scoped_acquire acquire;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();  // Ctrl-C
    });
  }
  py::list out;
  for (const Ranking& ranking : rankings) out.append(python_of(ranking));
  return out;
}

py::list tokens_of(const std::string& text) {
  py::list out;
  const std::u32string spaced = tokenize_13a(decode_utf8(text));
  for (std::u32string_view word : split(spaced)) out.append(py::cast(std::u32string(word)));
  return out;
}

}  // namespace

void bind_text(py::module_& m) {
  m.def("rank", &rank_lists, py::arg("lists"), py::arg("options"), py::arg("threads"),
        "Ranks n-best lists (line, [(text, ids, score, log_prob)], gold or None, gold ids, given numbers); see "
        "csrc/text/ranker.h. "
        "Returns (order, numbers, (bleu, chrf of the model's first, bleu, chrf of the rule's) or None) per list.");
  m.def("tokenize_13a", &tokens_of, py::arg("text"), "sacreBLEU's tokens 13a of a line.");
}

}  // namespace distilmt
