// The device's attention, on the host, against the CPU's, with beams that change and pages in any order.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "cuda/attention.h"
#include "kernels/attention.h"
#include "tests/kernels.h"
#include "tests/stored.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

namespace {

struct Shape {
  int64_t d, heads;
};
const std::vector<Shape> kShapes =
    kEase > 1 ? std::vector<Shape>{{24, 3}, {10, 2}} : std::vector<Shape>{{24, 3}, {10, 2}, {128, 1}, {96, 2}};

double tolerance(Storage storage) { return 4 * rounding(storage) + 2e-6; }

}  // namespace

TEST(cuda_packed_attention_is_the_cpus) {
  const std::vector<int32_t> begin = {0, 5, 5, 6, 76, 76};  // lengths 5, 0, 1, 70, 0; two rows of nobody behind them
  const int64_t tokens = 78;
  for (const Shape& s : kShapes)
    for (Storage storage : kStorages) {
      Stored qkv(storage, normal(tokens * 3 * s.d, 1)), out(storage, tokens * s.d);
      const cuda::PackedAttention a{storage, qkv.data(), begin.data(), 5, 70, s.d, s.heads, out.data()};
      CHECK(distilmt_cuda_packed_attention(&a, nullptr) == 0);
      const auto stored = qkv.numbers(), got = out.numbers();
      for (size_t i = 0; i + 1 < begin.size(); ++i) {
        const int64_t length = begin[i + 1] - begin[i], first = begin[i];
        std::vector<float> expected(length * s.d);
        if (length > 0) attend_sentence(&stored[first * 3 * s.d], length, s.d, s.heads, expected.data());
        for (int64_t c = 0; c < length * s.d; ++c) CHECK_NEAR(got[first * s.d + c], expected[c], tolerance(storage));
      }
      for (int64_t c = 76 * s.d; c < tokens * s.d; ++c) CHECK(std::isnan(got[c]));
    }
}

TEST(cuda_source_is_kept_and_attended_to) {
  const int64_t places = 4, layers = 2, positions = 40, launched = 3;
  const std::vector<int32_t> lengths = {0, 33, 5, 0}, live = {1, -1, 0}, place = {2, 1};  // slots 0, 1
  std::vector<int32_t> places_of, at;
  for (int32_t p : {2, 1})  // a gap between the two
    for (int32_t t = -1; t < lengths[p]; ++t) {
      places_of.push_back(t < 0 ? -1 : p);
      at.push_back(t);
    }
  const int64_t tokens = places_of.size();
  for (int64_t beams : {1, 5, 18})
    for (const Shape& s : kShapes)
      for (Storage storage : kStorages) {
        Stored wide(storage, normal(tokens * layers * 2 * s.d, 2)),
            kept(storage, layers * places * positions * 2 * s.d);
        const cuda::SourceKeeping keep{storage, wide.data(), places_of.data(), at.data(), tokens,
                                       layers,  places,      positions,        s.d,       kept.data()};
        CHECK(distilmt_cuda_keep_source(&keep, nullptr) == 0);
        Stored q(storage, normal(launched * beams * s.d, 3)), out(storage, launched * beams * s.d);
        cuda::Slots slots{};
        slots.slots = 2;
        slots.beams = beams;
        slots.launched = launched;
        slots.live = const_cast<int32_t*>(live.data());
        slots.place = const_cast<int32_t*>(place.data());
        const int64_t layer = 1, of_layer = places * positions * 2 * s.d;
        std::vector<float> weights(launched * beams * s.heads * positions);
        const cuda::SourceAttention a{
            storage,    q.data(),
            slots,      lengths.data(),
            positions,  s.d,
            s.heads,    static_cast<char*>(kept.data()) + layer * of_layer * cuda::bytes(storage),
            out.data(), weights.data()};
        CHECK(distilmt_cuda_source_attention(&a, nullptr) == 0);
        const auto stored = wide.numbers(), queries = q.numbers(), got = out.numbers();
        std::vector<float> expected(launched * beams * s.d), mean(beams * positions);
        for (int64_t i : {0, 2}) {
          const int32_t p = place[live[i]];
          const int64_t token = p == 2 ? 1 : 7;  // the first of its sentence
          const float* keys = &stored[(token * layers + layer) * 2 * s.d];
          attend_cross(&queries[i * beams * s.d], beams, s.d, keys, keys + s.d, layers * 2 * s.d, lengths[p], s.d,
                       s.heads, &expected[i * beams * s.d], s.d, mean.data(), positions);
          for (int64_t b = 0; b < beams; ++b)
            for (int32_t t = 0; t < lengths[p]; ++t) {
              float sum = 0;
              for (int64_t h = 0; h < s.heads; ++h) sum += weights[((i * beams + b) * s.heads + h) * positions + t];
              CHECK_NEAR(sum / s.heads, mean[b * positions + t], 2e-6);
            }
        }
        for (size_t c = 0; c < got.size(); ++c) CHECK_NEAR(got[c], expected[c], tolerance(storage));
      }
}

