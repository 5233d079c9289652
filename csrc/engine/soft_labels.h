// What a model held likely at each of some positions: its k best ids, the probability of all others together, and the
// entropy of the whole distribution.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/project.h"

namespace distilmt {

struct SoftLabels {
  int k = 0;
  std::vector<int32_t> ids;      // [rows, k], best first, distinct in a row
  std::vector<float> log_probs;  // [rows, k]
  std::vector<float> tail_mass;  // [rows], 1 - the sum of the k probabilities
  std::vector<float> entropy;    // [rows], nats

  static int64_t bytes_per_row(int k) { return 8 * int64_t{k} + 8; }

  void resize(size_t rows) {
    ids.resize(rows * k);
    log_probs.resize(rows * k);
    tail_mass.resize(rows);
    entropy.resize(rows);
  }

  // known: the k best free ids of a row (kernels/project.h), and all that were set aside; spread: of k.
  void set(size_t row, std::vector<Candidate>& known, float log_sum_exp, const Spread& spread) {
    std::sort(known.begin(), known.end(), [](const Candidate& a, const Candidate& b) {
      return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
    });
    double tail = spread.rest;
    for (size_t j = k; j < known.size(); ++j) tail += std::exp(known[j].logit - log_sum_exp);
    tail_mass[row] = static_cast<float>(tail);
    entropy[row] = spread.entropy;
    int32_t* id = ids.data() + row * k;
    for (int j = 0; j < k; ++j) {
      id[j] = known[j].id;
      log_probs[row * k + j] = known[j].logit - log_sum_exp;
      // Fewer ids than k are possible: any other has probability 0, the lowest one will do.
      if (std::isinf(known[j].logit))
        for (id[j] = 0; std::find(id, id + j, id[j]) != id + j;) ++id[j];
    }
  }

  void copy(size_t row, const SoftLabels& from, size_t source) {
    std::copy_n(from.ids.begin() + source * k, k, ids.begin() + row * k);
    std::copy_n(from.log_probs.begin() + source * k, k, log_probs.begin() + row * k);
    tail_mass[row] = from.tail_mass[source];
    entropy[row] = from.entropy[source];
  }
};

}  // namespace distilmt
