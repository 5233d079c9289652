// The encoder on a device: sentences packed behind each other, their keys and values for the decoder left in their
// places.
#pragma once
#include "device/stack.h"

namespace distilmt {

// One pass: written in mapped memory, and copied to the device whole, whose threads read it many times.
class EncoderPass {
 public:
  // capacity: tokens, and so sentences, at most.
  EncoderPass(Memory& memory, int64_t capacity);
  void clear() { tokens = sentences = 0; }
  void add(int place, const int* source, int length);
  // Queues the copy in front of the pass.
  void send(Device& device) const;

  int64_t tokens = 0, sentences = 0;
  int longest = 0;
  struct Fields {
    int32_t *ids, *at, *place;  // [tokens]
    int32_t* begin;             // [sentences + 1]
  };
  // On the device, once sent.
  Fields fields() const { return fields(sent_); }

 private:
  Fields fields(const DeviceArray<int32_t>& values) const {
    int32_t* const first = values.get();
    return {first, first + capacity_, first + 2 * capacity_, first + 3 * capacity_};
  }

  int64_t capacity_;
  DeviceArray<int32_t> written_, sent_;
};

class DeviceEncoder {
 public:
  DeviceEncoder(const DeviceModel& model, Memory& memory, int64_t capacity);

  // Queues a pass that was sent; `source` [layers, places, source_positions, key | value, hidden] stored. `pass` has to
  // stay as it is until that is done.
  void queue(const EncoderPass& pass, Stored& source, int places, int source_positions);

 private:
  const DeviceModel& model_;
  ResidualStack stack_;
  DeviceArray<int32_t> table_;  // for cuDNN: cuda::SentenceTable
  Stored query_key_value_, context_, given_, inner_, key_value_;
};

}  // namespace distilmt
