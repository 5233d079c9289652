// choose_rows.h by one Group (kernels/linear_kd_reading.h), once for both devices. It also offers
//
//   member(), members()      which one this is, of how many
//   before(x, all)           sum over the members before this one of an integer each; `all`: over all
#pragma once
#include <cstring>

#include "divergences/scalar.h"
#include "kernels/choose_rows.h"
#include "kernels/linear_kd.h"

namespace distilmt {

// Integers in the order of the floats, and back; not of NaN.
DISTILMT_HD uint32_t order_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
DISTILMT_HD float at_order(uint32_t order) {
  const uint32_t bits = order >> 31 ? order & 0x7fffffffu : ~order;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// The ceil(n rate)-th largest of the n numbers among x, or smallest: the bits of the answer one by one, each by
// counting.
template <class Group>
DISTILMT_HD float gate_of(const Group& group, const float* x, int64_t count, double rate, bool lowest) {
  using real = typename Group::real;
  const auto reach = [&](float bound) {
    real all(0);
    group.each(count, [&](auto at) {
      const real value = group.load(x, at, float(NAN));
      all = all + at_least(lowest ? -value : value, real(bound));
    });
    return group.sum(all);
  };
  const float numbers = reach(-HUGE_VALF);
  if (numbers == 0) return lowest ? HUGE_VALF : -HUGE_VALF;
  // The product is rounded before ceil: 10 * 0.3 is 3, not 4.
  const float wanted = ::ceilf(float(numbers * rate)), rank = wanted < 1 ? 1 : wanted > numbers ? numbers : wanted;
  uint32_t low = order_of(-HUGE_VALF), high = order_of(HUGE_VALF) + 1;  // enough numbers reach low, too few high
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    (reach(at_order(middle)) >= rank ? low : high) = middle;
  }
  return lowest ? -at_order(low) : at_order(low);
}

// Pushes what is no NaN, in order; returns how many the queue then holds.
template <class Group>
DISTILMT_HD int64_t push(const Group& group, const float* x, int64_t count, float* queue, int64_t* state,
                         int64_t size) {
  const int64_t first = (state[0] % size + size) % size, had = state[1] < 0 ? 0 : state[1] < size ? state[1] : size;
  const int64_t share = (count + group.members() - 1) / group.members();
  const int64_t begin = share * group.member(), end = begin + share < count ? begin + share : count;
  int64_t mine = 0, all;
  for (int64_t i = begin; i < end; ++i) mine += x[i] == x[i];
  int64_t place = group.before(mine, all);
  for (int64_t i = begin; i < end; ++i)
    if (x[i] == x[i] && place++ >= all - size) queue[(first + place - 1) % size] = x[i];
  const int64_t holds = had + all < size ? had + all : size;
  group.sync();
  if (group.leader()) {
    state[0] = (first + all) % size;
    state[1] = holds;
  }
  return holds;
}

template <class Group, class real>
DISTILMT_HD void choose_rows_group(const Group& group, const ChooseRows<real>& call) {
  const auto score = [&](int64_t row) {
    switch (call.score) {
      case Score::teacher_entropy: return call.teacher[row];
      case Score::teacher_confidence: return exp(-call.teacher[row]);
      case Score::teacher_margin: return exp(-call.teacher[row]) - exp(-call.student[row]);
      default: return call.student[row];
    }
  };
  group.each_entry(call.rows, [&](int row) {
    call.scores[row] = call.targets && call.targets[row] == kNoTarget ? float(NAN) : float(score(row));
  });
  group.sync();
  float gate;
  if (call.given) {
    gate = *call.given;
  } else if (call.queue) {
    const int64_t holds = push(group, call.scores, call.rows, call.queue, call.state, call.size);
    gate = gate_of(group, call.queue, holds, call.rate, call.lowest);
  } else {
    gate = gate_of(group, call.scores, call.rows, call.rate, call.lowest);
  }
  if (group.leader()) *call.gate = gate;
  group.each_entry(call.rows, [&](int row) {
    call.chosen[row] = call.lowest ? call.scores[row] <= gate : call.scores[row] >= gate;
  });
}

}  // namespace distilmt
