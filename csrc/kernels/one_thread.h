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
DISTILMT_INLINE Lanes exp(Lanes a) { return exp(a.v); }
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

  // Equals of `top` behind it, or else the first place of the largest value below it.
  template <class Logit>
  Top<float> next_top(const Logit& logit, int64_t vocab, Top<float> top) const {
    if (top.id >= 0) {
      const int64_t tie = first_place(logit, vocab, top.id + 1, top.value);
      if (tie >= 0) return {top.value, tie};
    }
    const vec bound = broadcast(top.value), lowest = broadcast(-__builtin_inff());
    vec best = lowest;
    each(vocab, [&](auto at) {
      const vec x = logit(at).v;
      best = maximum(x < bound ? x : lowest, best);
    });
    const float value = distilmt::DISTILMT_ISA_NAMESPACE::largest(best);
    const int64_t first = value < top.value ? first_place(logit, vocab, 0, value) : -1;
    return first < 0 ? Top<float>{float(NAN), 0} : Top<float>{value, first};
  }

 private:
  // The first place from `begin` on where logit is `value`, or -1.
  template <class Logit>
  static int64_t first_place(const Logit& logit, int64_t vocab, int64_t begin, float value) {
    const vec wanted = broadcast(value);
    const auto place = [&](vec x, int64_t id, int64_t count) {
      for (int64_t lane = 0; lane < count; ++lane)
        if (x[lane] == value) return id + lane;
      return int64_t(-1);
    };
    int64_t id = begin;
    for (; id + kWidth <= vocab; id += kWidth) {
      const vec x = logit(Whole{id}).v;
      if ((greater_mask(x, wanted) | greater_mask(wanted, x)) == kAllLanes) continue;
      if (const int64_t found = place(x, id, kWidth); found >= 0) return found;
    }
    return id < vocab ? place(logit(Part{id, vocab - id}).v, id, vocab - id) : -1;
  }
  static constexpr unsigned kAllLanes = (1u << kWidth) - 1;
};

}  // namespace
}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
