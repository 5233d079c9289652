// What may not change what a device says: company, slots, order, memory.
#include <algorithm>

#include "device/translator.h"
#include "tests/device_models.h"
#include "tests/host_device.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

TEST(device_results_do_not_depend_on_company_slots_memory_or_order) {
  const auto [config, weights] = fixed_model();
  for (const auto storage : {cuda::Storage::float32, cuda::Storage::float16, cuda::Storage::bfloat16}) {
    const auto device = std::make_shared<HostDevice>();
    const DeviceModel one(device, weights, storage), two(device, random_weights(config, 0.4f), storage);
    const DeviceModels model({&one, &two}, {0.7f, 0.3f}, false);
    Request r = fixed_request(kSentences);
    r.options.repetition_penalty = 1.3f;
    r.options.no_repeat_ngram_size = 2;
    r.options.coverage_penalty = 0.2;
    r.options.renormalize = true;
    Dice dice{std::mt19937(4)};
    if (storage == cuda::Storage::bfloat16) r.neighbours = random_neighbours(dice, config);
    check_company_slots_and_order(model, r);
  }
}

TEST(device_captures_one_graph_per_shape_and_serves_the_tail_with_smaller_ones) {
  const auto device = std::make_shared<HostDevice>();
  const auto [config, weights] = fixed_model();
  const DeviceModel model(device, weights, cuda::Storage::float32);
  Request r = fixed_request(kSentences);
  r.slots = 4;
  run(model, r, kNothing);
  CHECK(device->captures >= 2 && device->captures <= 3);  // 4, 2 and 1 slots
  CHECK(device->launches > device->captures && device->graphs() == 0);
  const int before = device->captures;
  r.slots = 7;
  run(model, r, kNothing);
  CHECK(device->captures - before >= 3);  // 7, 4, 2 and 1 slots
}

TEST(device_with_little_memory_has_fewer_pages_then_fewer_slots) {
  const auto [config, weights] = fixed_model();
  const Request r = fixed_request(kSentences);
  const auto plenty = std::make_shared<HostDevice>();
  const auto truth = run(DeviceModel(plenty, weights, cuda::Storage::float32), r, kNothing);
  const auto device = std::make_shared<HostDevice>();
  const DeviceModel model(device, weights, cuda::Storage::float32);
  std::vector<int64_t> peaks;
  for (double share : {2.0, 0.6, 0.4, 0.2, 1e-5}) {
    device->says_free = static_cast<int64_t>(share * static_cast<double>(plenty->peak));
    device->peak = 0;
    CHECK(identical(run(model, r, kNothing), truth));
    peaks.push_back(device->peak);
  }
  CHECK(std::is_sorted(peaks.rbegin(), peaks.rend()));
  peaks.erase(std::unique(peaks.begin(), peaks.end()), peaks.end());
  CHECK(peaks.size() >= 4);
}

// What the device said was free is not: allocation fails, and half the slots are tried.
TEST(device_out_of_memory_goes_on_with_half_the_slots) {
  const auto [config, weights] = fixed_model();
  const Request r = fixed_request(kSentences);
  const auto plenty = std::make_shared<HostDevice>();
  const auto truth = run(DeviceModel(plenty, weights, cuda::Storage::float32), r, kNothing);
  const auto device = std::make_shared<HostDevice>(plenty->peak / 2);
  const DeviceModel model(device, weights, cuda::Storage::float32);
  device->says_free = int64_t{1} << 40;
  CHECK(identical(run(model, r, kNothing), truth));
  CHECK(device->refusals > 0);
}
