// Random models and requests for the translator on a device, and what it means that two translators agree.
#pragma once
#include <algorithm>
#include <array>
#include <iostream>
#include <random>

#include "device/translator.h"
#include "engine/scheduler.h"
#include "tests/random_model.h"
#include "tests/test.h"

namespace distilmt::test {

// Sanitizers see a thread of the machine for each CUDA thread, which takes its time.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kModels = 1;
#else
constexpr int kModels = 200;
#endif

inline const auto kNothing = [](size_t) {};

struct Dice {
  std::mt19937 random;
  int below(int n) { return static_cast<int>(random() % n); }
  int from(int low, int high) { return low + below(high - low + 1); }
  bool one_in(int n) { return below(n) == 0; }
};

inline ModelConfig random_config(Dice& dice) {
  ModelConfig c;
  c.source_vocab = c.target_vocab = dice.from(17, 60);
  c.encoder_heads = dice.from(1, 3);
  c.decoder_heads = dice.from(1, 3);
  c.hidden = c.encoder_heads * c.decoder_heads * dice.from(2, 4) * 2;
  c.encoder_layers = dice.from(1, 2);
  c.decoder_layers = dice.from(1, 2);
  c.encoder_ffn = dice.from(8, 40);
  c.decoder_ffn = dice.from(8, 40);
  c.positions = dice.from(12, 40);
  c.activation = std::array{Activation::relu, Activation::gelu, Activation::silu}[dice.below(3)];
  c.pre_norm = dice.one_in(2);
  c.embedding_norm = dice.one_in(2);
  c.scale_embedding = dice.one_in(2);
  c.share_embeddings = !dice.one_in(3);
  c.tie_projection = !dice.one_in(3);
  if (dice.one_in(3)) c.position_table = PositionTable::m2m100;
  if (dice.one_in(4)) c.excluded = {3, 5};
  return c;
}

inline std::vector<int> random_ids(Dice& dice, int length, int vocab) {
  std::vector<int> ids(length);
  for (int& id : ids) id = 1 + dice.below(vocab - 2);
  return ids;
}

// A few words, one of them twice, by weights that follow the state.
inline FindNeighbours random_neighbours(Dice& dice, const ModelConfig& c) {
  const int k = dice.from(1, 6);
  std::vector<int> words = random_ids(dice, k, static_cast<int>(c.target_vocab));
  words.back() = words.front();
  return [words, k, d = c.hidden](const float* hidden, int64_t rows) {
    Neighbours n{k, {}, {}, {}};
    for (int64_t row = 0; row < rows; ++row, hidden += d) {
      for (int j = 0; j < k; ++j) {
        n.ids.push_back(words[j]);
        n.probabilities.push_back((0.6f + 0.3f * std::tanh(hidden[j % d])) / static_cast<float>(k));
      }
      n.lambda.push_back(0.5f + 0.4f * std::tanh(hidden[1]));
    }
    return n;
  };
}

inline Request random_request(Dice& dice, const ModelConfig& c) {
  const int vocab = static_cast<int>(c.target_vocab), longest = static_cast<int>(c.positions);
  Request r;
  for (int i = dice.from(1, 7); i > 0; --i) r.sources.push_back(random_ids(dice, dice.from(1, longest), vocab));
  SearchOptions& o = r.options;
  o.beam_size = dice.from(1, 4);
  o.n_best = dice.from(1, o.beam_size);
  o.max_length = dice.from(2, 24);
  o.min_length = dice.one_in(3) ? dice.below(o.max_length) : 0;
  o.start = vocab - 1;
  o.banned = {vocab - 1};
  o.length_penalty = std::array{1.0, 0.0, 0.6, -0.5}[dice.below(4)];
  o.length_form = dice.one_in(3) ? LengthForm::gnmt : LengthForm::power;
  o.early_stopping =
      std::array{EarlyStopping::no, EarlyStopping::yes, EarlyStopping::never, EarlyStopping::exact}[dice.below(4)];
  if (o.beam_size > 1 && dice.one_in(3)) o.patience = 2;
  if (dice.one_in(4)) o.forced_bos = 7;
  if (dice.one_in(4)) o.forced_eos = 0;
  if (dice.one_in(4)) o.renormalize = true;
  if (dice.one_in(3)) o.repetition_penalty = std::array{1.3f, 0.8f, 2.5f}[dice.below(3)];
  if (dice.one_in(3)) o.coverage_penalty = 0.3;
  if (dice.one_in(3)) o.no_repeat_ngram_size = dice.from(1, 3);
  if (dice.one_in(3)) r.soft_labels = dice.from(1, 5);
  if (dice.one_in(3))
    for (size_t i = 0; i < r.sources.size(); ++i) r.prefixes.push_back(random_ids(dice, dice.below(4), vocab));
  r.slots = dice.from(1, 4);
  if (dice.one_in(4)) r.neighbours = random_neighbours(dice, c);
  if (dice.one_in(4)) {  // among the best, where device and CPU draw alike
    o.sample = true;
    o.top_k = dice.from(1, 10);
    o.temperature = 0.5f + 0.25f * static_cast<float>(dice.below(5));
    if (dice.one_in(2)) o.top_p = 0.8;
    o.seed = 5;
  }
  return r;
}

inline double gap(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i)
    if (a[i] != b[i]) worst = std::max(worst, std::abs(double(a[i]) - b[i]));
  return worst;
}

