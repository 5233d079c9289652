// The Group of a CPU thread (kernels/linear_kd_reading.h): a vector of columns at a time, computed in float32 and
// stored as that or as bfloat16. Included by .isa.cpp files only.
#pragma once
#include "divergences/scalar.h"
#include "kernels/linear_kd_reading.h"
#include "kernels/simd.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

// A vector with a type of this namespace, so that exp(x) inside a divergence finds the function below.
struct Lanes {
  vec v;
  DISTILMT_INLINE Lanes() : v{} {}
  DISTILMT_INLINE Lanes(vec x) : v(x) {}
  DISTILMT_INLINE Lanes(float x) : v(broadcast(x)) {}
};

DISTILMT_INLINE Lanes operator+(Lanes a, Lanes b) { return a.v + b.v; }
DISTILMT_INLINE Lanes operator-(Lanes a, Lanes b) { return a.v - b.v; }
DISTILMT_INLINE Lanes operator-(Lanes a) { return -a.v; }
DISTILMT_INLINE Lanes operator*(Lanes a, Lanes b) { return a.v * b.v; }
DISTILMT_INLINE Lanes operator/(Lanes a, Lanes b) { return a.v / b.v; }
DISTILMT_INLINE Lanes exp(Lanes a) { return exp_below(a.v); }  // of log-probabilities, and of ratios' logs up to 80
DISTILMT_INLINE Lanes log(Lanes a) { return log(a.v); }
DISTILMT_INLINE Lanes absolute(Lanes a) { return maximum(a.v, -a.v); }
DISTILMT_INLINE Lanes sign(Lanes a) {
  return (a.v > vec{} ? broadcast(1) : vec{}) - (a.v < vec{} ? broadcast(1) : vec{});
}
DISTILMT_INLINE Lanes at_least(Lanes a, Lanes bound) { return a.v >= bound.v ? broadcast(1) : vec{}; }
DISTILMT_INLINE Lanes possible(Lanes a) { return a.v > broadcast(-__builtin_inff()) ? broadcast(1) : vec{}; }
DISTILMT_INLINE Lanes maximum(Lanes a, Lanes b) { return maximum(a.v, b.v); }
DISTILMT_INLINE Lanes weigh(Lanes w, Lanes x) { return w.v == vec{} ? vec{} : w.v * x.v; }

struct Whole {
  int64_t column;
};
struct Part {
  int64_t column, count;
};

struct OneThread {
  using real = Lanes;
  static constexpr bool kOnline = false;
  template <class F>
  DISTILMT_INLINE void each(int64_t vocab, const F& f) const {
    int64_t column = 0;
    for (; column + kWidth <= vocab; column += kWidth) f(Whole{column});
    if (column < vocab) f(Part{column, vocab - column});
  }
  template <class storage>
  DISTILMT_INLINE Lanes load(const storage* p, Whole at, float) const {
    return distilmt::DISTILMT_ISA_NAMESPACE::load(p + at.column);
  }
  template <class storage>
  DISTILMT_INLINE Lanes load(const storage* p, Part at, float fill) const {
    return load_part(p + at.column, at.count, fill);
  }
  DISTILMT_INLINE void store(float* p, Whole at, Lanes x) const {
    distilmt::DISTILMT_ISA_NAMESPACE::store(p + at.column, x.v);
  }
  DISTILMT_INLINE void store(float* p, Part at, Lanes x) const { store_part(p + at.column, at.count, x.v); }
  DISTILMT_INLINE void store(bfloat16* p, Whole at, Lanes x) const { narrow(x.v, kWidth, p + at.column); }
  DISTILMT_INLINE void store(bfloat16* p, Part at, Lanes x) const { narrow(x.v, at.count, p + at.column); }
  DISTILMT_INLINE float largest(Lanes x) const { return distilmt::DISTILMT_ISA_NAMESPACE::largest(x.v); }
  DISTILMT_INLINE float sum(Lanes x) const { return distilmt::DISTILMT_ISA_NAMESPACE::sum(x.v); }

  DISTILMT_INLINE Part column(int64_t id) const { return {id, 1}; }
  DISTILMT_INLINE float first(Lanes x) const { return x.v[0]; }
  template <class F>
  DISTILMT_INLINE void each_entry(int64_t k, const F& f) const {
    for (int64_t j = 0; j < k; ++j) f(int(j));
  }
  DISTILMT_INLINE float total(float x) const { return x; }
  DISTILMT_INLINE int64_t member() const { return 0; }
  DISTILMT_INLINE int64_t members() const { return 1; }
  DISTILMT_INLINE int64_t before(int64_t x, int64_t& all) const {
    all = x;
    return 0;
  }
  DISTILMT_INLINE bool leader() const { return true; }
  DISTILMT_INLINE void sync() const {}

  // One pass, which keeps the k largest so far; hardly any column is larger than the last of them.
  template <class Logit>
  void tops(const Logit& logit, int64_t vocab, int k, int64_t* ids) const {
    constexpr float kLowest = -__builtin_inff();
    float values[kMaxRanking], last = kLowest;
    int found = 0;
    const auto take = [&](float x, int64_t id) {
      int at = found < k ? found++ : k - 1;
      for (; at > 0 && x > values[at - 1]; --at) {
        values[at] = values[at - 1];
        ids[at] = ids[at - 1];
      }
      values[at] = x;
      ids[at] = id;
      if (found == k) last = values[k - 1];
    };
    each(vocab, [&](auto at) {
      const vec x = logit(at).v;
      for (unsigned larger = greater_mask(x, broadcast(last)); larger != 0; larger &= larger - 1) {
        const int lane = __builtin_ctz(larger);
        if (x[lane] > last) take(x[lane], at.column + lane);
      }
    });
    for (int64_t id = 0; found < k && id < vocab; ++id)
      if (first(logit(column(id))) == kLowest) ids[found++] = id;
    for (; found < k; ++found) ids[found] = 0;
  }
};

}  // namespace
}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