// A slot at every position up to 40, its beams reordered at random on the way, beside one that is free; pages in
// falling order.
TEST(cuda_own_attention_follows_beams_through_pages) {
  const int64_t beams = 3, positions = kEase > 1 ? 18 : 41, per_slot = 3, pages = 7;
  for (const Shape& s : kShapes)
    for (Storage storage : kStorages) {
      std::mt19937 random(4);
      std::vector<int32_t> live = {1, -1}, position = {-1, 0}, table = {-1, -1, -1, 6, 3, 1};
      std::vector<uint8_t> ancestors(2 * 2 * positions * beams, 200);
      cuda::Slots slots{};
      slots.slots = slots.launched = 2;
      slots.beams = beams;
      slots.positions = positions;
      slots.pages_per_slot = per_slot;
      slots.live = live.data();
      slots.position = position.data();
      slots.pages = table.data();
      slots.ancestors = ancestors.data();
      Stored own(storage, pages * cuda::kPage * beams * 2 * s.d), out(storage, 2 * beams * s.d);
      std::vector<std::vector<float>> steps;  // what each wrote
      std::vector<std::vector<int>> paths(beams);
      for (int p = 0; p < positions; ++p) {
        position[1] = p;
        Stored qkv(storage, normal(2 * beams * 3 * s.d, 100 + p));
        steps.push_back(qkv.numbers());
        const cuda::OwnAttention a{storage, qkv.data(), slots, s.d, s.heads, own.data(), out.data()};
        CHECK(distilmt_cuda_own_attention(&a, nullptr) == 0);
        const auto got = out.numbers();
        for (int b = 0; b < beams; ++b) {
          paths[b].push_back(b);
          std::vector<const float*> keys, values;
          for (int t = 0; t <= p; ++t) {
            keys.push_back(&steps[t][(paths[b][t] * 3 + 1) * s.d]);
            values.push_back(keys.back() + s.d);
          }
          std::vector<float> expected(s.d);
          attend_rows(&steps[p][b * 3 * s.d], keys.data(), values.data(), p + 1, s.d, s.heads, expected.data());
          for (int64_t c = 0; c < s.d; ++c) CHECK_NEAR(got[b * s.d + c], expected[c], tolerance(storage));
        }
        for (int64_t c = beams * s.d; c < 2 * beams * s.d; ++c) CHECK(got[c] == 0);
        std::vector<std::vector<int>> next;
        for (int b = 0; b < beams; ++b) next.push_back(paths[random() % beams]);
        paths = next;
        for (int t = 0; t <= p; ++t)
          for (int b = 0; b < beams; ++b) ancestors[(((p + 1) % 2 * 2 + 1) * positions + t) * beams + b] = paths[b][t];
      }
    }
}
