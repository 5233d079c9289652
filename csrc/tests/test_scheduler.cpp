// The whole translator on a random model: what threads, slots and company may not change. Also the thread sanitizer's
// food.
#include <algorithm>
#include <random>

#include "engine/scheduler.h"
#include "tests/kernels.h"
#include "tests/random_model.h"
#include "tests/test.h"

using namespace distilmt;
using distilmt::test::random_weights;

namespace {

ModelConfig small_config() {
  ModelConfig c;
  c.source_vocab = c.target_vocab = 53;
  c.hidden = 24;
  c.encoder_layers = c.decoder_layers = 2;
  c.encoder_heads = 3;
  c.decoder_heads = 2;
  c.encoder_ffn = c.decoder_ffn = 40;
  c.positions = 32;
  return c;
}

// Of BART's (post-norm) or M2M100's (pre-norm) kind, where small_config is Marian's.
ModelConfig family_config(bool pre_norm) {
  ModelConfig c = small_config();
  c.pre_norm = pre_norm;
  c.embedding_norm = !pre_norm;
  c.position_table = pre_norm ? PositionTable::m2m100 : PositionTable::learned;
  c.first_position = 2;
  return c;
}

Request request(int sentences) {
  std::mt19937 random(3);
  Request r;
  for (int i = 0; i < sentences; ++i) {
    std::vector<int> ids(1 + random() % 20);
    for (int& id : ids) id = 1 + static_cast<int>(random() % 51);
    r.sources.push_back(ids);
  }
  r.options.beam_size = r.options.n_best = 3;
  r.options.max_length = 12;
  r.options.start = 52;
  r.options.banned = {52};
  return r;
}

bool same(const std::vector<Output>& a, const std::vector<Output>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].status != b[i].status || a[i].hypotheses.size() != b[i].hypotheses.size()) return false;
    for (size_t j = 0; j < a[i].hypotheses.size(); ++j) {
      const Hypothesis &x = a[i].hypotheses[j], &y = b[i].hypotheses[j];
      if (x.soft_labels.ids != y.soft_labels.ids || x.soft_labels.log_probs != y.soft_labels.log_probs) return false;
      if (x.soft_labels.tail_mass != y.soft_labels.tail_mass || x.soft_labels.entropy != y.soft_labels.entropy)
        return false;
      if (x.ids != y.ids || x.log_probs != y.log_probs || x.score != y.score || x.ended != y.ended) return false;
    }
  }
  return true;
}

const auto kNothing = [](size_t) {};

}  // namespace

TEST(scheduler_threads_and_slots_do_not_matter) {
  for (const ModelConfig& config : {small_config(), family_config(false), family_config(true)}) {
    const Weights weights = random_weights(config);
    Request r = request(25);
    r.sources[3].clear();
    r.sources[4].assign(33, 5);  // 32 positions
    r.sources[5].assign(32, 5);
    const auto truth = run(weights, r, kNothing);
    CHECK(truth[3].status == Status::empty_source && truth[3].hypotheses.empty());
    CHECK(truth[4].status == Status::too_long && truth[4].hypotheses.empty());
    CHECK(truth[5].status != Status::too_long);
    CHECK(truth[0].hypotheses.size() == 3);
    for (const auto& [threads, slots] : std::vector<std::pair<int, int>>{{2, 0}, {1, 1}, {2, 3}, {4, 2}, {40, 1}}) {
      r.threads = threads;
      r.slots = slots;
      CHECK(same(run(weights, r, kNothing), truth));
    }
  }
}

TEST(weights_are_the_same_by_any_threads_and_the_first_error_is_told) {
  const ModelConfig config = small_config();
  const Request r = request(5);
  const auto truth = run(random_weights(config, 0.5f, 1), r, kNothing);
  for (int threads : {2, 3, 40}) CHECK(same(run(random_weights(config, 0.5f, threads), r, kNothing), truth));
  const TensorSource broken{[](const std::string& name) { return name == "model.shared.weight"; },
                            [](const std::string& name, const std::vector<int64_t>& shape) {
                              int64_t count = 1;
                              for (int64_t size : shape) count *= size;
                              require(name.find("fc1") == std::string::npos, name + ": broken");
                              return std::vector<float>(count);
                            }};
  for (int threads : {1, 4}) {
    std::string said;
    try {
      load_weights(config, broken, threads);
    } catch (const std::runtime_error& error) {
      said = error.what();
    }
    CHECK(said == "model.encoder.layers.0.fc1.weight: broken");
  }
}

