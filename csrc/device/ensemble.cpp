#include "device/ensemble.h"

namespace distilmt {

DeviceEnsemble::DeviceEnsemble(const DeviceModels& models, const DeviceShape& shape, Memory& memory)
    : models_(models), shape_(shape) {
  const int64_t rows = int64_t{shape.slots} * shape.beams;
  members_.reserve(models.members.size());
  for (const DeviceModel* model : models.members) {
    const ModelConfig& c = model->config;
    members_.push_back({DeviceEncoder(*model, memory, shape.tokens),
                        DeviceDecoder(*model, shape, memory),
                        Stored(memory, c.decoder_layers * shape.places * shape.source_positions * 2 * c.hidden *
                                           cuda::bytes(model->storage)),
                        {}});
    if (models.members.size() > 1) members_.back().weights = DeviceArray<float>(memory, rows);
  }
  if (several()) mixed_ = DeviceArray<float>(memory, rows * stride());
}

void DeviceEnsemble::upload() {
  for (size_t m = 0; several() && m < members_.size(); ++m) {
    const std::vector<float> shares(members_[m].weights.count(), models_.shares[m]);
    first().device->upload(members_[m].weights.get(), shares.data(), members_[m].weights.count() * 4);
  }
}

void DeviceEnsemble::encode(const EncoderPass& pass) {
  pass.send(*first().device);
  for (Member& member : members_) member.encoder.queue(pass, member.source, shape_.places, shape_.source_positions);
}

void DeviceEnsemble::step(const cuda::Slots& slots, const int32_t* source_length) {
  for (Member& member : members_) {
    member.decoder.queue(slots, source_length, member.source);
    if (!several()) return;
    const size_t m = &member - members_.data();
    const MixedRows<float> mixing{member.decoder.logits(),
                                  models_.members[m]->projection.bias.get(),
                                  member.weights.get(),
                                  mixed_.get(),
                                  int64_t{slots.launched} * slots.beams,
                                  models_.vocab(),
                                  stride(),
                                  models_.geometric,
                                  m == 0};
    first().device->start(Queue::decode, first().device->kernels().mix_teachers, mixing);
  }
}

}  // namespace distilmt
