// The Group of a CPU thread (kernels/linear_kd_reading.h) that takes one number at a time, computed in `number` and
// stored as whatever kernels/half.h knows: for tests, float64 and float16.
#pragma once
#include "kernels/half.h"
#include "kernels/linear_kd_reading.h"

namespace distilmt {

template <class number>
struct OneByOne {
  using real = number;
  static constexpr bool kOnline = false;
  template <class F>
  void each(int64_t vocab, const F& f) const {
    for (int64_t column = 0; column < vocab; ++column) f(column);
  }
  int64_t column(int64_t id) const { return id; }
  number first(number x) const { return x; }
  template <class storage>
  number load(const storage* p, int64_t at, number) const {
    return to_number(p[at]);
  }
  template <class storage>
  void store(storage* p, int64_t at, number x) const {
    put(p + at, x);
  }
  number largest(number x) const { return x; }
  number sum(number x) const { return x; }
  template <class F>
  void each_entry(int64_t k, const F& f) const {
    for (int64_t j = 0; j < k; ++j) f(int(j));
  }
  number total(number x) const { return x; }
  template <class Logit>
  Top<number> next_top(const Logit& logit, int64_t vocab, Top<number> top) const {
    Top<number> next{number(-HUGE_VAL), -1};
    for (int64_t id = 0; id < vocab; ++id) {
      const number x = logit(id);
      if ((x < top.value || (x == top.value && id > top.id)) && (x > next.value || next.id < 0)) next = {x, id};
    }
    return next.id < 0 ? Top<number>{number(NAN), 0} : next;
  }
  bool leader() const { return true; }
  void sync() const {}
};

}  // namespace distilmt