TEST(weights_positions_of_m2m100) {
  // transformers' M2M100SinusoidalPositionalEmbedding.get_embedding(4, 5)[3]
  const std::vector<float> row = m2m100_sinusoids(3, 1, 5);
  CHECK_NEAR(row[0], 0.14112, 1e-6);
  CHECK_NEAR(row[1], 0.0003, 1e-9);
  CHECK_NEAR(row[2], -0.9899925, 1e-6);
  CHECK_NEAR(row[3], 1.0, 1e-6);
  CHECK(row[4] == 0.0f);
}

TEST(scheduler_scores_what_it_translates) {
  const Weights weights = random_weights(small_config());
  Request r = request(12);
  r.threads = 2;
  const auto found = run(weights, r, kNothing);
  Request s = r;
  s.scoring = true;
  for (const Output& output : found) s.targets.push_back(output.hypotheses[0].ids);
  const auto scored = run(weights, s, kNothing);
  for (size_t i = 0; i < found.size(); ++i) {
    const auto &forced = scored[i].hypotheses[0].log_probs, &searched = found[i].hypotheses[0].log_probs;
    CHECK(forced.size() == s.targets[i].size() + 1);
    CHECK(std::equal(searched.begin(), searched.end(), forced.begin()));
  }
}

TEST(scheduler_scores_long_targets_in_pieces) {
  ModelConfig config = small_config();
  config.positions = 600;
  const Weights weights = random_weights(config);
  Request r = request(7);
  r.scoring = true;
  r.targets.resize(r.sources.size());
  for (size_t i = 0; i < r.targets.size(); ++i)
    for (size_t j = 0; j < 99 * i; ++j) r.targets[i].push_back(1 + static_cast<int>((i + j * j) % 51));
  const auto truth = run(weights, r, kNothing);
  for (size_t i = 0; i < r.targets.size(); ++i) CHECK(truth[i].hypotheses[0].log_probs.size() == 99 * i + 1);
  Request head = r;  // what stands in front of a cut does not depend on what follows
  for (auto& target : head.targets) target.resize(std::min<size_t>(target.size(), 50));
  const auto heads = run(weights, head, kNothing);
  for (size_t i = 0; i < r.targets.size(); ++i)
    CHECK(std::equal(heads[i].hypotheses[0].log_probs.begin(), heads[i].hypotheses[0].log_probs.end() - 1,
                     truth[i].hypotheses[0].log_probs.begin()));
  for (const auto& [threads, slots] : std::vector<std::pair<int, int>>{{1, 1}, {2, 3}, {3, 0}}) {
    r.threads = threads;
    r.slots = slots;
    CHECK(same(run(weights, r, kNothing), truth));
  }
}

