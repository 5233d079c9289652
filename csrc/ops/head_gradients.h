// Gradients of a Head from d loss / d logits, chunk after chunk, in the computing dtype; weight and bias are sums over
// all rows.
#pragma once
#include "ops/label_smoothing.h"

namespace distilmt::ops {

// A sum of matrix products; the first one writes, so that nobody has to clear [vocab, d] beforehand.
struct ProductSum {
  bool exact;  // as in mm_out
  Tensor sum{};
  bool empty = true;
  OptionalTensor scratch{};

  void add(const Tensor& a, const Tensor& b) {
    if (empty)
      mm_out(sum, a, b, exact);
    else
      add_product_(sum, a, b, scratch, exact);
    empty = false;
  }
};

struct HeadGradients {
  bool with_hidden, with_weight, with_bias;
  const KeptRows& kept;
  const Head& head;
  const ScalarType computing;
  Tensor ones;                 // [chunk, 1] of the logits' dtype
  Tensor hidden;               // [kept rows, d]
  ProductSum weight, bias;     // [vocab, d], [1, vocab]
  ProductSum weighted_hidden;  // [1, d] sum over rows: what the smoothing's share is made of

  HeadGradients(bool with_hidden, bool with_weight, bool with_bias, const KeptRows& kept, const Head& head,
                ScalarType computing)
      : with_hidden(with_hidden),
        with_weight(with_weight),
        with_bias(with_bias),
        kept(kept),
        head(head),
        computing(computing),
        weight{head.exact},
        bias{head.exact},
        weighted_hidden{head.exact} {
    const int64_t d = head.hidden.size(1);
    ones = torch::stable::new_zeros(head.logits, {head.logits.size(0), 1});
    torch::stable::fill_(ones, 1.0);
    hidden = make(with_hidden, kept.count, d);
    weight.sum = make(with_weight, head.vocab(), d);
    bias.sum = make(with_bias, 1, head.vocab());
    weighted_hidden.sum = make(true, 1, d);
  }

  bool any() const { return with_hidden || with_weight || with_bias; }

  // exact [rows, vocab] d loss / d logits, h [rows, d] hidden states of the rows that begin at `begin`, and smoothing's
  // share of them. Logits may be float32 where the products are not.
  void add(const Tensor& exact, const Tensor& h, int64_t begin, const std::optional<LabelSmoothing>& smoothing) {
    const Tensor g = head.weight ? torch::stable::to(exact, head.dtype) : exact;
    const int64_t rows = g.size(0);
    if (with_hidden) {
      Tensor out = rows_of(hidden, begin, rows);
      if (head.weight)
        mm_out(out, g, *head.weight, head.exact);
      else
        torch::stable::copy_(out, g);
    }
    if (with_weight) weight.add(transpose(g), h);
    if (with_bias) bias.add(transpose(rows_of(ones, 0, rows)), exact);
    if (!smoothing) return;
    const Tensor shift = rows_of(smoothing->shift, begin, rows);
    if (with_hidden) addmm_(rows_of(hidden, begin, rows), shift, smoothing->u);
    if (with_weight) weighted_hidden.add(transpose(shift), smoothing->states);
  }

  // Smoothing's share of all rows in the sums.
  void finish(const LabelSmoothing& smoothing) {
    if (kept.count == 0) return;
    if (with_weight) addmm_(weight.sum, transpose(smoothing.mask), weighted_hidden.sum);
    if (with_bias)
      addmm_(bias.sum, torch::stable::reshape(torch::stable::sum(smoothing.shift), {1, 1}), smoothing.mask);
  }

 private:
  // Without a single row no product writes a sum, and it must be 0.
  Tensor make(bool wanted, int64_t m, int64_t n) const {
    if (!wanted) return torch::stable::new_empty(head.logits, {0}, computing);
    return kept.count ? torch::stable::new_empty(head.logits, {m, n}, computing)
                      : torch::stable::new_zeros(head.logits, {m, n}, computing);
  }
};

}  // namespace distilmt::ops
