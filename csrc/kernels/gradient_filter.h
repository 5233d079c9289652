// A gradient [rows, vocab] as few entries, and its two products with them: an approximation, never used unasked.
//
// Of every row the smallest entries are dropped, together at most a share `mass` of the row's sum of absolute values.
// The threshold is the largest of max |g| / 2^j, j = 1 .. 16, that keeps the promise, or 0: one pass over the row.
// Afterwards   hidden [rows, d] = g weight   and   weight_gradient [vocab, d] += g^T hidden   touch kept entries alone.
// Idea: Cut Cross-Entropy, Wijmans et al. 2025 (arXiv:2411.09009), section 4.3, there per tile and with a fixed
// threshold.
//
// float32 on the CPU. Sums run in the order of columns (hidden) and of rows (weight): results do not depend on threads.
#pragma once
#include <cstdint>

namespace distilmt {

struct GradientFilter {
  float* g;            // [rows, vocab]
  const float* shift;  // [rows] or null: g -= shift * open first, in place (the uniform share of label smoothing)
  const float* open;   // [vocab] 1 or 0
  int64_t vocab;
  float mass;
  float* thresholds;  // [rows]
  int64_t* counts;    // [rows] entries kept
  float* whole;       // [rows] sum |g|
  float* lost;        // [rows] what of it is dropped
};

// Rows begin..end: thresholds, counts and sums.
void filter_rows(const GradientFilter& filter, int64_t begin, int64_t end);

// Kept entries of one row, in order: `columns` and `values` have room for its count.
void kept_entries(const float* g, int64_t vocab, float threshold, int32_t* columns, float* values);

// out [d] (+)= sum over count entries of values[i] * matrix[index[i]], matrix [.., d].
void sum_rows(const float* matrix, int64_t d, const int32_t* index, const float* values, int64_t count, bool add,
              float* out);

}  // namespace distilmt
