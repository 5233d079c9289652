// The decoder on a device: the layers of one step, for the slots that admission has listed, up to their logits.
#pragma once
#include "device/stack.h"

namespace distilmt {

// What the memory of a search is made for.
struct DeviceShape {
  int slots = 1;             // sentences searched at a time
  int beams = 1;             // rows of each
  int places = 1;            // sentences encoded: searched, ready, and finished but not yet read
  int positions = 1;         // target tokens of a sentence at most
  int source_positions = 1;  // source tokens of a sentence at most
  int tokens = 1;            // of an encoder pass at most; no less than source_positions
  int pages = 1;             // of 16 positions, for all slots; at least those of one
  bool attention = false;    // keep that of the last layer

  int pages_per_slot() const { return static_cast<int>((positions + cuda::kPage - 1) / cuda::kPage); }
};

class DeviceDecoder {
 public:
  DeviceDecoder(const DeviceModel& model, const DeviceShape& shape, Memory& memory);

  // Queues the layers, for the slots.launched first of slots.live. source: as DeviceEncoder::queue fills it.
  void queue(const cuda::Slots& slots, const int32_t* source_length, const Stored& source);

  // [rows, stride] float32 after that, without the bias of the projection.
  const float* logits() const { return logits_.get(); }
  int64_t stride() const { return model_.projection.n; }
  // [rows, hidden] stored, what the projection reads.
  const void* states() const { return stack_.input(); }
  // [rows, heads, source_positions] after that, of the last layer to the source; null: the shape does not ask for it.
  const float* attention() const { return attention_.get(); }

 private:
  const DeviceModel& model_;
  const DeviceShape shape_;
  ResidualStack stack_;
  Stored own_;  // [layers, pages, 16 positions, beams, key | value, hidden]
  Stored query_key_value_, query_, context_, given_, inner_;
  DeviceArray<float> logits_, attention_;
};

}  // namespace distilmt
