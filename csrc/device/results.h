// What a device has left of a sentence, as the translator's output.
#pragma once
#include "cuda/slots.h"
#include "engine/plan.h"

namespace distilmt {

// What the decoder is made to read first: a prefix, or the target to be scored.
const std::vector<int>& forced_tokens(const Job& job, size_t index);

// longest: tokens that the search could generate.
void read_result(const cuda::Results& results, int place, const Job& job, size_t index, int longest, Output& output);

}  // namespace distilmt
