#include "text/measures.h"

#include <algorithm>
#include <cmath>

namespace distilmt {
namespace {

// N-grams of a sentence; n counts from 1.
double grams(int64_t length, int n) { return static_cast<double>(std::max<int64_t>(0, length - n + 1)); }

double kim_rush(const Overlap& o) {
  const int64_t length = o.candidate_length + 2;
  double smooth = 1, product = 1;
  for (int n = 1; n <= kBleuOrder; ++n) {
    if (length < n) break;
    const double matches = o.matches[n - 1] ? static_cast<double>(o.matches[n - 1]) : smooth *= 0.5;
    product *= matches / grams(length, n);
  }
  const double ratio = static_cast<double>(o.reference_length) / static_cast<double>(length);
  return 100 * std::pow(product, 1.0 / kBleuOrder) * std::exp(1 - std::max(1.0, ratio));
}

double bergamot(const Overlap& o) {
  if (o.candidate_length < kBleuOrder) return 0;
  double sum = 0;
  for (int n = 1; n <= kBleuOrder; ++n)
    sum += std::log((static_cast<double>(o.matches[n - 1]) + 1) / (grams(o.candidate_length, n) + 1)) / kBleuOrder;
  const double ratio = static_cast<double>(o.candidate_length) / static_cast<double>(o.reference_length);
  return 100 * std::exp(sum) * (ratio > 1 ? 1.0 : std::exp(1 - 1 / ratio));
}

double sacrebleu(const Overlap& o) {
  if (std::all_of(o.matches.begin(), o.matches.begin() + kBleuOrder, [](int64_t m) { return m == 0; })) return 0;
  const double candidate = static_cast<double>(o.candidate_length), reference = static_cast<double>(o.reference_length);
  double smooth = 1, sum = 0;
  const int order = static_cast<int>(std::min<int64_t>(kBleuOrder, o.candidate_length));
  for (int n = 1; n <= order; ++n) {
    const double total = grams(o.candidate_length, n), matches = static_cast<double>(o.matches[n - 1]);
    sum += std::log(matches > 0 ? 100 * matches / total : 100 / ((smooth *= 2) * total));
  }
  return (candidate < reference ? std::exp(1 - reference / candidate) : 1.0) * std::exp(sum / order);
}

}  // namespace

double sentence_bleu(const Overlap& o, Smoothing smoothing) {
  if (o.reference_length == 0) return 0;
  switch (smoothing) {
    case Smoothing::kim_rush: return kim_rush(o);
    case Smoothing::bergamot: return bergamot(o);
    default: return sacrebleu(o);
  }
}

double sentence_gleu(const Overlap& o) {
  double matches = 0, candidate = 0, reference = 0;
  for (int n = 1; n <= kBleuOrder; ++n) {
    matches += static_cast<double>(o.matches[n - 1]);
    candidate += grams(o.candidate_length, n);
    reference += grams(o.reference_length, n);
  }
  return matches > 0 ? 100 * (matches / std::max(candidate, reference)) : 0;
}

double sentence_chrf(const Overlap& o) {
  // Orders that either is too short for do not count.
  const int order = static_cast<int>(std::min<int64_t>({kMaxOrder, o.candidate_length, o.reference_length}));
  double precision = 0, recall = 0;
  for (int n = 1; n <= order; ++n) {
    precision += static_cast<double>(o.matches[n - 1]) / grams(o.candidate_length, n);
    recall += static_cast<double>(o.matches[n - 1]) / grams(o.reference_length, n);
  }
  if (precision + recall == 0) return 0;
  precision /= order;
  recall /= order;
  return 100 * ((1 + 4.0) * precision * recall / (4.0 * precision + recall));
}

}  // namespace distilmt
