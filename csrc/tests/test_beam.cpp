#include <algorithm>
#include <cmath>

#include "engine/ancestors.h"
#include "engine/beam.h"
#include "engine/choices.h"
#include "tests/test.h"

using namespace distilmt;

namespace {

constexpr int kEos = 0;

SearchOptions options(int beam_size, int max_length = 10) {
  SearchOptions o;
  o.beam_size = o.n_best = beam_size;
  o.max_length = max_length;
  o.eos = kEos;
  return o;
}

// One step, each row's candidates given as {log-probability, id}, best first; and the attention of each row.
void advance(Beam& beam, const std::vector<std::vector<Candidate>>& candidates,
             const std::vector<std::vector<float>>& attention = {}) {
  std::vector<Row> rows(candidates.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const Candidate& c : candidates[i])
      if (c.id >= 0) rows[i].choices.push_back({c.id, c.logit, c.logit});
    if (!attention.empty()) rows[i].attention = attention[i].data();
  }
  beam.advance(rows.data(), {});
}

}  // namespace

TEST(beam_length_penalty_counts_the_end_symbol) {
  CHECK(normalize(-6.0f, 4, 0.0) == -6.0f);
  CHECK(normalize(-6.0f, 4, 1.0) == -1.5f);
  CHECK(normalize(-6.0f, 4, 0.5) == -3.0f);
  CHECK(normalize(-6.0f, 4, -1.0) == -24.0f);
  CHECK(normalize(-1.0f, 3, 0.6) == -1.0f / static_cast<float>(std::pow(3.0, 0.6)));
  CHECK(normalize(-3.0f, 7, 1.0, LengthForm::gnmt) == -1.5f);
  CHECK(normalize(-3.0f, 1, 0.6, LengthForm::gnmt) == -3.0f);
}

TEST(beam_of_one_takes_the_best_and_stops_at_the_first_end) {
  const SearchOptions o = options(1);
  Beam beam(o, 0, o.max_length, 0);
  CHECK(beam.wanted() == 1 && beam.rows() == 1);
  advance(beam, {{{-0.5f, 7}}});
  CHECK(!beam.done() && beam.token(0) == 7);
  advance(beam, {{{-0.25f, kEos}}});
  CHECK(beam.done());
  const auto best = beam.results();
  CHECK(best.size() == 1 && best[0].ended);
  CHECK((best[0].ids == std::vector<int>{7}) && (best[0].log_probs == std::vector<float>{-0.5f, -0.25f}));
  CHECK(best[0].score == -0.375f);
}

TEST(beam_follows_parents_and_keeps_the_best_finished) {
  SearchOptions o = options(2);
  o.length_penalty = 0;
  Beam beam(o, 0, o.max_length, 0);
  CHECK(beam.wanted() == 4);
  advance(beam, {{{-1.0f, 5}, {-2.0f, 6}, {-3.0f, 7}, {-4.0f, 8}}});
  CHECK(beam.token(0) == 5 && beam.token(1) == 6 && beam.rows() == 2);
  // Sums: beam 0: 9 -1.5, eos -1.6; beam 1: 9 -2.1, 8 -2.2. The end is second best: it is kept, and 9 and 9 live on.
  advance(beam,
          {{{-0.5f, 9}, {-0.6f, kEos}, {-5.0f, 8}, {-6.0f, 7}}, {{-0.1f, 9}, {-0.2f, 8}, {-5.0f, 7}, {-6.0f, 6}}});
  CHECK(!beam.done());
  CHECK(beam.token(0) == 9 && beam.parent(0) == 0 && beam.token(1) == 9 && beam.parent(1) == 1);
  // Both end: -1.6 stands, then -1.75. The living are worse, so the search is over.
  advance(beam,
          {{{-0.25f, kEos}, {-5.0f, 8}, {-6.0f, 7}, {-7.0f, 6}}, {{-4.0f, 5}, {-5.0f, 8}, {-6.0f, 7}, {-7.0f, 6}}});
  CHECK(beam.done());
  const auto best = beam.results();
  CHECK(best.size() == 2);
  CHECK((best[0].ids == std::vector<int>{5}) && (best[1].ids == std::vector<int>{5, 9}));
  CHECK_NEAR(best[0].score, -1.6, 1e-6);
  CHECK_NEAR(best[1].score, -1.75, 1e-6);
}

