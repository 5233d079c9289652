// One model, or several of one vocabulary that decode as one, on a device (engine/ensemble.h): each has its encoder,
// its decoder and its keys and values; slots, pages and places are common. The mean of several is made of whole rows of
// logits, by kernels/mix_teachers.cu.
#pragma once
#include <vector>

#include "device/decoder.h"
#include "device/encoder.h"
#include "engine/ensemble.h"

namespace distilmt {

using DeviceModels = ModelsOf<DeviceModel>;

class DeviceEnsemble {
 public:
  DeviceEnsemble(const DeviceModels& models, const DeviceShape& shape, Memory& memory);

  // Once, before the first step. `memory` has to have been the device itself.
  void upload();
  // Queues an encoder pass. `pass` has to stay as it is until that is done.
  void encode(const EncoderPass& pass);
  // Queues the layers of a step and the mean, for the slots.launched first of slots.live.
  void step(const cuda::Slots& slots, const int32_t* source_length);

  // [rows, stride] float32 after that; bias [vocab] has still to be added, where it is not null.
  const float* logits() const { return several() ? mixed_.get() : members_[0].decoder.logits(); }
  const float* bias() const { return several() ? nullptr : first().projection.bias.get(); }
  int64_t stride() const { return first().projection.n; }
  // Of the first model.
  const DeviceModel& first() const { return *models_.members[0]; }
  const DeviceDecoder& decoder() const { return members_[0].decoder; }

 private:
  struct Member {
    DeviceEncoder encoder;
    DeviceDecoder decoder;
    Stored source;               // [layers, places, source positions, key | value, hidden]
    DeviceArray<float> weights;  // [rows] of the mean
  };
  bool several() const { return members_.size() > 1; }

  const DeviceModels& models_;
  const DeviceShape shape_;
  std::vector<Member> members_;
  DeviceArray<float> mixed_;  // [rows, stride], where there are several models
};

}  // namespace distilmt
