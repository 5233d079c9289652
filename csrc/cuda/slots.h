// The sentences in flight, as the device holds them.
//
// A sentence has a place from its encoding until its result is read, and a slot while it is searched, each at a
// position of its own. A step is, on one stream:   admit, embed, the layers, the projection, project_rows, beam (or
// sample) Admission gives free slots to the sentences that are ready and lists who is live; a step launched for fewer
// than all slots serves the first of that list. Who is done leaves in the last kernel of its step.
//
// The step's rows are [live, beams]: rows i * beams ... belong to slot live[i], or to nobody where that is below 0.
#pragma once
#include "cuda/storage.h"
#include "kernels/beam_step.h"

namespace distilmt::cuda {

struct Slots {
  int32_t slots, beams;    // of the arrays
  int32_t launched;        // length of `live` that this launch serves
  int32_t positions;       // of a sentence at most: prefix and generated tokens
  int32_t pages_per_slot;  // ceil(positions / 16)

  int32_t* live;      // [slots] who is live, then -1
  int32_t* position;  // [slots] that the next step reads at; below 0: the slot is free
  int32_t* place;     // [slots]
  uint32_t* ticket;   // [slots] number of its admission
  int32_t* tokens;    // [slots, beams] what each row reads next
  int32_t* pages;     // [slots, pages_per_slot]
  int32_t* held;      // [slots] pages that it holds

  // Half p % 2 is read at position p: entry (slot, t, beam), t < p, is the beam whose keys and values it reads at t.
  uint8_t* ancestors;  // [2, slots, positions, beams]

  // The search's own memory.
  int32_t room;          // round(beams * patience), at least 1
  float* scores;         // [slots, beams] summed, best first
  int32_t* can_improve;  // [slots]
  Node* trellis;         // [slots, positions, beams]
  Kept* kept;            // [slots, room] best first
};

// What the host writes of a sentence before it is ready.
struct Places {
  int32_t places;
  const int32_t* source_length;  // [places]
  const int32_t* limit;          // [places] tokens generated at most
  const int32_t* prefix_begin;   // [places] of prefix_tokens
  const int32_t* prefix_length;  // [places]
  const int32_t* prefix_tokens;
  const uint64_t* key;  // [places] names the sentence for its random numbers (engine/sampler.h); null: no sampling
};

// One block. Pages are taken as positions reach them. Where none is left, a slot is not live until there is; the one
// admitted first always gets its page, so that all come to their end, if the pool has pages_per_slot pages at least.
struct Admission {
  Slots slots;
  int32_t places;
  const int32_t* ready;        // [places] a ring of places: entry i at i % places
  uint32_t* ready_head;        // [1] entries taken, 0 at first
  const uint32_t* ready_tail;  // [1] entries that exist
  int32_t* free_pages;         // [pages], at first all numbers from 0 to pages - 1
  int32_t* free_count;         // [1] of them are free
  int32_t start;               // what a decoder reads first
  int32_t* live_count;         // [1] comes back
};

// What one row held likely at each position, as engine/soft_labels.h.
struct SoftLabelMemory {
  int32_t k = 0;               // ids per row; 0: not asked for
  int32_t* ids = nullptr;      // [..., k] best first
  float* log_probs = nullptr;  // as ids
  float* tail_mass = nullptr;  // [...]
  float* entropy = nullptr;    // as tail_mass
};

// The decoder's states in front of the projection, of forced decoding.
struct StateMemory {
  Storage storage = Storage::float32;
  int64_t d = 0;
  void* states = nullptr;  // [..., d]; null: not asked for
};

enum class Leaving : int32_t { done, nothing_left, not_finite };

// Results, in mapped host memory: those of a place stand until the host gives the place to another sentence. The i-th
// to finish says so at finished[i % places]; entries below *done are complete.
struct Results {
  int32_t places, n_best, positions;
  uint32_t* claimed;        // [1] device memory, 0 at first
  uint32_t* blocks_left;    // [1] device memory, 0 at first
  uint32_t* done;           // [1]
  int32_t* finished;        // [places] a ring
  int32_t* leaving;         // [places] a Leaving
  int32_t* hypotheses;      // [places] number of them, best first; 0 unless done
  float* score;             // [places, n_best]
  int32_t* length;          // [places, n_best] tokens generated, end symbol included
  int32_t* tokens;          // [places, n_best, positions] without the prefix
  float* log_probs;         // as tokens
  SoftLabelMemory soft;     // [places, n_best, positions], the prefix's too
  StateMemory states = {};  // as tokens
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaAdmit(const distilmt::cuda::Admission* admission, void* stream);
DistilmtCudaAdmit distilmt_cuda_admit;
}
