// Gradients of a Head from the kept entries of d loss / d logits alone (kernels/gradient_filter.h): float32 on the CPU.
#pragma once
#include "kernels/gradient_filter.h"
#include "ops/head_gradients.h"

namespace distilmt::ops {

struct FilteredGradients {
  float mass;
  double whole = 0, lost = 0;  // sums |g| over all rows, and what was dropped of it

  // As HeadGradients::add, of a chunk's g [rows, vocab]; shift [rows] or empty: the uniform share of smoothing, per
  // row, over the columns where open [vocab] is 1.
  void add(HeadGradients& to, const Tensor& g, const Tensor& h, int64_t begin, const std::vector<float>& shift,
           const float* open) {
    const int64_t rows = g.size(0), vocab = g.size(1), d = h.size(1);
    std::vector<float> thresholds(rows), sums(rows), dropped(rows);
    std::vector<int64_t> first(rows + 1);
    const GradientFilter filter{g.mutable_data_ptr<float>(),
                                shift.empty() ? nullptr : shift.data(),
                                open,
                                vocab,
                                mass,
                                thresholds.data(),
                                first.data() + 1,
                                sums.data(),
                                dropped.data()};
    torch::stable::parallel_for(0, rows, 1, [&](int64_t from, int64_t end) { filter_rows(filter, from, end); });
    for (int64_t r = 0; r < rows; ++r) {
      first[r + 1] += first[r];
      whole += sums[r];
      lost += dropped[r];
    }
    std::vector<int32_t> columns(first[rows]);
    std::vector<float> values(first[rows]);
    const float* weight = to.head.weight->const_data_ptr<float>();
    float* hidden = to.with_hidden ? to.hidden.mutable_data_ptr<float>() + begin * d : nullptr;
    torch::stable::parallel_for(0, rows, 1, [&](int64_t from, int64_t end) {
      for (int64_t r = from; r < end; ++r) {
        int32_t* const c = columns.data() + first[r];
        float* const v = values.data() + first[r];
        kept_entries(filter.g + r * vocab, vocab, thresholds[r], c, v);
        if (hidden) sum_rows(weight, d, c, v, first[r + 1] - first[r], false, hidden + r * d);
      }
    });
    if (to.with_weight) add_weight(to.weight, h, vocab, first, columns, values);
    if (to.with_bias) {
      clear(to.bias);
      float* bias = to.bias.sum.mutable_data_ptr<float>();
      for (size_t i = 0; i < columns.size(); ++i) bias[columns[i]] += values[i];
    }
  }

 private:
  static void clear(ProductSum& sum) {
    if (sum.empty) torch::stable::zero_(sum.sum);
    sum.empty = false;
  }

  // Entries by column, so that no two threads write one row of the sum.
  static void add_weight(ProductSum& to, const Tensor& h, int64_t vocab, const std::vector<int64_t>& first,
                         const std::vector<int32_t>& columns, const std::vector<float>& values) {
    std::vector<int64_t> place(vocab + 1);
    for (int32_t c : columns) ++place[c + 1];
    for (int64_t c = 0; c < vocab; ++c) place[c + 1] += place[c];
    std::vector<int64_t> next(place.begin(), place.end() - 1);
    std::vector<int32_t> row(columns.size());
    std::vector<float> value(columns.size());
    for (size_t r = 0; r + 1 < first.size(); ++r)
      for (int64_t i = first[r]; i < first[r + 1]; ++i) {
        const int64_t at = next[columns[i]]++;
        row[at] = int32_t(r);
        value[at] = values[i];
      }
    clear(to);
    const Tensor states = torch::stable::contiguous(h);
    const float* s = states.const_data_ptr<float>();
    float* sum = to.sum.mutable_data_ptr<float>();
    const int64_t d = h.size(1);
    torch::stable::parallel_for(0, vocab, 256, [&](int64_t from, int64_t end) {
      for (int64_t c = from; c < end; ++c)
        if (place[c] < place[c + 1])
          sum_rows(s, d, row.data() + place[c], value.data() + place[c], place[c + 1] - place[c], true, sum + c * d);
    });
  }
};

}  // namespace distilmt::ops
