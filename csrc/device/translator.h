// A back-end of the translator: one device decodes what engine/scheduler.h has workers of the CPU for. The host fills
// places, launches steps ahead of the device, and reads results late; it waits only where it is kAhead steps ahead.
//
// A result depends neither on the other sentences nor on slots, memory or time.
#pragma once
#include <functional>
#include <vector>

#include "device/ensemble.h"
#include "engine/plan.h"

namespace distilmt {

// As `run` of engine/scheduler.h; `threads` has no meaning. slots: sentences searched at a time, at most; where memory
// does not suffice, fewer are, down to one. Throws NotOnDevice, and DeviceError where the device fails.
std::vector<Output> run(const DeviceModels& models, const Request& request, const std::function<void(size_t)>& tick);

}  // namespace distilmt
