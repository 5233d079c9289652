#include "engine/constraints.h"

#include <algorithm>

namespace distilmt {

std::vector<int> repeated_ends(const std::vector<int>& text, int size) {
  std::vector<int> ends;
  if (static_cast<int>(text.size()) < size) return ends;
  const auto prefix = text.end() - (size - 1);
  for (auto at = text.begin(); text.end() - at >= size; ++at)
    if (std::equal(prefix, text.end(), at)) ends.push_back(at[size - 1]);
  return ends;
}

bool reads_text(const SearchOptions& options) {
  return options.repetition_penalty != 1 || options.no_repeat_ngram_size > 0;
}

void set_aside(const SearchOptions& options, const std::vector<int>& text, bool end_banned,
               std::vector<Aside>& asides) {
  for (int id : options.banned) asides.push_back({id, true});
  if (end_banned) asides.push_back({options.eos, true});
  if (options.no_repeat_ngram_size > 0)
    for (int id : repeated_ends(text, options.no_repeat_ngram_size)) asides.push_back({id, true});
  if (options.repetition_penalty != 1)
    for (int id : text) asides.push_back({id, false, true});
  std::sort(asides.begin(), asides.end(), [](const Aside& a, const Aside& b) { return a.id < b.id; });
  size_t kept = 0;
  for (const Aside& a : asides) {
    if (kept == 0 || asides[kept - 1].id != a.id) {
      asides[kept++] = a;
      continue;
    }
    Aside& same = asides[kept - 1];
    same.banned |= a.banned;
    same.seen |= a.seen;
    same.neighbour += a.neighbour;  // neighbours may name a word several times
  }
  asides.resize(kept);
}

}  // namespace distilmt
