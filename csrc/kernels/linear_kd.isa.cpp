// CPU rows of one instruction set; formula in linear_kd.h, algorithm in linear_kd_row.h.
#include "divergences/forward_kl.h"
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
DISTILMT_INLINE Lanes exp(Lanes a) { return exp(a.v); }
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
  DISTILMT_INLINE bool leader() const { return true; }
  DISTILMT_INLINE void sync() const {}
};

// float64 is for tests: one number at a time, libm's exp.
struct OneThreadDouble {
  using real = double;
  template <class F>
  DISTILMT_INLINE void each(int64_t vocab, const F& f) const {
    for (int64_t column = 0; column < vocab; ++column) f(column);
  }
  DISTILMT_INLINE double load(const double* p, int64_t at, double) const { return p[at]; }
  DISTILMT_INLINE void store(double* p, int64_t at, double x) const { p[at] = x; }
  DISTILMT_INLINE double largest(double x) const { return x; }
  DISTILMT_INLINE double sum(double x) const { return x; }
  DISTILMT_INLINE bool leader() const { return true; }
  DISTILMT_INLINE void sync() const {}
};

}  // namespace

void linear_kd_float(const LinearKDRows<float>& rows, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) linear_kd_row<ForwardKL>(OneThread{}, rows, row);
}

void linear_kd_double(const LinearKDRows<double>& rows, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) linear_kd_row<ForwardKL>(OneThreadDouble{}, rows, row);
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
