// The terms of an objective on rows of logits, and the gradient of their weighted sum: one call for all of them.
//
// For each row, with z = student + bias, v = a dense teacher's logits, y the target, p^T = softmax(z / T) and q^S =
// softmax(v / S), every term i has a value_i (formulas: csrc/terms, csrc/divergences), and
//
//   loss = row_weight * sum_i weight_i * value_i          over the terms that look at this row
//
// d loss / d z is written over z, except the uniform share of label smoothing, `shift` in every unbanned column: it is
// of rank one, and the caller adds it to the gradients of hidden states and weights in closed form, as it brings its
// loss: `uniform`, the sum of the unbanned logits.
//
// Reading. One pass over the logits of student and teachers gives all normalisers, the agreement and the values of nll,
// forward_kl, cross_entropy, reverse_kl, logit_mse and sparse_kl; another one writes the gradient. Read again for their
// values are the logits of terms whose formula needs a normaliser, a mean or an order first: jensen_shannon, skew_kl,
// skew_reverse_kl, total_variation and a centred logit_mse once, sparse_kl with a rest once, ranking, top1 and
// top1_to_gold once (on a GPU twice per token), adaptive_kl until its head is found (at most 32 times). A CPU, whose
// row lies in a near cache, finds the largest logits in a pass of their own before the first.
//
// Raw pointers and sizes; no Torch. `storage` is what logits and their gradient lie in memory as: float, bfloat16 or
// float16, computed in float; or double. On the CPU float and bfloat16 are vectorised per instruction set; all else
// serves tests.
#pragma once
#include <cstdint>

#include "divergences/scalar.h"
#include "kernels/half.h"

namespace distilmt {

// Order and numbers are part of the operator's signature: python/distilmt/ops/linear_kd_call.py counts the same way.
enum class TermKind : int32_t {
  nll,         // targets; a: smoothing per column (e)
  forward_kl,  // a dense teacher, as all down to ranking
  cross_entropy,
  reverse_kl,
  jensen_shannon,   // a: b of the mixture, b: scale
  skew_kl,          // a: l
  skew_reverse_kl,  // a: l
  total_variation,
  adaptive_kl,   // a: mass of the head
  logit_mse,     // a: factor of the teacher's logits, b: 1 for logits centred over the vocabulary
  top1,          // a: 1 to weigh by the teacher's probability of its top token
  top1_to_gold,  // cross-entropy with the teacher whose top token's mass stands on the target
  ranking,       // count: k
  sparse_kl,     // a sparse teacher; a: SparseTail
};

enum class SparseTail : int32_t { renormalise, drop, rest };

// What the one reading adds up for a term with a dense teacher, from logits less their largest ones.
template <class real>
struct Moment {
  enum Weight : int32_t {
    teacher,  // e^(v / S) (of_z z + of_v v), and for every divergence e^(v / S)
    student,  // e^(z / T) (of_z z + of_v v), and e^(v / S)
    columns,  // logit_mse: its squares, or differences where centred, and the unbanned columns
    none      // e^(v / S) alone
  } weight;
  real per_t, per_s, of_z, of_v;
};

template <class real>
struct KDTerm {
  TermKind kind;
  int32_t teacher;      // which dense teacher
  int32_t slot;         // its temperature among `temperatures`
  int32_t count;        // ranking, sparse_kl: k
  int32_t first_entry;  // where its sparse gradient entries begin
  bool gated;           // looks at chosen rows alone
  real weight, temperature, teacher_temperature;
  real a, b;
  Moment<real> moment;  // follows from the others: prepare
};

void prepare(KDTerm<float>& term);
void prepare(KDTerm<double>& term);

// Entries of the gradient that a term adds to single columns.
template <class real>
DISTILMT_HD constexpr int32_t gradient_entries(const KDTerm<real>& term) {
  switch (term.kind) {
    case TermKind::nll:
    case TermKind::top1: return 1;
    case TermKind::top1_to_gold: return 2;
    case TermKind::ranking: return 2 * term.count;
    case TermKind::sparse_kl: return term.count;
    default: return 0;
  }
}

template <class real>
DISTILMT_HD constexpr bool has_dense_teacher(const KDTerm<real>& term) {
  return term.kind != TermKind::nll && term.kind != TermKind::sparse_kl;
}

// Whether a term's gradient goes column by column.
template <class real>
DISTILMT_HD constexpr bool has_slope(const KDTerm<real>& term) {
  return has_dense_teacher(term) && term.kind != TermKind::top1 && term.kind != TermKind::ranking;
}

// Whether a term's gradient has a part in all columns but those of its entries.
template <class real>
DISTILMT_HD constexpr bool has_rest(const KDTerm<real>& term) {
  return term.kind == TermKind::sparse_kl && SparseTail(int32_t(term.a)) == SparseTail::rest;
}

constexpr int kMaxTemperatures = 4, kMaxTerms = 8, kMaxTeachers = 2, kMaxRanking = 64;
constexpr int64_t kNoTarget = -100;  // as in torch.nn.functional.cross_entropy

// Teacher's rows lie apart: where only chosen rows have one, row r of the student is row index[r] of the teacher, or
// -1.
template <class real, class storage>
struct KDTeacher {
  const storage* logits;  // [teacher rows, vocab] without bias
  const real* bias;       // [vocab] or null
  const int64_t* index;   // [rows], or null: row for row
};

template <class real>
struct SparseTeacher {
  const int64_t* ids;     // [rows, k]; an entry of log-probability -inf is absent, whatever its id
  const real* log_probs;  // [rows, k] at temperature 1, distinct ids
  int64_t k;
};

template <class real, class storage = real>
struct LinearKDRows {
  storage* student;         // [rows, vocab] logits without bias; becomes the gradient
  const real* bias;         // [vocab] or null
  const int64_t* targets;   // [rows]; kNoTarget: a row of zeros; any other number outside [0, vocab): a row of NaN
  const real* row_weights;  // [rows]
  const bool* chosen;       // [rows]: gated terms look at these; null: at all
  const float* scores;      // [rows] or null: NaN makes the row's loss NaN
  const real* uniform;      // [rows] sum of the unbanned logits without bias; null: no smoothing
  const real* unbanned;     // [2] number of unbanned columns, sum of their biases; where `uniform` is
  KDTeacher<real, storage> teachers[kMaxTeachers];
  SparseTeacher<real> sparse;

