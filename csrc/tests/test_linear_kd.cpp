// The row algorithm as a CUDA block runs it: columns dealt to threads in turn, reductions between barriers, gradient
// written over the logits. Here every member is a real thread, so that TSan sees what a missing barrier would do on a
// device.
#include <algorithm>
#include <barrier>
#include <thread>
#include <vector>

#include "divergences/forward_kl.h"
#include "kernels/linear_kd_row.h"
#include "tests/test.h"

namespace {

using distilmt::LinearKDRows;

struct Team {
  using real = double;
  int member, members;
  std::barrier<>* barrier;
  std::vector<double>* partial;

  template <class F>
  void each(int64_t vocab, const F& f) const {
    for (int64_t column = member; column < vocab; column += members) f(column);
  }
  double load(const double* p, int64_t at, double) const { return p[at]; }
  void store(double* p, int64_t at, double x) const { p[at] = x; }
  template <class F>
  double reduce(double x, const F& join) const {
    sync();
    (*partial)[member] = x;
    sync();
    double all = (*partial)[0];
    for (int m = 1; m < members; ++m) all = join(all, (*partial)[m]);
    return all;
  }
  double largest(double x) const {
    return reduce(x, [](double a, double b) { return std::max(a, b); });
  }
  double sum(double x) const {
    return reduce(x, [](double a, double b) { return a + b; });
  }
  bool leader() const { return member == 0; }
  void sync() const { barrier->arrive_and_wait(); }
};

// Two rows of 37 columns and everything they need.
struct Example {
  static constexpr int64_t kRows = 2, kVocab = 37;
  std::vector<double> student, teacher, bias, weights{0.5, 2.0}, uniform{0.3, -0.2}, losses;
  std::vector<int64_t> targets{36, 4};

  Example() : losses(4 * kRows) {
    for (int64_t i = 0; i < kRows * kVocab; ++i) {
      student.push_back(std::sin(i * 0.7) * 3);
      teacher.push_back(std::cos(i * 1.3) * 2);
    }
    for (int64_t v = 0; v < kVocab; ++v) bias.push_back(v == 5 ? -HUGE_VAL : std::sin(v * 2.1));
  }

  LinearKDRows<double> rows() {
    LinearKDRows<double> r{};
    r.student = student.data();
    r.bias = r.teacher_bias = bias.data();
    r.teacher = teacher.data();
    r.targets = targets.data();
    r.row_weights = weights.data();
    r.uniform = uniform.data();
    r.loss = losses.data();
    r.nll = r.loss + kRows;
    r.smoothed_nll = r.nll + kRows;
    r.kl = r.smoothed_nll + kRows;
    r.rows = kRows;
    r.vocab = kVocab;
    r.nll_weight = 0.7;
    r.kd_weight = 0.4;
    r.temperature = 2;
    r.smoothing = 0.1 / 35;
    r.unbanned = 36;
    r.with_grad = true;
    return r;
  }
};

}  // namespace

TEST(linear_kd_a_team_of_threads_agrees_with_one) {
  Example alone;
  distilmt::linear_kd_rows(alone.rows(), 0, Example::kRows);
  for (int members : {1, 3, 8, 64}) {  // 64: some hold no column
    Example shared;
    const auto rows = shared.rows();
    std::barrier<> barrier(members);
    std::vector<double> partial(members);
    std::vector<std::thread> threads;
    for (int member = 0; member < members; ++member)
      threads.emplace_back([&, member] {
        for (int64_t row = 0; row < rows.rows; ++row)
          distilmt::linear_kd_row<distilmt::ForwardKL>(Team{member, members, &barrier, &partial}, rows, row);
      });
    for (auto& thread : threads) thread.join();
    for (size_t i = 0; i < alone.losses.size(); ++i) CHECK_NEAR(shared.losses[i], alone.losses[i], 1e-12);
    for (size_t i = 0; i < alone.student.size(); ++i) CHECK_NEAR(shared.student[i], alone.student[i], 1e-12);
  }
}

// Of the gradients of a row, nll_weight * (1 - C e) leaves the gold column and nll_weight comes back in the softmax.
TEST(linear_kd_gradient_of_a_row_sums_to_what_the_uniform_part_takes) {
  Example example;
  const auto rows = example.rows();
  distilmt::linear_kd_rows(rows, 0, Example::kRows);
  for (int64_t row = 0; row < Example::kRows; ++row) {
    double sum = 0;
    for (int64_t v = 0; v < Example::kVocab; ++v) sum += example.student[row * Example::kVocab + v];
    CHECK_NEAR(sum, example.weights[row] * rows.nll_weight * rows.unbanned * rows.smoothing, 1e-12);
  }
}

// float32 in vectors, with an overhanging last one, against float64 in numbers.
TEST(linear_kd_float_agrees_with_double) {
  Example example;
  const auto d = example.rows();
  std::vector<float> student(example.student.begin(), example.student.end()),
      teacher(example.teacher.begin(), example.teacher.end()), bias(example.bias.begin(), example.bias.end()),
      weights(example.weights.begin(), example.weights.end()), uniform(example.uniform.begin(), example.uniform.end()),
      losses(4 * d.rows);
  distilmt::linear_kd_rows(d, 0, d.rows);
  LinearKDRows<float> f{};
  f.student = student.data();
  f.bias = f.teacher_bias = bias.data();
  f.teacher = teacher.data();
  f.targets = d.targets;
  f.row_weights = weights.data();
  f.uniform = uniform.data();
  f.loss = losses.data();
  f.nll = f.loss + d.rows;
  f.smoothed_nll = f.nll + d.rows;
  f.kl = f.smoothed_nll + d.rows;
  f.rows = d.rows;
  f.vocab = d.vocab;
  f.nll_weight = d.nll_weight;
  f.kd_weight = d.kd_weight;
  f.temperature = d.temperature;
  f.smoothing = d.smoothing;
  f.unbanned = d.unbanned;
  f.with_grad = true;
  distilmt::linear_kd_rows(f, 0, f.rows);
  for (size_t i = 0; i < losses.size(); ++i) CHECK_NEAR(losses[i], example.losses[i], 1e-5);
  for (size_t i = 0; i < student.size(); ++i) CHECK_NEAR(student[i], example.student[i], 1e-6);
}
