// Models of random weights, for tests of whole translators.
#pragma once
#include <random>

#include "engine/weights.h"

namespace distilmt::test {

// A tensor's values follow from its name, whichever thread reads it when.
inline Weights random_weights(const ModelConfig& config, float deviation = 0.5f, int threads = 3) {
  const TensorSource tensors{[&config](const std::string& name) {
                               return name == "model.shared.weight" ||
                                      (!config.share_embeddings && name == "model.decoder.embed_tokens.weight");
                             },
                             [deviation](const std::string& name, const std::vector<int64_t>& shape) {
                               std::seed_seq seed(name.begin(), name.end());
                               std::mt19937 random(seed);
                               std::normal_distribution<float> draw(0.0f, deviation);
                               int64_t count = 1;
                               for (int64_t size : shape) count *= size;
                               std::vector<float> values(count);
                               for (float& value : values) value = draw(random);
                               return values;
                             }};
  return load_weights(config, tensors, threads);
}

}  // namespace distilmt::test