TEST(beam_only_the_first_beam_size_candidates_may_finish) {
  SearchOptions o = options(2);
  o.early_stopping = EarlyStopping::yes;
  Beam beam(o, 0, o.max_length, 0);
  // The end symbol is third of four: not kept.
  advance(beam, {{{-1.0f, 5}, {-2.0f, 6}, {-3.0f, kEos}, {-4.0f, 8}}});
  advance(beam,
          {{{-1.0f, 5}, {-9.0f, 6}, {-9.5f, 7}, {-9.6f, 8}}, {{-1.0f, kEos}, {-9.0f, 6}, {-9.5f, 7}, {-9.6f, 8}}});
  CHECK(!beam.done());  // one is kept, two are needed
  advance(beam,
          {{{-0.1f, kEos}, {-9.0f, 6}, {-9.5f, 7}, {-9.6f, 8}}, {{-1.0f, 5}, {-9.0f, 6}, {-9.5f, 7}, {-9.6f, 8}}});
  CHECK(beam.done());
  const auto best = beam.results();
  CHECK(best.size() == 2);
  CHECK((best[0].ids == std::vector<int>{5, 5}) && (best[1].ids == std::vector<int>{6}));
}

TEST(beam_ties_go_to_the_lower_beam_then_to_the_lower_id) {
  const SearchOptions o = options(2);
  Beam beam(o, 0, o.max_length, 0);
  advance(beam, {{{-1.0f, 3}, {-1.0f, 4}, {-1.0f, 8}, {-1.0f, 9}}});
  CHECK(beam.token(0) == 3 && beam.token(1) == 4);
  advance(beam, {{{-1.0f, 6}, {-1.0f, 9}, {-1.5f, 4}, {-2.0f, 5}}, {{-1.0f, 2}, {-1.0f, 3}, {-1.5f, 4}, {-2.0f, 5}}});
  CHECK(beam.parent(0) == 0 && beam.token(0) == 6 && beam.parent(1) == 0 && beam.token(1) == 9);
}

TEST(beam_reaches_its_length_without_an_end) {
  const SearchOptions o = options(2, 2);
  Beam beam(o, 0, o.max_length, 0);
  advance(beam, {{{-1.0f, 5}, {-2.0f, 6}, {-3.0f, 7}, {-4.0f, 8}}});
  advance(beam,
          {{{-1.0f, 5}, {-2.0f, 6}, {-3.0f, 7}, {-4.0f, 8}}, {{-1.5f, kEos}, {-2.0f, 6}, {-3.0f, 7}, {-4.0f, 8}}});
  CHECK(beam.done());
  const auto best = beam.results();
  CHECK(!best[0].ended && (best[0].ids == std::vector<int>{5, 5}) && best[0].log_probs.size() == 2);
}

TEST(beam_forces_tokens) {
  SearchOptions o = options(2, 3);
  o.forced_bos = 9;
  o.forced_eos = kEos;
  Beam beam(o, 0, 3, 0);
  const std::vector<Candidate> four = {{-1.0f, 5}, {-2.0f, 6}, {-3.0f, 7}, {-4.0f, 8}};
  advance(beam, {four});
  CHECK(beam.token(0) == 9);
  advance(beam, {four, four});
  CHECK(beam.token(0) == 5 && beam.token(1) == 6 && beam.parent(1) == 0);
  advance(beam, {four, four});
  CHECK(beam.done());
  for (const Hypothesis& h : beam.results()) CHECK(h.ended && h.ids.size() == 2 && h.log_probs.back() == 0.0f);
  Beam behind_a_prefix(o, 1, 3, 0);
  advance(behind_a_prefix, {four});
  CHECK(behind_a_prefix.token(0) == 5);
}

