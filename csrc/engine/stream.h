// The residual stream of a stack of layers, and where its norms stand: before each sublayer, which then reads the norm
// of the stream (pre-norm), or after it, on the stream itself (post-norm).
//
//   post-norm: x = norm(x + sublayer(x))      pre-norm: x = x + sublayer(norm(x)), and one norm behind the stack
//
// Source: Xiong et al. 2020 (arXiv:2002.04745); Hugging Face's modeling_marian.py, modeling_bart.py (post-norm),
// modeling_mbart.py, modeling_m2m_100.py (pre-norm).
#pragma once
#include "common/aligned.h"
#include "engine/weights.h"
#include "kernels/embed.h"
#include "kernels/layer_norm.h"

namespace distilmt {

class Stream {
 public:
  // max_rows: of one call, which fixes the memory.
  Stream(const ModelConfig& config, const StackWeights& stack, int64_t max_rows)
      : config_(config),
        stack_(stack),
        x_(aligned<float>(max_rows * config.hidden)),
        normed_(aligned<float>(config.pre_norm ? max_rows * config.hidden : 0)) {}

  float* x() const { return x_.get(); }  // [rows, hidden]

  // Token embeddings plus positions become the stream.
  void start(const Table& table, const int32_t* ids, const int32_t* at, int64_t rows) {
    rows_ = rows;
    embed(table, config_.embedding_scale(), stack_.positions.data(), ids, at, rows, config_.hidden, x());
    if (config_.embedding_norm) normalise(stack_.embedding_norm, x());
  }

  // What the sublayer that `norm` belongs to reads.
  const float* before(const Norm& norm) const {
    if (!config_.pre_norm) return x();
    normalise(norm, normed_.get());
    return normed_.get();
  }

  // Once that sublayer has been added to the stream.
  void after(const Norm& norm) const {
    if (!config_.pre_norm) normalise(norm, x());
  }

  // Behind the last layer: the states of the stack.
  const float* finish() const { return before(stack_.final_norm); }

 private:
  void normalise(const Norm& norm, float* out) const {
    layer_norm(x(), norm.gamma.data(), norm.beta.data(), kEps, rows_, config_.hidden, out);
  }

  static constexpr float kEps = 1e-5f;  // torch.nn.LayerNorm's default, which all families keep

  const ModelConfig& config_;
  const StackWeights& stack_;
  int64_t rows_ = 0;
  Aligned<float> x_, normed_;
};

}  // namespace distilmt
