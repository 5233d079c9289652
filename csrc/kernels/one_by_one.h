// The Group of a CPU thread (kernels/linear_kd_reading.h) that takes one number at a time, computed in `number` and
// stored as whatever kernels/half.h knows: for tests, float64 and float16.
#pragma once
#include <algorithm>

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
  void tops(const Logit& logit, int64_t vocab, int k, int64_t* ids) const {
    number last = HUGE_VAL;
    for (int i = 0; i < k; ++i) {
      int64_t next = -1;
      for (int64_t id = 0; id < vocab; ++id) {
        const number x = logit(id);
        const bool follows = i == 0 ? x <= last : x < last || (x == last && id > ids[i - 1]);
        if (follows && (next < 0 || x > logit(next))) next = id;
      }
      last = next < 0 ? number(NAN) : logit(next);
      ids[i] = std::max<int64_t>(next, 0);
    }
  }
  bool leader() const { return true; }
  void sync() const {}
};

}  // namespace distilmt
