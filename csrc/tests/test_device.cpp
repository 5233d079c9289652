// The translator on a device, whole: a device of threads of this processor and the kernels compiled for the host,
// against the CPU engine on random models.
#include <algorithm>
#include <thread>

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
    if (i == 142) r.options.beam_size = 4;  // of three beams the last would go to either of two that tie to a rounding
    CHECK(all_agree(run(Models(weights), r, kNothing), run(model, r, kNothing), i));
    if (i % 4 > 0) continue;
    r.scoring = true;
    r.hidden_states = dice.one_in(2);
    r.prefixes.clear();
    for (size_t s = 0; s < r.sources.size(); ++s)
      r.targets.push_back(random_ids(dice, dice.below(static_cast<int>(config.positions) + 2), 16));
    CHECK(all_agree(run(Models(weights), r, kNothing), run(model, r, kNothing), i));
  }
}

TEST(device_ensembles_agree_with_the_cpus) {
  const auto device = std::make_shared<HostDevice>();
  for (int i = 0; i < std::max(1, kModels / 5); ++i) {
    Dice dice{std::mt19937(static_cast<unsigned>(1000 + i))};
    const ModelConfig first = random_config(dice);
    std::vector<Weights> weights;
    for (int m = dice.from(2, 3); m > 0; --m) {
      ModelConfig config = weights.empty() ? first : random_config(dice);
      config.source_vocab = config.target_vocab = first.target_vocab;
      config.excluded = first.excluded;
      weights.push_back(random_weights(config, 0.1f * static_cast<float>(m) + 0.3f));
    }
    std::vector<DeviceModel> on_device;
    std::vector<const Weights*> members;
    std::vector<const DeviceModel*> there;
    for (const Weights& each : weights) on_device.emplace_back(device, each, cuda::Storage::float32);
    for (size_t m = 0; m < weights.size(); ++m) members.push_back(&weights[m]), there.push_back(&on_device[m]);
    const std::vector<float> shares = weights.size() == 2 ? std::vector{0.7f, 0.3f} : std::vector{0.5f, 0.3f, 0.2f};
    const bool geometric = dice.one_in(2);
    Request r = random_request(dice, first);
    CHECK(all_agree(run(Models(members, shares, geometric), r, kNothing),
                    run(DeviceModels(there, shares, geometric), r, kNothing), i));
  }
}

TEST(device_int8_is_near_float32) {
  const auto device = std::make_shared<HostDevice>();
  ModelConfig config = fixed_model().first;
  config.hidden = 48;
  const Weights weights = random_weights(config, 0.1f);
  Request r = fixed_request(kSentences);
  r.scoring = true;
  r.hidden_states = true;
  for (const auto& source : r.sources) r.targets.push_back(source);
  const auto truth = run(Models(weights), r, kNothing);
  const auto found = run(DeviceModel(device, weights, cuda::Storage::float16, true), r, kNothing);
  double worst = 0, least = INFINITY;
  for (size_t i = 0; i < truth.size(); ++i) {
    const double difference = gap(truth[i].hypotheses[0].log_probs, found[i].hypotheses[0].log_probs);
    CHECK(gap(truth[i].hypotheses[0].states, found[i].hypotheses[0].states) < 0.5);
    worst = std::max(worst, difference);
    least = std::min(least, difference);
  }
  CHECK(worst < 0.1 && least > 0);
}

// An int8 product has idle rows behind the few of a small step; the bits are those of a large one.
TEST(device_int8_has_the_same_bits_for_a_few_rows) {
  const auto device = std::make_shared<HostDevice>();
  const DeviceModel model(device, random_weights(fixed_model().first), cuda::Storage::float16, true);
  Request r = fixed_request(kSentences);
  r.soft_labels = 3;
  const auto truth = run(model, r, kNothing);
  for (int i = 0; i < 3; ++i) {
    Request alone = r;
    alone.sources = {r.sources[i]};
    CHECK(identical(run(model, alone, kNothing), {truth[i]}));
  }
  check_company_slots_and_order(model, r);
}

TEST(device_refuses_int8_of_matrices_that_cublaslt_does_not_take) {
  const auto device = std::make_shared<HostDevice>();
  ModelConfig config = fixed_model().first;
  config.decoder_ffn = 42;
  CHECK_THROWS(DeviceModel(device, random_weights(config), cuda::Storage::float16, true),
               "int8 with a matrix of 42 outputs and 24 inputs, not multiples of 4: not there on a device yet");
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
  refused("soft_labels with more than 1024 ids that are banned, penalised or neighbours'", [](Request& r) {
    r.soft_labels = 1;
    r.options.no_repeat_ngram_size = 2;
    r.options.banned.assign(1020, 52);
  });
  refused("more than 128 neighbours of a row", [](Request& r) {
    r.neighbours = [](const float*, int64_t rows) {
      return Neighbours{129, std::vector<int32_t>(rows * 129), std::vector<float>(rows * 129),
                        std::vector<float>(rows)};
    };
  });
  refused("beam_size above 64", [](Request& r) { r.options.beam_size = 65; });
  ModelConfig longest = fixed_model().first;
  longest.positions = 12289;
  const DeviceModel large(device, random_weights(longest), cuda::Storage::float32);
  Request r = fixed_request(1);
  r.options.max_length = 12289;
  r.options.no_repeat_ngram_size = 2;
  CHECK_THROWS(run(large, r, kNothing), "no_repeat_ngram_size over more than 12288 positions");
}

TEST(device_serves_two_threads_in_turn) {
  const auto device = std::make_shared<HostDevice>();
  const Weights weights = fixed_model().second;
  const Request r = fixed_request(kSentences);
  const auto truth = run(DeviceModel(device, weights, cuda::Storage::float32), r, kNothing);
  const DeviceModel model(device, weights, cuda::Storage::float32);
  std::vector<Output> found[2];
  std::vector<std::thread> threads;
  for (auto& outputs : found) threads.emplace_back([&] { outputs = run(model, r, kNothing); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& outputs : found) CHECK(identical(outputs, truth));
  CHECK(!device->shared);
  std::vector<Output> within;  // a callback of a run has its turn already
  run(model, r, [&](size_t) {
    if (within.empty()) within = run(model, r, kNothing);
  });
  CHECK(identical(within, truth));
}

TEST(device_stops_when_a_tick_throws) {
  const auto device = std::make_shared<HostDevice>();
  const DeviceModel model(device, fixed_model().second, cuda::Storage::float32);
  CHECK_THROWS(run(model, fixed_request(kSentences), [](size_t) { throw std::runtime_error("enough"); }), "enough");
  CHECK(run(model, Request{}, kNothing).empty());
}
