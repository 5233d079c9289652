// What a chunk's rows learn from: dense teachers, of one or more members, and a sparse one.
#pragma once
#include "ops/chunk.h"
#include "ops/head.h"
#include "ops/launch.h"

namespace distilmt::ops {

template <class real, class storage>
struct Teacher {
  std::vector<Head> members;
  OptionalTensor mix_weights;  // [members, kept rows], where there are several
  bool geometric;
  Tensor logits, member;  // [chunk, vocab]: what the row kernel sees; a member's own, where there are several
  Tensor index;           // [chunk] of the rows chosen

  // tensors: hidden, weight, bias of each member.
  Teacher(const Call& c, const KeptRows& kept, const Chunk& chunk, const std::vector<Tensor>& tensors)
      : geometric(c.geometric), logits(chunk.logits(tensors[0], chunk.rows)) {
    const bool several = tensors.size() > 3;
    if (several) {
      member = chunk.logits(tensors[0], chunk.rows);
      mix_weights = torch::stable::to(kept.index ? index_select(*c.mix_weights, 1, *kept.index) : *c.mix_weights,
                                      chunk.computing);
    }
    for (size_t i = 0; i < tensors.size(); i += 3) {
      const OptionalTensor weight = present(tensors[i + 1]);
      members.emplace_back(tensors[i], weight, present(tensors[i + 2]), several ? member : logits,
                           product_dtype(c, tensors[i], chunk.computing, bool(weight)), chunk.computing, c.masked);
    }
  }

  // Its logits for the kept rows `begin .. begin + count`, or for those where chosen [count] is true.
  KDTeacher<real, storage> project(const KeptRows& kept, int64_t begin, int64_t count, const bool* chosen = nullptr) {
    const real* bias = members.size() == 1 && members[0].bias ? data<real>(*members[0].bias) : nullptr;
    if (!chosen) {
      project(kept, begin, count, OptionalTensor());
      return {data<storage>(logits), bias, nullptr};
    }
    std::vector<int64_t> places(count, -1), rows;
    for (int64_t i = 0; i < count; ++i)
      if (chosen[i]) {
        places[i] = rows.size();
        rows.push_back(i);
      }
    if (!rows.empty()) project(kept, begin, count, tensor_of(rows));
    index = tensor_of(places);
    return {data<storage>(logits), bias, data<int64_t>(index)};
  }

 private:
  void project(const KeptRows& kept, int64_t begin, int64_t count, const OptionalTensor& rows) {
    for (size_t m = 0; m < members.size(); ++m) {
      const Head& head = members[m];
      const Tensor h = kept.chunk(head.hidden, begin, count);
      head.project(torch::stable::to(rows ? index_select(h, 0, *rows) : h, head.dtype));
      if (members.size() == 1) return;
      Tensor w = rows_of(torch::stable::select(*mix_weights, 0, m), begin, count);
      w = torch::stable::contiguous(rows ? index_select(w, 0, *rows) : w);
      MixedRows<real> mixed{};
      mixed.logits = data<real>(head.logits);
      mixed.bias = head.bias ? data<real>(*head.bias) : nullptr;
      mixed.weights = data<real>(w);
      mixed.mixed = data<real>(logits);
      mixed.rows = w.size(0);
      mixed.vocab = logits.size(1);
      mixed.stride = logits.stride(0);
      mixed.geometric = geometric;
      mixed.first = m == 0;
      run_rows(mixed, logits);
    }
  }
};

// A teacher known at k tokens of each kept row.
template <class real>
struct KnownTokens {
  Tensor ids, log_probs;  // [kept rows, k]

  KnownTokens(const Call& c, const KeptRows& kept) {
    if (!c.sparse_ids) return;
    const auto of_kept = [&](const Tensor& t, ScalarType dtype) {
      return torch::stable::contiguous(torch::stable::to(kept.chunk(t, 0, kept.count), dtype));
    };
    ids = of_kept(*c.sparse_ids, ScalarType::Long);
    log_probs = of_kept(*c.sparse_log_probs, kDtype<real>);
  }

  // Of the kept rows from `begin` on.
  SparseTeacher<real> from(int64_t begin) const {
    if (!ids.defined()) return {};
    const int64_t k = ids.size(1);
    return {data<int64_t>(ids, begin * k), data<real>(log_probs, begin * k), k};
  }
};

}  // namespace distilmt::ops