TEST(beam_patience_is_how_many_are_kept) {
  SearchOptions o = options(2);
  o.early_stopping = EarlyStopping::yes;
  o.patience = 2;
  Beam beam(o, 0, o.max_length, 0);
  const std::vector<Candidate> ending = {{-0.1f, kEos}, {-1.0f, 5}, {-2.0f, 6}, {-3.0f, 7}};
  advance(beam, {ending});
  for (int kept = 1; kept < 4; ++kept) {
    CHECK(!beam.done());
    advance(beam, {ending, {{-9.0f, 5}, {-9.1f, 6}, {-9.2f, 7}, {-9.3f, 8}}});
  }
  CHECK(beam.done() && beam.results().size() == 2);
}

// With n_best 1, "never" waits until both kept hypotheses are safe, "exact" for the first alone.
TEST(beam_exact_stop_waits_for_n_best_alone) {
  for (const auto& [stopping, steps] : {std::pair{EarlyStopping::never, 4}, {EarlyStopping::exact, 2}}) {
    SearchOptions o = options(2, 100);
    o.n_best = 1;
    o.length_penalty = 0.5;
    o.early_stopping = stopping;
    Beam beam(o, 0, o.max_length, 0);
    advance(beam, {{{-0.1f, 5}, {-3.0f, 6}, {-4.0f, 7}, {-5.0f, 8}}});
    const std::vector<Candidate> worse = {{-8.0f, 5}, {-8.1f, 6}, {-8.2f, 7}, {-8.3f, 8}};
    advance(beam, {{{-0.1f, kEos}, {-2.0f, 5}, {-9.0f, 6}, {-9.0f, 7}}, worse});
    while (!beam.done()) advance(beam, {{{-0.1f, 5}, {-0.1f, 6}, {-0.3f, kEos}, {-2.0f, 7}}, worse});
    CHECK(beam.generated() >= steps && (stopping == EarlyStopping::never || beam.generated() == steps));
    CHECK(beam.results()[0].ids == std::vector<int>{5});
  }
}

TEST(beam_coverage_penalty_counts_what_was_not_looked_at) {
  SearchOptions o = options(2);
  o.length_penalty = 0;
  o.coverage_penalty = 2;
  o.early_stopping = EarlyStopping::yes;
  Beam beam(o, 1, o.max_length, 2);
  const std::vector<float> prefix = {0.25f, 0.25f};
  beam.cover(prefix.data());
  advance(beam, {{{-1.0f, 5}, {-2.0f, 6}, {-3.0f, 7}, {-4.0f, 8}}}, {{0.25f, 0.75f}});
  // Both end, having looked at (0.625, 1 and more).
  const std::vector<Candidate> ending = {{-0.5f, kEos}, {-9.0f, 6}, {-9.5f, 7}, {-9.6f, 8}};
  advance(beam, {ending, ending}, {{0.125f, 0.875f}, {0.125f, 0.875f}});
  CHECK(beam.done());
  CHECK_NEAR(beam.results()[0].score, -1.5 + 2 * std::log(0.625), 1e-6);
  Coverage nothing(2);
  const std::vector<float> one = {1.0f, 0.0f};
  CHECK(std::isfinite(nothing.penalty(0, one.data())) && nothing.penalty(0, one.data()) < -80);
}

