// Several teachers as one: the log-probabilities of their mean, member after member.
//
//   arithmetic: mixed = log sum_m w_m softmax(v_m)        geometric: mixed = sum_m w_m log softmax(v_m), not normalised
//
// w [rows] per member and row; they sum to 1 over the members. Either is a row of logits for linear_kd.
// Sources: arithmetic, Freitag et al. 2017 (arXiv:1702.01802); geometric, as ensembles are decoded in Marian.
#pragma once
#include <cstdint>

namespace distilmt {

template <class real>
struct MixedRows {
  const real* logits;   // [rows, vocab] of this member, without bias
  const real* bias;     // [vocab] or null
  const real* weights;  // [rows]
  real* mixed;          // [rows, vocab]
  int64_t rows, vocab;
  int64_t stride;         // columns from one row of logits or of `mixed` to the next
  bool geometric, first;  // first: mixed is written, else added to
};

// Rows begin..end on the CPU.
void mix_teachers(const MixedRows<float>& rows, int64_t begin, int64_t end);
void mix_teachers(const MixedRows<double>& rows, int64_t begin, int64_t end);

}  // namespace distilmt

// All rows, on the CUDA stream (cudaStream_t) given; in the library `_cuda`. Returns the cudaError_t of the launch.
extern "C" {
typedef int DistilmtMixTeachersFloat(const distilmt::MixedRows<float>* rows, void* stream);
typedef int DistilmtMixTeachersDouble(const distilmt::MixedRows<double>* rows, void* stream);
}
