// The choice of rows by a CUDA block and by a CPU thread, against sorting; and the float32 sum of products.
#include <algorithm>
#include <deque>
#include <memory>

#include "kernels/accumulate.cu"
#include "kernels/choose_rows.cu"
#include "tests/kernels.h"
#include "tests/test.h"

namespace {

using distilmt::ChooseRows;
using distilmt::Score;
using distilmt::test::normal;

void run(const ChooseRows<float>& call, bool block) {
  block ? void(distilmt_choose_rows_float(&call, nullptr)) : distilmt::choose_rows(call);
}
void run(const ChooseRows<double>& call, bool block) {
  block ? void(distilmt_choose_rows_double(&call, nullptr)) : distilmt::choose_rows(call);
}

float sorted_gate(std::vector<float> values, double rate, bool lowest) {
  if (values.empty()) return lowest ? HUGE_VALF : -HUGE_VALF;
  std::sort(values.begin(), values.end());
  if (!lowest) std::reverse(values.begin(), values.end());
  return values[std::max(1.0f, std::ceil(float(values.size() * rate))) - 1];
}

// Rounded, so that there are ties; every fourth row has no target, row 5 a score of NaN, and both ends are infinite.
std::vector<float> some_scores(int64_t rows, unsigned seed) {
  std::vector<float> x = normal(rows, seed);
  for (float& value : x) value = std::round(4 * value) / 4;
  if (rows > 5) x[5] = NAN;
  if (rows > 7) x[6] = -HUGE_VALF, x[7] = HUGE_VALF;
  return x;
}

}  // namespace

TEST(choose_rows_takes_the_gate_that_sorting_gives) {
  for (const bool block : {false, true})
    for (const int64_t rows : {0, 1, 5, 37, 200})
      for (const int64_t size : {0, 7, 64, 1000})  // 0: of the batch
        for (const bool lowest : {false, true})
          for (const double rate : {0.01, 0.3, 1.0}) {
            std::vector<float> queue(size), scores(rows), all;
            std::vector<int64_t> state{0, 0}, targets(rows, 1);
            std::deque<float> last;
            for (unsigned seed = 1; seed <= 3; ++seed) {  // the ring wraps around
              const std::vector<float> x = some_scores(rows, seed);
              all.clear();
              for (int64_t r = 0; r < rows; ++r) {
                if (r % 4 == 3) targets[r] = distilmt::kNoTarget;
                if (r % 4 != 3 && !std::isnan(x[r])) all.push_back(x[r]), last.push_back(x[r]);
              }
              while (int64_t(last.size()) > size) last.pop_front();
              float gate = NAN;
              const auto chosen = std::make_unique<bool[]>(rows);
              run(ChooseRows<float>{Score::student_nll, x.data(), nullptr, targets.data(), scores.data(), rows, nullptr,
                                    rate, lowest, size ? queue.data() : nullptr, state.data(), size, &gate,
                                    chosen.get()},
                  block);
              if (size) all.assign(last.begin(), last.end());
              CHECK(gate == sorted_gate(all, rate, lowest));
              for (int64_t r = 0; r < rows; ++r) {
                CHECK(r % 4 == 3 ? std::isnan(scores[r]) : std::isnan(x[r]) || scores[r] == x[r]);
                CHECK(chosen[r] == (lowest ? scores[r] <= gate : scores[r] >= gate));
              }
              if (size == 0) continue;
              CHECK(state[1] == int64_t(last.size()));
              for (size_t i = 0; i < last.size(); ++i)
                CHECK(queue[(state[0] + size - last.size() + i) % size] == last[i]);
            }
          }
}

TEST(choose_rows_scores_and_given_gates) {
  const std::vector<double> student{0.5, 1, 2, 3}, teacher{1, 1, 0.25, 4};
  const float given = 0;
  for (const bool block : {false, true})
    for (const Score score :
         {Score::student_nll, Score::teacher_entropy, Score::teacher_confidence, Score::teacher_margin}) {
      std::vector<float> scores(4);
      float gate = NAN;
      bool chosen[4];
      run(ChooseRows<double>{score, student.data(), teacher.data(), nullptr, scores.data(), 4, &given, 0.5, true,
                             nullptr, nullptr, 0, &gate, chosen},
          block);
      CHECK(gate == given);
      for (int r = 0; r < 4; ++r) {
        const double want = score == Score::student_nll          ? student[r]
                            : score == Score::teacher_entropy    ? teacher[r]
                            : score == Score::teacher_confidence ? std::exp(-teacher[r])
                                                                 : std::exp(-teacher[r]) - std::exp(-student[r]);
        CHECK(scores[r] == float(want));
        CHECK(chosen[r] == (want <= 0));
      }
    }
}

TEST(accumulate_adds_every_number_once) {
  for (const int64_t count : {0, 1, 64 * 16, 64 * 16 + 1, 5000}) {
    std::vector<float> sum = normal(count, 1), product = normal(count, 2), want = sum;
    for (int64_t i = 0; i < count; ++i) want[i] += product[i];
    const distilmt::Accumulate call{sum.data(), product.data(), count};
    CHECK(distilmt_accumulate(&call, nullptr) == cudaSuccess);
    CHECK(sum == want);
  }
}
