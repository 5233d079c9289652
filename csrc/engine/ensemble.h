// One model, or several of one vocabulary that decode as one: at every step their distributions are averaged, and the
// search goes on with the mean.
//
//   arithmetic: p = sum_m w_m p_m        geometric: log p = sum_m w_m log p_m - log Z
//
// Every model has its own encoder and decoder states. A mean needs whole rows of all models, so it is made of
// kMixedRows rows at a time: two buffers [kMixedRows, vocab] of floats, each model's projection read once per so many
// rows (a single model's: once per step), and one pass for each mixing. Source: the means are those of
// kernels/mix_teachers.h.
#pragma once
#include <algorithm>
#include <atomic>
#include <vector>

#include "common/platform.h"
#include "engine/decoder.h"
#include "engine/encoder.h"
#include "kernels/project.h"

namespace distilmt {

template <class Model>
struct ModelsOf {
  ModelsOf(const Model& one) : members{&one}, shares{1.0f} {}
  ModelsOf(std::vector<const Model*> members, std::vector<float> shares, bool geometric)
      : members(std::move(members)), shares(std::move(shares)), geometric(geometric) {
    for (const Model* member : this->members)
      require(member && member->config.source_vocab == this->members[0]->config.source_vocab &&
                  member->config.target_vocab == this->members[0]->config.target_vocab,
              "models must have equal vocabularies");
    require(!this->members.empty() && this->shares.size() == this->members.size(), "one share per model");
  }

  std::vector<const Model*> members;  // at least one, of equal vocabularies
  std::vector<float> shares;          // w_m, adding up to 1
  bool geometric = false;

  // Of the shortest model.
  int64_t positions() const {
    const auto shorter = [](const Model* a, const Model* b) { return a->config.positions < b->config.positions; };
    return (*std::min_element(members.begin(), members.end(), shorter))->config.positions;
  }
  int64_t vocab() const { return members[0]->config.target_vocab; }
};

using Models = ModelsOf<Weights>;

class Ensemble {
 public:
  Ensemble(const Models& models, const DecoderShape& shape, const std::atomic<bool>& stop);
  static int64_t bytes(const Models& models, const DecoderShape& shape);

  // Encodes sentences (Encoder::encode) and puts each into its place (Decoder::enter).
  void enter(const std::vector<int32_t>& ids, const std::vector<int>& lengths, const std::vector<int>& places);
  void step(const std::vector<DecoderInput>& inputs);

  // Of the last step's rows. `p` comes without hidden, ldh and w.
  void project(Projection p);
  // All logits [vocab] of one row, bit for bit as they were projected.
  void logits(int64_t row, float* out);

  // Of the first model: its states of the last step [rows, hidden], and Decoder::attention.
  const float* hidden() const { return members_[0].hidden; }
  const float* attention(int64_t row) const { return members_[0].decoder.attention(row); }

 private:
  struct Member {
    const Weights& weights;
    Encoder encoder;
    Decoder decoder;
    const float* hidden;
  };
  void mix(int64_t first, int64_t rows);

  const Models& models_;
  std::vector<Member> members_;
  Aligned<float> logits_, mixed_;  // [kMixedRows, vocab], where there are several models
  std::vector<float> shares_;      // [kMixedRows] of the member at hand
};

}  // namespace distilmt
