// The Group of a CPU thread (kernels/linear_kd_row.h): a vector of columns at a time, or for float64 one number.
// Included by .isa.cpp files only.
#pragma once
#include "divergences/scalar.h"
#include "kernels/linear_kd_row.h"
#include "kernels/simd.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

// A vector with a type of this namespace, so that exp(x) inside a divergence finds the function below.
struct Lanes {
  vec v;
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

// What a member that works alone offers, of scalars.
template <class scalar>
struct Alone {
  template <class F>
  DISTILMT_INLINE void each_entry(int64_t k, const F& f) const {
    for (int64_t j = 0; j < k; ++j) f(int(j));
  }
  DISTILMT_INLINE scalar total(scalar x) const { return x; }
  Top<scalar> next_top(const scalar* p, int64_t vocab, Top<scalar> top) const {
    Top<scalar> next{scalar(-HUGE_VAL), -1};
    for (int64_t id = 0; id < vocab; ++id)
      if ((p[id] < top.value || (p[id] == top.value && id > top.id)) && (p[id] > next.value || next.id < 0))
        next = {p[id], id};
    return next.id < 0 ? Top<scalar>{scalar(NAN), 0} : next;
  }
  DISTILMT_INLINE bool leader() const { return true; }
  DISTILMT_INLINE void sync() const {}
};

struct OneThread : Alone<float> {
  using real = Lanes;
  template <class F>
  DISTILMT_INLINE void each(int64_t vocab, const F& f) const {
    int64_t column = 0;
    for (; column + kWidth <= vocab; column += kWidth) f(Whole{column});
    if (column < vocab) f(Part{column, vocab - column});
  }
  DISTILMT_INLINE Lanes load(const float* p, Whole at, float) const {
    return distilmt::DISTILMT_ISA_NAMESPACE::load(p + at.column);
  }
  DISTILMT_INLINE Lanes load(const float* p, Part at, float fill) const {
    return load_part(p + at.column, at.count, fill);
  }
  DISTILMT_INLINE void store(float* p, Whole at, Lanes x) const {
    distilmt::DISTILMT_ISA_NAMESPACE::store(p + at.column, x.v);
  }
  DISTILMT_INLINE void store(float* p, Part at, Lanes x) const { store_part(p + at.column, at.count, x.v); }
  DISTILMT_INLINE float largest(Lanes x) const { return distilmt::DISTILMT_ISA_NAMESPACE::largest(x.v); }
  DISTILMT_INLINE float sum(Lanes x) const { return distilmt::DISTILMT_ISA_NAMESPACE::sum(x.v); }

  // As Alone's, vector by vector: equals of `top` behind it, or else the first place of the largest value below it.
  Top<float> next_top(const float* p, int64_t vocab, Top<float> top) const {
    if (top.id >= 0) {
      const int64_t tie = first_place(p, vocab, top.id + 1, top.value);
      if (tie >= 0) return {top.value, tie};
    }
    const vec bound = broadcast(top.value), lowest = broadcast(-__builtin_inff());
    vec best = lowest;
    const auto look = [&](vec x) { best = maximum(x < bound ? x : lowest, best); };
    int64_t id = 0;
    for (; id + kWidth <= vocab; id += kWidth) look(distilmt::DISTILMT_ISA_NAMESPACE::load(p + id));
    if (id < vocab) look(load_part(p + id, vocab - id, -__builtin_inff()));
    const float value = distilmt::DISTILMT_ISA_NAMESPACE::largest(best);
    const int64_t first = value < top.value ? first_place(p, vocab, 0, value) : -1;
    return first < 0 ? Top<float>{float(NAN), 0} : Top<float>{value, first};
  }

 private:
  // The first place from `begin` on where p is `value`, or -1.
  static int64_t first_place(const float* p, int64_t vocab, int64_t begin, float value) {
    const vec wanted = broadcast(value);
    int64_t id = begin;
    for (; id + kWidth <= vocab; id += kWidth) {
      const vec x = distilmt::DISTILMT_ISA_NAMESPACE::load(p + id);
      if ((greater_mask(x, wanted) | greater_mask(wanted, x)) == kAllLanes) continue;
      for (int lane = 0; lane < kWidth; ++lane)
        if (p[id + lane] == value) return id + lane;
    }
    for (; id < vocab; ++id)
      if (p[id] == value) return id;
    return -1;
  }
  static constexpr unsigned kAllLanes = (1u << kWidth) - 1;
};

// float64 is for tests: one number at a time, libm's exp.
struct OneThreadDouble : Alone<double> {
  using real = double;
  template <class F>
  DISTILMT_INLINE void each(int64_t vocab, const F& f) const {
    for (int64_t column = 0; column < vocab; ++column) f(column);
  }
  DISTILMT_INLINE double load(const double* p, int64_t at, double) const { return p[at]; }
  DISTILMT_INLINE void store(double* p, int64_t at, double x) const { p[at] = x; }
  DISTILMT_INLINE double largest(double x) const { return x; }
  DISTILMT_INLINE double sum(double x) const { return x; }
};

}  // namespace
}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
