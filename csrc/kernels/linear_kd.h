// Losses of rows of logits, and their gradient. For each row, with z = student + bias, v = teacher + teacher_bias, y
// the target, p = softmax(z), p^T = softmax(z / T), q^T = softmax(v / T):
//
//   nll          = -log p_y
//   smoothed_nll = (1 - C e) nll - e sum_unbanned log p      e = smoothing, C = unbanned: columns that smoothing
//   reaches kl           = sum q^T log(q^T / p^T)                    without T^2 loss         = row_weight *
//   (nll_weight * smoothed_nll + kd_weight * T^2 * kl)
//
// and d loss / d z over z, except the uniform share of the smoothing, -row_weight * nll_weight * e in every unbanned
// column: it is of rank one, and the caller adds it to the gradients of hidden states and weights in closed form, as it
// brings its loss: `uniform`, the sum of the unbanned logits.
//
// Raw pointers and sizes; no Torch. On the CPU `float` is vectorised per instruction set; `double` serves tests.
#pragma once
#include <cstdint>

namespace distilmt {

template <class real>
struct LinearKDRows {
  real* student;             // [rows, vocab] logits without bias; becomes the gradient, or the logits with bias
  const real* bias;          // [vocab] or null
  real* teacher;             // [rows, vocab] logits without bias, overwritten; or null: no kl
  const real* teacher_bias;  // [vocab] or null
  const int64_t* targets;    // [rows], each in [0, vocab)
  const real* row_weights;   // [rows]
  const real* uniform;       // [rows] sum of the unbanned logits without bias; null: no smoothing
  real* loss;                // [rows]
  real* nll;                 // [rows]
  real* smoothed_nll;        // [rows]
  real* kl;                  // [rows], 0 without a teacher
  int64_t rows, vocab;
  real nll_weight, kd_weight, temperature;
  real smoothing, unbanned, uniform_bias;  // e, C and the sum of the unbanned biases
  bool with_grad;
};

// Rows begin..end on the CPU.
void linear_kd_rows(const LinearKDRows<float>& rows, int64_t begin, int64_t end);
void linear_kd_rows(const LinearKDRows<double>& rows, int64_t begin, int64_t end);

}  // namespace distilmt

// All rows, on the CUDA stream (cudaStream_t) given; in the library `_cuda`. Returns the cudaError_t of the launch.
extern "C" {
typedef int DistilmtLinearKDFloat(const distilmt::LinearKDRows<float>* rows, void* stream);
typedef int DistilmtLinearKDDouble(const distilmt::LinearKDRows<double>* rows, void* stream);
}
