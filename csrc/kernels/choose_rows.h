// Which rows the gated terms look at: by a score of each row, and a gate that the scores give themselves.
//
//   rate r over a batch:  gate = the ceil(n r)-th largest of the n scores of this call
//   rate r over a queue:  the scores are pushed first, then gate = the ceil(n r)-th largest of the n in the queue
//   a given gate:         nothing is pushed
//   chosen = score >= gate, ties included; or, with `lowest`, all of this from the other end
//
// A score of NaN, as of a row without a target, is not pushed, counted or chosen; of no scores the gate is one that all
// pass. The queue is a ring of the last `size` scores. (The released code drops as many old scores as a batch brings,
// so that its queue freezes somewhat below its size, and a batch larger than the queue replaces it.) Source: Wang et
// al. 2021 (Selective KD, arXiv:2105.12967), section 4; order and ties as in the authors' code.
//
// Counts are exact below 2^24 scores.
#pragma once
#include <cstdint>

namespace distilmt {

// What a score of a row is; as python/distilmt/ops/linear_kd_call.py counts.
enum class Score : int32_t { none, student_nll, teacher_entropy, teacher_confidence, teacher_margin };

template <class real>
struct ChooseRows {
  Score score;             // none: `student` as it is
  const real* student;     // [rows] -log p(y), for student_nll and teacher_margin
  const real* teacher;     // [rows] its entropy, -log of its largest probability, or -log q(y); as `score` asks
  const int64_t* targets;  // [rows], or null: all rows have one
  float* scores;           // [rows] out
  int64_t rows;

  const float* given;  // [1] a given gate, or null
  double rate;
  bool lowest;
  float* queue;    // [size] values, changed in place; or null
  int64_t* state;  // [2] where the next one goes, how many there are
  int64_t size;

  float* gate;   // [1] out
  bool* chosen;  // [rows] out
};

// On the CPU, by one thread.
void choose_rows(const ChooseRows<float>& call);
void choose_rows(const ChooseRows<double>& call);

}  // namespace distilmt

// By one block, on the CUDA stream (cudaStream_t) given; in the library `_cuda`. Returns the cudaError_t of the launch.
extern "C" {
typedef int DistilmtChooseRowsFloat(const distilmt::ChooseRows<float>* call, void* stream);
typedef int DistilmtChooseRowsDouble(const distilmt::ChooseRows<double>* call, void* stream);
}
