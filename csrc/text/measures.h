// Nearness of a candidate sentence to a reference, from their n-grams in common: the measures of published selections.
//
//   Smoothing::kim_rush   Kim & Rush 2016 as released (harvardnlp/seq2seq-attn, s2sa/scorers/bleu.lua, beam.lua): the
//                         j-th order without a match counts as 2^-j matches (NIST; method 3 of Chen & Cherry 2014),
//                         orders that the candidate is too short for are left out of the product, the root stays the
//                         fourth, and the candidate carries begin and end symbols that the reference has not.
//   Smoothing::bergamot   browsermt/students, train-student/data/bestbleu.py: (matches + 1) / (n-grams + 1) in every
//                         order; 0 for a candidate of fewer than four words.
//   Smoothing::sacrebleu  sacrebleu 2.6, sentence_bleu: `exp` smoothing with effective order; 0 without any match.
//
// chrF: Popovic 2015 as sacrebleu's sentence_chrf (order 6, beta 2, no white space, effective order). GLEU: Wu et al.
// 2016 (arXiv:1609.08144), section 5.2, as nltk's sentence_gleu. All are 0 where the reference is empty: there the
// released programs divide by zero or prefer the shortest.
#pragma once
#include "text/ngrams.h"

namespace distilmt {

constexpr int kBleuOrder = 4;

enum class Smoothing { kim_rush, bergamot, sacrebleu };

// In [0, 100]; of n-grams of words or ids up to order 4.
double sentence_bleu(const Overlap& o, Smoothing smoothing);
double sentence_gleu(const Overlap& o);

// In [0, 100]; of n-grams of characters up to order 6.
double sentence_chrf(const Overlap& o);

}  // namespace distilmt
