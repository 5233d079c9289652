// Which ids of a row are set aside before its logits are known, and why.
//
//   banned:  the options' ids; the end symbol before min_length; what would complete an n-gram for the second time, as
//            Hugging Face's NoRepeatNGramLogitsProcessor has it (start symbol and prefix included)
//   seen:    ids that the row holds already, where a repetition penalty is asked for (start symbol and prefix included)
//   neighbour: the probability that neighbours give an id
#pragma once
#include <vector>

#include "engine/search.h"

namespace distilmt {

// Ids that would complete an n-gram of `size` tokens that `text` holds already.
std::vector<int> repeated_ends(const std::vector<int>& text, int size);

// text: start symbol, prefix and what was generated; needed where `reads_text` says so.
// `asides` may hold neighbours already; comes back sorted by id, each id once.
bool reads_text(const SearchOptions& options);
void set_aside(const SearchOptions& options, const std::vector<int>& text, bool end_banned, std::vector<Aside>& asides);

}  // namespace distilmt
