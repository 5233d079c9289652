// Hand-computed scores; tests/test_select_text.py compares with the definitions and with sacreBLEU on real text.
#include "tests/test.h"
#include "text/measures.h"

using namespace distilmt;

namespace {

constexpr double kExact = 1e-12;

double bleu(const Overlap& o, Smoothing s) { return sentence_bleu(o, s) / 100; }

}  // namespace

// Candidate "a b c d x", reference "a b c d e f": matches 4, 3, 2, 1 of 5, 4, 3, 2.
TEST(measures_of_words) {
  const Overlap o{5, 6, {4, 3, 2, 1}};
  CHECK_NEAR(bleu(o, Smoothing::sacrebleu), std::exp(1 - 6.0 / 5) * std::pow(4. / 5 * 3 / 4 * 2 / 3 * 1 / 2, .25),
             kExact);
  CHECK_NEAR(bleu(o, Smoothing::bergamot), std::exp(1 - 6.0 / 5) * std::pow(5. / 6 * 4 / 5 * 3 / 4 * 2 / 3, .25),
             kExact);
  // With begin and end symbols: 7 words, longer than the reference; n-grams 7, 6, 5, 4.
  CHECK_NEAR(bleu(o, Smoothing::kim_rush), std::pow(4. / 7 * 3 / 6 * 2 / 5 * 1 / 4, .25), kExact);
  CHECK_NEAR(sentence_gleu(o) / 100, 10. / 18, kExact);  // of 5+4+3+2 and 6+5+4+3 n-grams
}

// Candidate "a x b", reference "a y b z w": matches 2, 0, 0 of 3, 2, 1.
TEST(measures_orders_without_a_match_are_smoothed) {
  const Overlap o{3, 5, {2}};
  CHECK_NEAR(bleu(o, Smoothing::sacrebleu), std::exp(1 - 5. / 3) * std::cbrt(2. / 3 * 1 / (2 * 2) * 1 / (4 * 1)),
             kExact);
  CHECK_NEAR(bleu(o, Smoothing::kim_rush), std::pow(2. / 5 * .5 / 4 * .25 / 3 * .125 / 2, .25), kExact);
  CHECK(bleu(o, Smoothing::bergamot) == 0);  // no n-gram of order 4
}

TEST(measures_kim_rush_leaves_out_orders_that_are_too_long) {
  // One word that is not the reference's: with its symbols 3, 2, 1 n-grams, none of order 4, still the fourth root.
  CHECK_NEAR(bleu({1, 3, {0}}, Smoothing::kim_rush), std::pow(.5 / 3 * .25 / 2 * .125 / 1, .25), kExact);
  CHECK_NEAR(bleu({0, 4, {0}}, Smoothing::kim_rush), std::exp(1 - 4. / 2) * std::pow(.5 / 2 * .25 / 1, .25), kExact);
}

TEST(measures_of_the_same_sentence_are_full) {
  const Overlap o{8, 8, {8, 7, 6, 5, 4, 3}};
  CHECK_NEAR(bleu(o, Smoothing::sacrebleu), 1, kExact);
  CHECK_NEAR(bleu(o, Smoothing::bergamot), 1, kExact);
  CHECK_NEAR(sentence_gleu(o), 100, kExact);
  CHECK_NEAR(sentence_chrf(o), 100, kExact);
  CHECK(bleu(o, Smoothing::kim_rush) < 1);
}

// Candidate "abc", reference "abd": 2 of 3 and 3, 1 of 2 and 2, 0 of 1 and 1; longer orders do not count.
TEST(measures_chrf) {
  CHECK_NEAR(sentence_chrf({3, 3, {2, 1}}) / 100, (2. / 3 + 1. / 2) / 3, kExact);
  // Candidate "ab", reference "abcd": precision 1, 1; recall 2/4, 1/3.
  const double recall = (2. / 4 + 1. / 3) / 2;
  CHECK_NEAR(sentence_chrf({2, 4, {2, 1}}) / 100, 5 * recall / (4 + recall), kExact);
}

TEST(measures_of_nothing_are_zero) {
  for (const Overlap& o : {Overlap{0, 0, {}}, Overlap{0, 3, {}}, Overlap{5, 0, {}}, Overlap{5, 6, {}}}) {
    CHECK(sentence_chrf(o) == 0 && sentence_gleu(o) == 0 && sentence_bleu(o, Smoothing::sacrebleu) == 0);
    if (o.reference_length == 0)
      for (Smoothing s : {Smoothing::kim_rush, Smoothing::bergamot}) CHECK(sentence_bleu(o, s) == 0);
  }
}
