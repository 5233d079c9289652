// Gradients of a Head without the words that matter least to a chunk of rows: an approximation, never used unasked.
//
// Of d loss / d logits [rows, vocab] the columns with the smallest sums of absolute values are dropped, together at
// most a share `mass` of the whole sum; what is left are products of dense matrices, smaller ones. A word that is a
// target of the chunk has a column of weight and stays. Idea: Cut Cross-Entropy, Wijmans et al. 2025
// (arXiv:2411.09009), section 4.3, there tiles below a fixed threshold.
//
// float32 on the CPU. Sums run in the order of rows and columns: results do not depend on threads.
#pragma once
#include <cmath>
#include <numeric>

#include "ops/head_gradients.h"

namespace distilmt::ops {

struct FilteredGradients {
  double mass;
  double whole = 0, lost = 0;  // sums |g| over all rows, and what was dropped of it

  double share() const { return whole > 0 ? lost / whole : 0; }

  // As HeadGradients::add; smoothing's share is filtered with the others, and nothing of it is left for `finish`.
  void add(HeadGradients& to, const Tensor& g, const Tensor& h, int64_t begin,
           const std::optional<LabelSmoothing>& smoothing) {
    const int64_t rows = g.size(0);
    const Tensor ids = tensor_of(heaviest(weigh(g, begin, smoothing))), exact = index_select(g, 1, ids),
                 kept = torch::stable::to(exact, to.head.dtype);
    if (to.with_hidden)
      mm_out(rows_of(to.hidden, begin, rows), kept, index_select(*to.head.weight, 0, ids), to.head.exact);
    if (to.with_weight) add_rows(to.weight, ids, torch::stable::to(mm(transpose(kept), h), to.computing));
    if (to.with_bias) add_rows(to.bias, ids, torch::stable::sum(exact, {{0}}));
  }

 private:
  // Sums |g| of the columns; smoothing's share is added to g first.
  static std::vector<double> weigh(const Tensor& g, int64_t begin, const std::optional<LabelSmoothing>& smoothing) {
    const int64_t rows = g.size(0), vocab = g.size(1);
    const float* shift = smoothing ? data<float>(smoothing->shift, begin) : nullptr;
    const float* open = smoothing ? data<float>(smoothing->mask) : nullptr;
    std::vector<double> sums(vocab);
    torch::stable::parallel_for(0, vocab, 512, [&](int64_t from, int64_t end) {
      std::vector<float> part(end - from);
      for (int64_t r = 0; r < rows; ++r) {
        float* row = data<float>(g, r * g.stride(0) + from);
        if (shift)
          for (int64_t c = 0; c < end - from; ++c) row[c] += shift[r] * open[from + c];
        for (int64_t c = 0; c < end - from; ++c) part[c] += std::fabs(row[c]);
      }
      std::copy(part.begin(), part.end(), sums.begin() + from);
    });
    return sums;
  }

  // Ids in rising order of all columns but the lightest that may go; of equal ones the first goes first.
  std::vector<int64_t> heaviest(const std::vector<double>& sums) {
    std::vector<int64_t> ids(sums.size());
    std::iota(ids.begin(), ids.end(), 0);
    std::stable_sort(ids.begin(), ids.end(), [&](int64_t a, int64_t b) { return sums[a] < sums[b]; });
    const double all = std::accumulate(sums.begin(), sums.end(), 0.0);
    double dropped = 0;
    auto first = ids.begin();
    for (; first != ids.end() && dropped + sums[*first] <= mass * all; ++first) dropped += sums[*first];
    whole += all;
    lost += dropped;
    std::vector<int64_t> kept(first, ids.end());
    std::sort(kept.begin(), kept.end());
    return kept;
  }

  // to.sum[id] += the row of `part` that stands for it.
  static void add_rows(ProductSum& to, const Tensor& ids, const Tensor& part) {
    if (to.empty) torch::stable::zero_(to.sum);
    to.empty = false;
    const int64_t count = ids.numel(), d = count ? part.numel() / count : 0;
    float* const sum = data<float>(to.sum);
    const float* const summand = data<float>(part);
    const int64_t* const id = data<int64_t>(ids);
    torch::stable::parallel_for(0, count, 64, [&](int64_t from, int64_t end) {
      for (int64_t i = from; i < end; ++i)
        for (int64_t c = 0; c < d; ++c) sum[id[i] * d + c] += summand[i * d + c];
    });
  }
};

}  // namespace distilmt::ops
