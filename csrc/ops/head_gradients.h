// Gradients of a Head from d loss / d logits, chunk after chunk. Weight and bias are sums over all rows, in computing
// dtype.
#pragma once
#include "ops/label_smoothing.h"

namespace distilmt::ops {

// A sum of matrix products; the first one writes, so that nobody has to clear [vocab, d] beforehand.
struct ProductSum {
  Tensor sum;
  bool empty = true;

  void add(const Tensor& a, const Tensor& b) {
    if (empty)
      mm_out(sum, a, b);
    else
      addmm_(sum, a, b);
    empty = false;
  }
};

struct HeadGradients {
  bool with_hidden, with_weight, with_bias;
  const KeptRows& kept;
  const Head& head;
  Tensor ones;                                 // [chunk, 1]
  Tensor hidden;                               // [kept rows, d]
  ProductSum weight, bias;                     // [vocab, d], [1, vocab]
  ProductSum weighted_hidden, total_weight{};  // [1, d], [1, 1] sums over rows: what the smoothing's share is made of

  HeadGradients(bool with_hidden, bool with_weight, bool with_bias, const KeptRows& kept, const Head& head)
      : with_hidden(with_hidden), with_weight(with_weight), with_bias(with_bias), kept(kept), head(head) {
    const int64_t d = head.hidden.size(1);
    ones = torch::stable::new_zeros(head.logits, {head.logits.size(0), 1});
    torch::stable::fill_(ones, 1.0);
    hidden = make(with_hidden, kept.count, d);
    weight.sum = make(with_weight, head.vocab(), d);
    bias.sum = make(with_bias, 1, head.vocab());
    weighted_hidden.sum = make(true, 1, d);
    total_weight.sum = make(true, 1, 1);
  }

  bool any() const { return with_hidden || with_weight || with_bias; }

  // g [rows, vocab] d loss / d logits, h [rows, d] hidden states of the rows that begin at `begin`.
  void add(const Tensor& g, const Tensor& h, int64_t begin) {
    if (with_hidden) {
      Tensor out = rows_of(hidden, begin, g.size(0));
      if (head.weight)
        mm_out(out, g, *head.weight);
      else
        torch::stable::copy_(out, g);
    }
    if (with_weight) weight.add(transpose(g), h);
    if (with_bias) bias.add(transpose(rows_of(ones, 0, g.size(0))), g);
  }

  // The smoothing's share of the same rows; w [rows, 1] their weights.
  void add_uniform(const LabelSmoothing& smoothing, const Tensor& w, const Tensor& h, int64_t begin, double scale) {
    if (with_hidden) addmm_(rows_of(hidden, begin, h.size(0)), w, smoothing.u, scale);
    if (with_weight) weighted_hidden.add(transpose(w), h);
    if (with_bias) total_weight.add(transpose(w), rows_of(ones, 0, h.size(0)));
  }

  void finish_uniform(const LabelSmoothing& smoothing, double scale) {
    if (with_weight) addmm_(weight.sum, transpose(smoothing.mask), weighted_hidden.sum, scale);
    if (with_bias) addmm_(bias.sum, total_weight.sum, smoothing.mask, scale);
  }

 private:
  // Without a single row no product writes a sum, and it must be 0.
  Tensor make(bool wanted, int64_t m, int64_t n) const {
    if (!wanted) return torch::stable::new_empty(head.logits, {0});
    return kept.count ? torch::stable::new_empty(head.logits, {m, n}) : torch::stable::new_zeros(head.logits, {m, n});
  }
};

}  // namespace distilmt::ops
