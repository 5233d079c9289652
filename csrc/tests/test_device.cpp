// The translator on a device, whole: a device of threads of this processor and the kernels compiled for the host,
// against the CPU engine on random models.
#include <algorithm>

#include "common/isa.h"
#include "device/translator.h"
#include "tests/device_models.h"
#include "tests/host_device.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

TEST(device_agrees_with_the_cpu_on_random_models) {
  const auto device = std::make_shared<HostDevice>();
  // The CPU's instruction sets agree by other tests: one is enough for all models.
  const int models = active_isa() == available_isas().back() ? kModels : 1;
  for (int i = 0; i < models; ++i) {
    Dice dice{std::mt19937(static_cast<unsigned>(i))};
    const ModelConfig config = random_config(dice);
    const Weights weights = random_weights(config);
    const DeviceModel model(device, weights, cuda::Storage::float32);
    Request r = random_request(dice, config);
    CHECK(all_agree(run(Models(weights), r, kNothing), run(model, r, kNothing), i));
    if (i % 4 > 0) continue;
    r.scoring = true;
    r.prefixes.clear();
    for (size_t s = 0; s < r.sources.size(); ++s)
      r.targets.push_back(random_ids(dice, dice.below(static_cast<int>(config.positions) + 2), 16));
    CHECK(all_agree(run(Models(weights), r, kNothing), run(model, r, kNothing), i));
  }
}

TEST(device_int8_is_near_float32) {
  const auto device = std::make_shared<HostDevice>();
  ModelConfig config = fixed_model().first;
  config.hidden = 48;
  const Weights weights = random_weights(config, 0.1f);
  Request r = fixed_request(kSentences);
  r.scoring = true;
  for (const auto& source : r.sources) r.targets.push_back(source);
  const auto truth = run(Models(weights), r, kNothing);
  const auto found = run(DeviceModel(device, weights, cuda::Storage::float16, true), r, kNothing);
  double worst = 0, least = INFINITY;
  for (size_t i = 0; i < truth.size(); ++i) {
    const double difference = gap(truth[i].hypotheses[0].log_probs, found[i].hypotheses[0].log_probs);
    worst = std::max(worst, difference);
    least = std::min(least, difference);
  }
  CHECK(worst < 0.1 && least > 0);
}

TEST(device_numbers_that_are_not_finite_concern_their_own_sentence) {
  const auto device = std::make_shared<HostDevice>();
  ModelConfig config = fixed_model().first;
  config.share_embeddings = false;
  Weights weights = random_weights(config);
  const Request r = fixed_request(kSentences);
  const auto truth = run(DeviceModel(device, weights, cuda::Storage::float32), r, kNothing);
  weights.source_embedding[7 * config.hidden] = NAN;
  const auto found = run(DeviceModel(device, weights, cuda::Storage::float32), r, kNothing);
  int damaged = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const bool hurt = std::count(r.sources[i].begin(), r.sources[i].end(), 7) > 0;
    damaged += hurt;
    CHECK(hurt ? found[i].status == Status::not_finite && found[i].hypotheses.empty() : agree(truth[i], found[i], 0));
  }
  CHECK(damaged > 0 && damaged < static_cast<int>(found.size()));
}

TEST(device_names_what_it_does_not_have) {
  const auto device = std::make_shared<HostDevice>();
  const DeviceModel model(device, fixed_model().second, cuda::Storage::float32);
  const auto refused = [&](const char* what, auto change) {
    Request r = fixed_request(1);
    change(r);
    CHECK_THROWS(run(model, r, kNothing), std::string(what) + ": not there on a device yet");
  };
  refused("top_k above 128", [](Request& r) { r.options.sample = true, r.options.top_k = 129; });
  refused("coverage_penalty", [](Request& r) { r.options.coverage_penalty = 0.1; });
  refused("repetition_penalty", [](Request& r) { r.options.repetition_penalty = 1.1f; });
  refused("no_repeat_ngram_size", [](Request& r) { r.options.no_repeat_ngram_size = 2; });
  refused("neighbours", [](Request& r) { r.neighbours = [](const float*, int64_t) { return Neighbours(); }; });
  refused("beam_size above 64", [](Request& r) { r.options.beam_size = 65; });
  refused("hidden_states", [](Request& r) { r.hidden_states = true; });
}

TEST(device_stops_when_a_tick_throws) {
  const auto device = std::make_shared<HostDevice>();
  const DeviceModel model(device, fixed_model().second, cuda::Storage::float32);
  CHECK_THROWS(run(model, fixed_request(kSentences), [](size_t) { throw std::runtime_error("enough"); }), "enough");
  CHECK(run(model, Request{}, kNothing).empty());
}
