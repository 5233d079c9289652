#include <cmath>

#include "engine/ancestors.h"
#include "engine/beam.h"
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

// One step, each row's candidates given as {log-probability, id}, best first.
void advance(Beam& beam, const std::vector<std::vector<Candidate>>& rows) {
  std::vector<Candidate> top;
  for (const auto& row : rows) top.insert(top.end(), row.begin(), row.end());
  const std::vector<float> zeros(rows.size(), 0.0f);  // logits that are log-probabilities already
  beam.advance(top.data(), static_cast<int>(rows[0].size()), zeros.data());
}

}  // namespace

TEST(beam_length_penalty_counts_the_end_symbol) {
  CHECK(normalize(-6.0f, 4, 0.0) == -6.0f);
  CHECK(normalize(-6.0f, 4, 1.0) == -1.5f);
  CHECK(normalize(-6.0f, 4, 0.5) == -3.0f);
  CHECK(normalize(-6.0f, 4, -1.0) == -24.0f);
  CHECK(normalize(-1.0f, 3, 0.6) == -1.0f / static_cast<float>(std::pow(3.0, 0.6)));
}

TEST(beam_of_one_takes_the_best_and_stops_at_the_first_end) {
  const SearchOptions o = options(1);
  Beam beam(o);
  CHECK(beam.wanted() == 1 && beam.rows() == 1);
  advance(beam, {{{-0.5f, 7}}});
  CHECK(!beam.done() && beam.token(0) == 7);
  advance(beam, {{{-0.25f, kEos}}});
  CHECK(beam.done());
  const auto best = beam.best();
  CHECK(best.size() == 1 && best[0].ended);
  CHECK((best[0].ids == std::vector<int>{7}) && (best[0].log_probs == std::vector<float>{-0.5f, -0.25f}));
  CHECK(best[0].score == -0.375f);
}

TEST(beam_follows_parents_and_keeps_the_best_finished) {
  SearchOptions o = options(2);
  o.length_penalty = 0;
  Beam beam(o);
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
  const auto best = beam.best();
  CHECK(best.size() == 2);
  CHECK((best[0].ids == std::vector<int>{5}) && (best[1].ids == std::vector<int>{5, 9}));
  CHECK_NEAR(best[0].score, -1.6, 1e-6);
  CHECK_NEAR(best[1].score, -1.75, 1e-6);
}

TEST(beam_only_the_first_beam_size_candidates_may_finish) {
  SearchOptions o = options(2);
  o.early_stopping = EarlyStopping::yes;
  Beam beam(o);
  // The end symbol is third of four: not kept.
  advance(beam, {{{-1.0f, 5}, {-2.0f, 6}, {-3.0f, kEos}, {-4.0f, 8}}});
  advance(beam,
          {{{-1.0f, 5}, {-9.0f, 6}, {-9.5f, 7}, {-9.6f, 8}}, {{-1.0f, kEos}, {-9.0f, 6}, {-9.5f, 7}, {-9.6f, 8}}});
  CHECK(!beam.done());  // one is kept, two are needed
  advance(beam,
          {{{-0.1f, kEos}, {-9.0f, 6}, {-9.5f, 7}, {-9.6f, 8}}, {{-1.0f, 5}, {-9.0f, 6}, {-9.5f, 7}, {-9.6f, 8}}});
  CHECK(beam.done());
  const auto best = beam.best();
  CHECK(best.size() == 2);
  CHECK((best[0].ids == std::vector<int>{5, 5}) && (best[1].ids == std::vector<int>{6}));
}

TEST(beam_ties_go_to_the_lower_beam_then_to_the_lower_id) {
  const SearchOptions o = options(2);
  Beam beam(o);
  advance(beam, {{{-1.0f, 3}, {-1.0f, 4}, {-1.0f, 8}, {-1.0f, 9}}});
  CHECK(beam.token(0) == 3 && beam.token(1) == 4);
  advance(beam, {{{-1.0f, 6}, {-1.0f, 9}, {-1.5f, 4}, {-2.0f, 5}}, {{-1.0f, 2}, {-1.0f, 3}, {-1.5f, 4}, {-2.0f, 5}}});
  CHECK(beam.parent(0) == 0 && beam.token(0) == 6 && beam.parent(1) == 0 && beam.token(1) == 9);
}

TEST(beam_reaches_its_length_without_an_end) {
  const SearchOptions o = options(2, 2);
  Beam beam(o);
  advance(beam, {{{-1.0f, 5}, {-2.0f, 6}, {-3.0f, 7}, {-4.0f, 8}}});
  advance(beam,
          {{{-1.0f, 5}, {-2.0f, 6}, {-3.0f, 7}, {-4.0f, 8}}, {{-1.5f, kEos}, {-2.0f, 6}, {-3.0f, 7}, {-4.0f, 8}}});
  CHECK(beam.done());
  const auto best = beam.best();
  CHECK(!best[0].ended && (best[0].ids == std::vector<int>{5, 5}) && best[0].log_probs.size() == 2);
}

TEST(beam_bans_the_end_and_forces_tokens) {
  SearchOptions o = options(2, 3);
  o.min_length = 1;
  o.forced_bos = 9;
  o.forced_eos = kEos;
  Beam beam(o);
  CHECK(beam.end_banned() && beam.wanted() == 5);
  const std::vector<Candidate> five = {{-0.1f, kEos}, {-1.0f, 5}, {-2.0f, 6}, {-3.0f, 7}, {-4.0f, 8}};
  advance(beam, {five});
  CHECK(beam.token(0) == 9 && !beam.end_banned() && beam.wanted() == 4);
  const std::vector<Candidate> four(five.begin() + 1, five.end());
  advance(beam, {four, four});
  CHECK(beam.token(0) == 5 && beam.token(1) == 6 && beam.parent(1) == 0);
  advance(beam, {four, four});
  CHECK(beam.done());
  for (const Hypothesis& h : beam.best()) CHECK(h.ended && h.ids.size() == 2 && h.log_probs.back() == 0.0f);
}

TEST(beam_with_fewer_choices_than_beams) {
  const SearchOptions o = options(4, 4);
  Beam beam(o);
  const Candidate none = {-INFINITY, -1};  // what project_top_k fills up with
  const std::vector<Candidate> row = {{-0.5f, 2}, {-1.0f, kEos}, none, none, none, none, none, none};
  advance(beam, {row});
  while (!beam.done()) advance(beam, {row, row, row, row});
  const auto best = beam.best();
  CHECK(!best.empty() && best.size() <= 4);
  CHECK_NEAR(best[0].score, -0.5, 0.3);
}

TEST(beam_without_any_choice_is_an_error) {
  const SearchOptions o = options(2, 1);
  Beam beam(o);
  const Candidate none = {-INFINITY, -1};
  advance(beam, {{none, none, none, none}});
  CHECK_THROWS(beam.best(), "every continuation is banned");
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