TEST(scheduler_every_search_on_any_threads_and_slots) {
  const Weights weights = random_weights(small_config());
  Request r = request(24);
  for (int i = 0; i < 8; ++i) r.sources[16 + i] = r.sources[i];  // decoded once, but for another prefix
  r.prefixes.assign(24, {});
  r.prefixes[17] = {5, 6, 7};
  r.options.repetition_penalty = 1.2f;
  r.options.no_repeat_ngram_size = 2;
  r.neighbours = [](const float* hidden, int64_t rows) {
    Neighbours n{2, {}, {}, std::vector<float>(rows, 0.3f)};
    for (int64_t i = 0; i < rows; ++i) {
      n.ids.insert(n.ids.end(), {hidden[i * 24] > 0 ? 7 : 8, 9});
      n.probabilities.insert(n.probabilities.end(), {0.75f, 0.25f});
    }
    return n;
  };
  SearchOptions beam = r.options, sample = r.options;
  beam.coverage_penalty = 0.5;
  beam.early_stopping = EarlyStopping::exact;
  sample.sample = true;
  sample.top_p = 0.99;
  for (const SearchOptions& options : {beam, sample}) {
    r.options = options;
    r.soft_labels = 2;
    r.threads = 1;
    r.slots = 0;
    const auto truth = run(weights, r, kNothing);
    CHECK(same({truth[0]}, {truth[16]}) && !same({truth[1]}, {truth[17]}));
    CHECK(truth[17].hypotheses[0].ids[2] == 7 && truth[17].hypotheses[0].log_probs[2] == 0);
    for (const auto& [threads, slots] : std::vector<std::pair<int, int>>{{2, 0}, {1, 1}, {3, 2}}) {
      r.threads = threads;
      r.slots = slots;
      CHECK(same(run(weights, r, kNothing), truth));
    }
  }
}

TEST(scheduler_passes_errors_on) {
  Request r = request(300);
  r.threads = 2;
  r.options.beam_size = r.options.n_best = 8;
  r.options.max_length = r.options.min_length = 32;
  const Weights weights = random_weights(small_config());
  int calls = 0;
  auto fail = [&](size_t) {
    ++calls;
    throw std::runtime_error("enough");
  };
  CHECK_THROWS(run(weights, r, fail), "enough");
  CHECK(calls == 1);
}

// One damaged word of the source: the sentences that hold it have no numbers, the others do not notice.
TEST(scheduler_not_finite_is_a_matter_of_the_sentence) {
  Weights weights = random_weights(small_config());
  weights.config.share_embeddings = false;  // lest the word be damaged on both sides
  weights.source_embedding = test::normal(weights.config.source_vocab * weights.config.hidden, 4);
  Request r = request(20);
  r.threads = 2;
  const auto truth = run(weights, r, kNothing);
  Request s = r;
  s.scoring = true;
  for (const Output& output : truth) s.targets.push_back(output.hypotheses[0].ids);
  const auto scored = run(weights, s, kNothing);
  weights.source_embedding[7 * weights.config.hidden] = NAN;
  int damaged = 0;
  for (const auto& [request, before] : {std::pair{&r, &truth}, {&s, &scored}}) {
    auto found = run(weights, *request, kNothing);
    for (size_t i = 0; i < found.size(); ++i) {
      const auto& source = r.sources[i];
      if (std::find(source.begin(), source.end(), 7) == source.end()) continue;
      CHECK(found[i].status == Status::not_finite && found[i].hypotheses.empty());
      found[i] = (*before)[i];
      ++damaged;
    }
    CHECK(same(found, *before));
  }
  CHECK(damaged > 2 && damaged < 30);
}

TEST(scheduler_ensembles_do_not_depend_on_company) {
  ModelConfig other = small_config();
  other.hidden = 30;
  other.positions = 40;
  const Weights a = random_weights(small_config(), 0.3f), b = random_weights(other, 0.3f);
  for (bool geometric : {false, true}) {
    const Models models({&a, &b}, {0.25f, 0.75f}, geometric);
    Request r = request(40);
    r.soft_labels = 3;
    const auto truth = run(models, r, kNothing);
    CHECK(!same(truth, run(a, r, kNothing)) && !same(truth, run(b, r, kNothing)));
    for (const auto& [threads, slots] : std::vector<std::pair<int, int>>{{1, 1}, {2, 3}, {1, 40}}) {
      r.threads = threads;
      r.slots = slots;
      CHECK(same(run(models, r, kNothing), truth));
    }
  }
}

TEST(scheduler_nothing_to_do) {
  const Weights weights = random_weights(small_config());
  size_t seen = 99;
  CHECK(run(weights, Request{}, [&](size_t done) { seen = done; }).empty() && seen == 0);
  Request r = request(2);
  r.sources = {{}, {}};
  CHECK(run(weights, r, [&](size_t done) { seen = done; }).size() == 2 && seen == 2);
}
