// Whole decodes with cuDNN's interface in the encoder (cudnn_on_host/cudnn.cpp).
#include <algorithm>

#include "device/encoder.h"
#include "device/tally.h"
#include "device/translator.h"
#include "tests/device_models.h"
#include "tests/host_device.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;
using cuda::Storage;

namespace {

ModelConfig model_for_cudnn() {
  ModelConfig config = fixed_model().first;
  config.hidden = 48;  // heads of 16 columns in the encoder, of 24 in the decoder
  return config;
}

}  // namespace

TEST(device_attends_by_cudnn_as_by_its_own_kernel) {
  const auto device = std::make_shared<HostDevice>();
  const Weights weights = random_weights(model_for_cudnn(), 0.1f);
  Request r = fixed_request(kSentences);
  r.scoring = true;
  for (const auto& source : r.sources) r.targets.push_back(source);
  for (const bool int8 : {false, true}) {
    const auto own = run(DeviceModel(device, weights, Storage::float16, int8), r, kNothing);
    const auto found = run(DeviceModel(device, weights, Storage::float16, int8, true), r, kNothing);
    for (size_t i = 0; i < own.size(); ++i)
      CHECK(gap(own[i].hypotheses[0].log_probs, found[i].hypotheses[0].log_probs) < 0.02);
    CHECK(device->plans() == 1);  // whatever the passes hold
  }
}

TEST(device_results_by_cudnn_do_not_depend_on_company_slots_or_order) {
  const auto device = std::make_shared<HostDevice>();
  const Weights weights = random_weights(model_for_cudnn());
  const DeviceModel model(device, weights, Storage::bfloat16, false, true);
  check_company_slots_and_order(model, fixed_request(kSentences));
}

TEST(device_refuses_more_tokens_than_cudnn_counts) {
  const auto device = std::make_shared<HostDevice>();
  const Weights weights = random_weights(model_for_cudnn());
  const DeviceModel model(device, weights, Storage::float16, false, true);
  Tally tally;
  CHECK_THROWS(DeviceEncoder(model, tally, int64_t{1} << 24), "choose attention=\"own\": 16777216 tokens of 144");
  CHECK_THROWS(DeviceModel(device, weights, Storage::float32, false, true), "it takes float16 and bfloat16");
}