  KDTerm<real> terms[kMaxTerms];
  int32_t term_count;
  real temperatures[kMaxTemperatures];  // of the student; the first is 1
  int32_t temperature_count;

  int64_t* entry_ids;  // [rows, entries] scratch
  real* entry_values;  // [rows, entries] scratch
  real* entry_totals;  // [rows, entries] scratch
  int64_t entries;     // sum of gradient_entries()

  real* loss;       // [rows]
  real* nll;        // [rows] -log p_y at temperature 1
  real* agreement;  // [rows] 1 where student and first dense teacher, or if there is none the sparse one, have the same
                    // top token, else 0
  real* looked;     // [rows] 1 where gated terms look
  real* shift;      // [rows] d loss / d z of smoothing's uniform share, in each unbanned column; where `uniform` is
  real* values;     // [terms] of [rows], `value_stride` apart; 0 where a term does not look
  int64_t value_stride;
  int64_t rows, vocab;
  int64_t stride;  // columns from one row of logits to the next, of student and teachers
  bool with_grad;
};

// Rows begin..end on the CPU.
void linear_kd_rows(const LinearKDRows<float>& rows, int64_t begin, int64_t end);
void linear_kd_rows(const LinearKDRows<double>& rows, int64_t begin, int64_t end);
void linear_kd_rows(const LinearKDRows<float, bfloat16>& rows, int64_t begin, int64_t end);
void linear_kd_rows(const LinearKDRows<float, float16>& rows, int64_t begin, int64_t end);

}  // namespace distilmt

// All rows, on the CUDA stream (cudaStream_t) given; in the library `_cuda`. Returns the cudaError_t of the launch.
extern "C" {
typedef int DistilmtLinearKDFloat(const distilmt::LinearKDRows<float>* rows, void* stream);
typedef int DistilmtLinearKDDouble(const distilmt::LinearKDRows<double>* rows, void* stream);
typedef int DistilmtLinearKDBFloat16(const distilmt::LinearKDRows<float, distilmt::bfloat16>* rows, void* stream);
typedef int DistilmtLinearKDFloat16(const distilmt::LinearKDRows<float, distilmt::float16>* rows, void* stream);
}
