// One block for all slots; contract in slots.h. A thread has a run of neighbouring slots.
#include "cuda/attention.h"
#include "cuda/device.cuh"

namespace distilmt::cuda {
namespace {

struct Shared {
  int counts[kThreads];
  int free, taken, reserve;
};

// The number of marked slots in the runs of the threads before this one, and of all in `total`.
__device__ int before(int marked, int* counts, int& total) {
  __syncthreads();  // what lay in counts has been read
  counts[threadIdx.x] = marked;
  __syncthreads();
  int sum = 0;
  total = 0;
  for (int i = 0; i < static_cast<int>(blockDim.x); ++i) {
    if (i == static_cast<int>(threadIdx.x)) sum = total;
    total += counts[i];
  }
  return sum;
}

__device__ void start(const Admission& a, int slot, uint32_t ticket) {
  const Slots& s = a.slots;
  s.position[slot] = 0;
  s.place[slot] = a.ready[ticket % a.places];
  s.ticket[slot] = ticket;
  s.held[slot] = 0;
  s.can_improve[slot] = 1;
  for (int b = 0; b < s.beams; ++b) {
    s.tokens[slot * s.beams + b] = a.start;
    s.scores[slot * s.beams + b] = b == 0 ? 0 : kDead;  // the beams are alike before the first step
  }
  for (int i = 0; i < s.room; ++i) s.kept[slot * s.room + i] = {kDead, false, 0, {}};
}

__global__ void __launch_bounds__(kThreads) admit_kernel(const Admission a) {
  __shared__ Shared shared;
  const Slots& s = a.slots;
  const int run = (s.slots + blockDim.x - 1) / blockDim.x, first = run * threadIdx.x;
  const int last = first + run < s.slots ? first + run : s.slots;
  if (threadIdx.x == 0) {
    shared.free = *a.free_count;
    shared.taken = shared.reserve = 0;
  }
  __syncthreads();

  // Pages of those that left come back.
  int vacant = 0;
  for (int slot = first; slot < last; ++slot) {
    if (s.position[slot] >= 0) continue;
    ++vacant;
    for (int i = 0; i < s.held[slot]; ++i)
      a.free_pages[atomicAdd(&shared.free, 1)] = s.pages[slot * s.pages_per_slot + i];
    s.held[slot] = 0;
  }

  // Whoever is ready takes a slot.
  int vacancies;
  const uint32_t head = *a.ready_head, ready = *a.ready_tail - head;
  uint32_t mine = before(vacant, shared.counts, vacancies);
  for (int slot = first; slot < last; ++slot)
    if (s.position[slot] < 0 && mine < ready) start(a, slot, head + mine++);

  const uint32_t taken = ready < uint32_t(vacancies) ? ready : vacancies;

  // The one admitted first gets the page it needs, the others those that it cannot come to need.
  int oldest = 0;  // its age; 0: nobody's
  for (int slot = first; slot < last; ++slot)
    if (s.position[slot] >= 0) oldest = max(oldest, static_cast<int>(head + taken - s.ticket[slot]));
  __syncthreads();
  shared.counts[threadIdx.x] = oldest;
  __syncthreads();
  for (int i = 0; i < static_cast<int>(blockDim.x); ++i) oldest = max(oldest, shared.counts[i]);
  const auto needs = [&](int slot) { return s.position[slot] >= 0 && s.position[slot] / kPage >= s.held[slot]; };
  const auto give = [&](int slot, int page) { s.pages[slot * s.pages_per_slot + s.held[slot]++] = a.free_pages[page]; };
  for (int slot = first; slot < last; ++slot) {
    if (s.position[slot] < 0 || static_cast<int>(head + taken - s.ticket[slot]) != oldest) continue;
    if (needs(slot)) give(slot, --shared.free);
    shared.reserve = s.pages_per_slot - s.held[slot];
  }
  __syncthreads();
  const int spare = shared.free - shared.reserve;
  int able = 0;
  for (int slot = first; slot < last; ++slot) {
    if (needs(slot)) {
      const int i = atomicAdd(&shared.taken, 1);
      if (i < spare) give(slot, shared.free - 1 - i);
    }
    able += s.position[slot] >= 0 && !needs(slot);
  }

  int live;
  int at = before(able, shared.counts, live);
  for (int slot = first; slot < last; ++slot)
    if (s.position[slot] >= 0 && !needs(slot)) s.live[at++] = slot;
  for (int i = live + threadIdx.x; i < s.slots; i += blockDim.x) s.live[i] = -1;
  if (threadIdx.x > 0) return;
  *a.ready_head = head + taken;
  *a.free_count = shared.free - min(shared.taken, max(spare, 0));
  *a.live_count = live;
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_admit(const distilmt::cuda::Admission* a, void* stream) {
  return distilmt::launch(distilmt::cuda::admit_kernel, *a, 1, stream);
}