TEST(constraints_of_a_row) {
  CHECK((repeated_ends({1, 2, 3, 1, 2, 4, 1, 2}, 3) == std::vector<int>{3, 4}));
  CHECK((repeated_ends({7, 8, 7}, 1) == std::vector<int>{7, 8, 7}) && repeated_ends({7}, 2).empty());
  SearchOptions o = options(2);
  o.banned = {9, 4};
  o.no_repeat_ngram_size = 2;
  o.repetition_penalty = 1.5f;
  std::vector<Aside> asides = {{4, false, false, 0.25f}, {7, false, false, 0.5f}, {7, false, false, 0.125f}};
  set_aside(o, {5, 6, 5}, true, asides);
  const std::vector<Aside> expected = {{0, true},       {4, true, false, 0.25f},   {5, false, true},
                                       {6, true, true}, {7, false, false, 0.625f}, {9, true}};
  CHECK(asides.size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    CHECK(asides[i].id == expected[i].id && asides[i].banned == expected[i].banned &&
          asides[i].seen == expected[i].seen && asides[i].neighbour == expected[i].neighbour);
}

TEST(choices_penalise_mix_and_renormalise) {
  const float half = std::log(0.5f), eighth = std::log(0.125f);
  const Candidate top[] = {{half + 3, 5}, {-INFINITY, -1}};
  const Aside asides[] = {{2, true}, {6, false, true, 0.75f}};
  const float logits[] = {eighth + 3, eighth + 3};
  ProjectedRow p{top, 2, 3.0f, asides, logits, 2};
  p.free_log_sum = std::log(0.75f) + 3;
  SearchOptions o = options(2);
  o.repetition_penalty = 2;
  Row row;
  choose(p, o, row);
  CHECK(row.free == 1 && row.choices.size() == 2 && row.choices[0].id == 5 && row.choices[1].id == 6);
  CHECK_NEAR(row.choices[0].score, half, 1e-6);
  CHECK_NEAR(row.choices[1].score, 2 * eighth, 1e-6);
  CHECK_NEAR(row.choices[1].log_prob, eighth, 1e-6);
  o.beam_size = 1;  // the logit is penalised: here it is above 0
  choose(p, o, row);
  CHECK_NEAR(row.choices[1].score, (eighth + 3) / 2 - 3, 1e-6);
  o.beam_size = 2;
  o.renormalize = true;
  choose(p, o, row);
  CHECK_NEAR(row.choices[0].score, std::log(0.5 / (0.75 + 1.0 / 64)), 1e-6);
  o = options(2);
  p.neighbours = true;
  p.lambda = 0.25f;
  choose(p, o, row);
  CHECK_NEAR(row.choices[0].score, std::log(0.375), 1e-6);
  CHECK_NEAR(row.choices[1].score, std::log(0.75 * 0.125 + 0.25 * 0.75), 1e-6);
  p.lambda = 1;
  choose(p, o, row);
  CHECK(row.choices[0].score == -INFINITY);
  CHECK_NEAR(row.choices[1].score, std::log(0.75), 1e-6);
}

TEST(beam_with_fewer_choices_than_beams) {
  const SearchOptions o = options(4, 4);
  Beam beam(o, 0, o.max_length, 0);
  const Candidate none = {-INFINITY, -1};  // what project_top_k fills up with
  const std::vector<Candidate> row = {{-0.5f, 2}, {-1.0f, kEos}, none, none, none, none, none, none};
  advance(beam, {row});
  while (!beam.done()) advance(beam, {row, row, row, row});
  const auto best = beam.results();
  CHECK(!best.empty() && best.size() <= 4);
  CHECK_NEAR(best[0].score, -0.5, 0.3);
}

TEST(beam_without_any_choice_is_an_error) {
  const SearchOptions o = options(2, 1);
  Beam beam(o, 0, o.max_length, 0);
  const Candidate none = {-INFINITY, -1};
  advance(beam, {{none, none, none, none}});
  CHECK_THROWS(beam.results(), "every continuation is banned");
}

TEST(ancestors_follow_their_parents) {
  AncestorTable table(3, 8);
  table.write(0, 0);
  table.follow({0, 0, 0}, 1);  // one row spoke for all
  for (int beam = 0; beam < 3; ++beam) table.write(beam, 1);
  table.follow({2, 0, 2}, 2);
  for (int beam = 0; beam < 3; ++beam) table.write(beam, 2);
  table.follow({1, 2, 0}, 3);
  const std::vector<std::vector<int>> expected = {{0, 0, 1}, {0, 2, 2}, {0, 2, 0}};
  for (int beam = 0; beam < 3; ++beam)
    for (int t = 0; t < 3; ++t) CHECK(table.of(beam)[t] == expected[beam][t]);
}
