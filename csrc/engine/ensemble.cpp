#include "engine/ensemble.h"

#include <algorithm>

#include "kernels/mix_teachers.h"

namespace distilmt {
namespace {

constexpr int64_t kMixedRows = 32;  // 8 MiB of buffers at 32,000 words

}  // namespace

Ensemble::Ensemble(const Models& models, const DecoderShape& shape, const std::atomic<bool>& stop) : models_(models) {
  for (const Weights* weights : models.members)
    members_.push_back({*weights, Encoder(*weights, encoder_chunk(shape.source_positions), stop),
                        Decoder(*weights, shape, stop), nullptr});
  if (members_.size() == 1) return;
  logits_ = aligned<float>(kMixedRows * models.vocab());
  mixed_ = aligned<float>(kMixedRows * models.vocab());
}

int64_t Ensemble::bytes(const Models& models, const DecoderShape& shape) {
  int64_t sum = 0;
  for (const Weights* weights : models.members) sum += Decoder::bytes(weights->config, shape);
  return sum;
}

void Ensemble::enter(const std::vector<int32_t>& ids, const std::vector<int>& lengths, const std::vector<int>& places) {
  for (Member& member : members_) {
    const float* encoded = member.encoder.encode(ids, lengths);
    for (size_t i = 0; i < places.size(); ++i) {
      member.decoder.enter(places[i], encoded, lengths[i]);
      encoded += lengths[i] * member.weights.config.hidden;
    }
  }
}

void Ensemble::step(const std::vector<DecoderInput>& inputs) {
  for (Member& member : members_) member.hidden = member.decoder.step(inputs);
}

void Ensemble::project(Projection p) {
  if (members_.size() == 1) {
    p.hidden = members_[0].hidden;
    p.ldh = members_[0].weights.config.hidden;
    p.w = &members_[0].weights.projection;
    return distilmt::project(p);
  }
  for (int64_t first = 0; first < p.m; first += kMixedRows) {
    Projection part = p;
    part.m = std::min(kMixedRows, p.m - first);
    mix(first, part.m);
    part.hidden = mixed_.get();
    part.ldh = models_.vocab();
    part.w = nullptr;
    part.aside_begin += first;  // counts from the beginning of all ids set aside, here too
    part.top += first * p.k;
    part.log_sum_exp += first;
    if (p.free_log_sum) part.free_log_sum += first;
    if (p.keys) part.keys += first;
    if (p.drawn) part.drawn += first;
    if (p.spread) part.spread += first;
    distilmt::project(part);
  }
}

// Rows first .. first + rows of the step into mixed_.
void Ensemble::mix(int64_t first, int64_t rows) {
  const int64_t vocab = models_.vocab();
  for (size_t m = 0; m < members_.size(); ++m) {
    const Member& member = members_[m];
    const int64_t d = member.weights.config.hidden;
    gemm(member.hidden + first * d, d, rows, member.weights.projection, Activation::none, nullptr, 0, logits_.get(),
         vocab);
    shares_.assign(rows, models_.shares[m]);
    const MixedRows<float> mixing{logits_.get(), nullptr,          shares_.data(),    mixed_.get(), rows,
                                  vocab,         /*stride=*/vocab, models_.geometric, m == 0};
    mix_teachers(mixing, 0, rows);
  }
}

void Ensemble::logits(int64_t row, float* out) {
  if (members_.size() > 1) {
    mix(row, 1);
    std::copy_n(mixed_.get(), models_.vocab(), out);
    return;
  }
  const Member& only = members_[0];
  const int64_t d = only.weights.config.hidden;
  gemm(only.hidden + row * d, d, 1, only.weights.projection, Activation::none, nullptr, 0, out, models_.vocab());
}

}  // namespace distilmt