// Whether the device says what the CPU says, its numbers to rounding.
inline bool agree(const Output& cpu, const Output& device, double tolerance = 2e-4) {
  if (cpu.status != device.status || cpu.hypotheses.size() != device.hypotheses.size()) return false;
  for (size_t i = 0; i < cpu.hypotheses.size(); ++i) {
    const Hypothesis &a = cpu.hypotheses[i], &b = device.hypotheses[i];
    if (a.ids != b.ids || a.ended != b.ended || std::abs(a.score - b.score) > tolerance) return false;
    if (gap(a.log_probs, b.log_probs) > tolerance || gap(a.states, b.states) > tolerance) return false;
    const SoftLabels &s = a.soft_labels, &t = b.soft_labels;
    if (s.k != t.k || s.ids != t.ids || gap(s.log_probs, t.log_probs) > tolerance) return false;
    if (gap(s.tail_mass, t.tail_mass) > tolerance || gap(s.entropy, t.entropy) > tolerance) return false;
  }
  return true;
}

inline bool all_agree(const std::vector<Output>& cpu, const std::vector<Output>& device, int model) {
  bool all = cpu.size() == device.size();
  for (size_t s = 0; s < cpu.size() && s < device.size(); ++s)
    if (!agree(cpu[s], device[s])) {
      std::cerr << "model " << model << ", sentence " << s << std::endl;
      all = false;
    }
  return all;
}

inline bool identical(const std::vector<Output>& a, const std::vector<Output>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Output& x, const Output& y) { return agree(x, y, 0); });
}

constexpr int kSentences = kModels > 3 ? 16 : 6;

inline std::pair<ModelConfig, Weights> fixed_model() {
  ModelConfig c;
  c.source_vocab = c.target_vocab = 53;
  c.hidden = 24;
  c.encoder_layers = c.decoder_layers = 2;
  c.encoder_heads = 3;
  c.decoder_heads = 2;
  c.encoder_ffn = c.decoder_ffn = 40;
  c.positions = 40;
  return {c, random_weights(c)};
}

inline Request fixed_request(int sentences) {
  Dice dice{std::mt19937(3)};
  Request r;
  for (int i = 0; i < sentences; ++i) r.sources.push_back(random_ids(dice, dice.from(1, 20), 53));
  r.options.beam_size = 3;
  r.options.n_best = 2;
  r.options.max_length = kModels > 3 ? 20 : 6;
  r.options.start = 52;
  r.options.banned = {52};
  return r;
}

inline void check_company_slots_and_order(const DeviceModels& model, Request r) {
  const auto truth = run(model, r, kNothing);
  for (int slots : {1, 3}) {
    r.slots = slots;
    CHECK(identical(run(model, r, kNothing), truth));
  }
  std::reverse(r.sources.begin(), r.sources.end());
  auto turned = run(model, r, kNothing);
  std::reverse(turned.begin(), turned.end());
  CHECK(identical(turned, truth));
}

}  // namespace distilmt::test
