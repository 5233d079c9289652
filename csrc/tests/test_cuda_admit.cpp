// Admission on the host: slots filled in the order of the ring, pages given and taken back, nobody waits for ever.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include "tests/slot_arrays.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

namespace {

struct Pool : SlotArrays {
  Pool(int slots, int per_slot, int pages, int places)
      : SlotArrays({slots, 2, per_slot * 16, places, 1, 3, pages, 0}), admitting(admission(77)) {}
  void admit() { CHECK(distilmt_cuda_admit(&admitting, nullptr) == 0); }

  const cuda::Admission admitting;
};

}  // namespace

TEST(cuda_admit_starts_the_ready_in_their_order) {
  Pool pool(3, 2, 6, 4);
  pool.head = pool.tail = 0xfffffffe;  // the ring's count runs over
  pool.ready = {9, 1, 2, 3};
  pool.tail += 2;  // entries 2 and 3
  pool.admit();
  CHECK(pool.head == 0 && pool.live_count == 2 && pool.free_count == 4);
  CHECK((pool.live == std::vector<int32_t>{0, 1, -1}) && (pool.position == std::vector<int32_t>{0, 0, -1}));
  CHECK(pool.place[0] == 2 && pool.place[1] == 3);
  CHECK((pool.tokens == std::vector<int32_t>{77, 77, 77, 77, -1, -1}));
  CHECK((pool.scores[0] == 0 && pool.scores[1] == kDead && pool.scores[2] == 0 && std::isnan(pool.scores[4])));
  CHECK(pool.can_improve[1] == 1 && pool.kept[5].score == kDead && !pool.kept[5].finished);
  // One leaves; of the two that are ready, in a slot each, one takes its place.
  pool.position = {-1, 15, -1};
  pool.tail += 2;
  pool.admit();
  CHECK((pool.position == std::vector<int32_t>{0, 15, 0}) && pool.place[0] == 9 && pool.place[2] == 1);
  CHECK(pool.live_count == 3 && pool.free_count == 3);
  pool.tail += 1;  // nobody is free
  pool.admit();
  CHECK(pool.head + 1 == pool.tail && pool.free_count == 3);
}

// 300 sentences of random lengths through 70 slots and fewer pages than those want: pages are nobody's or one slot's,
// and all come to their end.
TEST(cuda_admit_shares_scarce_pages_without_deadlock) {
  const int slots = 70, per_slot = 4, sentences = kEase > 1 ? 80 : 300;
  for (int pages : {per_slot, 90}) {
    Pool pool(slots, per_slot, pages, sentences);
    std::iota(pool.ready.begin(), pool.ready.end(), 0);
    pool.tail = sentences;
    std::mt19937 random(5);
    std::vector<int> length(sentences);
    for (int& l : length) l = 1 + random() % (pages == per_slot ? 20 : per_slot * 16);
    std::multiset<int> ended;
    int steps = 0, waited = 0;
    for (; static_cast<int>(ended.size()) < (pages == per_slot ? 5 : sentences) && steps < 3000; ++steps) {
      pool.admit();
      std::set<int> owned(pool.free_pages.begin(), pool.free_pages.begin() + pool.free_count);
      size_t count = pool.free_count;
      int working = 0;
      for (int s = 0; s < slots; ++s) {
        working += pool.position[s] >= 0;
        for (int i = 0; i < pool.held[s]; ++i, ++count) owned.insert(pool.pages[s * per_slot + i]);
      }
      CHECK(owned.size() == count && static_cast<int>(count) == pages);
      CHECK(pool.live_count > 0 && pool.live_count <= working);
      waited += working - pool.live_count;
      CHECK(std::is_sorted(pool.live.begin(), pool.live.begin() + pool.live_count));
      CHECK(std::count(pool.live.begin(), pool.live.end(), -1) == slots - pool.live_count);
      for (int i = 0; i < pool.live_count; ++i) {
        const int s = pool.live[i];
        CHECK(pool.held[s] == pool.position[s] / 16 + 1);
        if (++pool.position[s] < length[pool.place[s]]) continue;
        ended.insert(pool.place[s]);
        pool.position[s] = -1;
      }
    }
    CHECK(steps < 3000 && waited > 0);
    for (int p = 0; pages > per_slot && p < sentences; ++p) CHECK(ended.count(p) == 1);
  }
}
