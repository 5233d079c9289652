// The encoder on a device: sentences packed behind each other, their keys and values for the decoder left in their
// places.
#pragma once
#include "device/stack.h"

namespace distilmt {

// One pass, in mapped memory, since the device reads it when it comes to it.
struct EncoderPass {
  // capacity: tokens, and so sentences, at most.
  EncoderPass(Memory& memory, int64_t capacity);
  void clear() { tokens = sentences = 0; }
  void add(int place, const int* source, int length);

  int64_t tokens = 0, sentences = 0;
  int longest = 0;
  DeviceArray<int32_t> ids, at, place;  // [tokens]
  DeviceArray<int32_t> begin;           // [sentences + 1]
};

class DeviceEncoder {
 public:
  DeviceEncoder(const DeviceModel& model, Memory& memory, int64_t capacity);

  // Queues a pass; `source` [layers, places, source_positions, key | value, hidden] stored. `pass` has to stay as it is
  // until that is done.
  void queue(const EncoderPass& pass, Stored& source, int places, int source_positions);

 private:
  const DeviceModel& model_;
  ResidualStack stack_;
  DeviceArray<int32_t> table_;  // for cuDNN: cuda::SentenceTable
  Stored query_key_value_, context_, given_, inner_, key_value_;
};

}  // namespace distilmt
