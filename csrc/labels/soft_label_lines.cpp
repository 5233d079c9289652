#include "labels/soft_label_lines.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace distilmt {
namespace {

[[noreturn]] void fail(int64_t line, const std::string& what) {
  throw std::runtime_error("line " + std::to_string(line) + ": " + what);
}

}  // namespace

void SoftLabelLines::read(int64_t line, StoredSentence& sentence) const {
  if (line < 1 || line > lines_) fail(line, "the store has " + std::to_string(lines_) + " lines");
  const uint64_t begin = offsets_[line - 1], end = offsets_[line];
  if (begin > end || end > size_) fail(line, "the index points outside the file");
  try {
    decode_sentence(bytes_ + begin, end - begin, sentence);
  } catch (const std::runtime_error& error) {
    fail(line, error.what());
  }
}

std::vector<int32_t> SoftLabelLines::targets(const int64_t* lines, int64_t count, int64_t* lengths) const {
  std::vector<int32_t> all;
  StoredSentence sentence;
  for (int64_t i = 0; i < count; ++i) {
    read(lines[i], sentence);
    all.insert(all.end(), sentence.target.begin(), sentence.target.end());
    lengths[i] = sentence.tokens();
  }
  return all;
}

void SoftLabelLines::match(int64_t line, const StoredSentence& s, const int64_t* labels, int64_t width) const {
  const int64_t tokens = s.tokens();
  const bool same = tokens <= width && std::equal(s.target.begin(), s.target.end(), labels) &&
                    std::all_of(labels + tokens, labels + width, [](int64_t label) { return label < 0; });
  if (!same) fail(line, "its soft labels are of another target");
}

void SoftLabelLines::gather(const int64_t* lines, int64_t count, const int64_t* labels, int64_t width, int64_t k,
                            int64_t columns, int64_t* ids, float* log_probs) const {
  std::fill_n(ids, count * width * k, 0);
  std::fill_n(log_probs, count * width * k, -std::numeric_limits<float>::infinity());
  StoredSentence s;
  for (int64_t i = 0; i < count; ++i, labels += width, ids += width * k, log_probs += width * k) {
    read(lines[i], s);
    match(lines[i], s, labels, width);
    if (s.k < 1 || s.k > k)
      fail(lines[i], "k is " + std::to_string(s.k) + " where 1 to " + std::to_string(k) + " is expected");
    const double log_n = std::log(static_cast<double>(grid_steps(s.k)));
    for (int64_t t = 0; t < s.tokens(); ++t) {
      // The share of ids without a column is that of none: the others are what is left, in proportion.
      double all = grid_steps(s.k);
      for (int64_t e = s.begin[t]; e < s.begin[t + 1]; ++e)
        if (s.ids[e] >= columns) all -= s.steps[e];
      const double log_all = all < grid_steps(s.k) ? std::log(all) : log_n;
      for (int64_t e = s.begin[t], j = t * k; e < s.begin[t + 1]; ++e) {
        if (s.ids[e] >= columns) continue;
        ids[j] = s.ids[e];
        log_probs[j++] = static_cast<float>(std::log(static_cast<double>(s.steps[e])) - log_all);
      }
    }
  }
}

void SoftLabelLines::gather_states(const int64_t* lines, int64_t count, const int64_t* labels, int64_t width,
                                   int64_t state_width, uint16_t* states) const {
  std::fill_n(states, count * width * state_width, 0);
  StoredSentence s;
  for (int64_t i = 0; i < count; ++i, labels += width, states += width * state_width) {
    read(lines[i], s);
    match(lines[i], s, labels, width);
    if (s.width != state_width)
      fail(lines[i], "its states have " + std::to_string(s.width) + " numbers where " + std::to_string(state_width) +
                         " are expected");
    for (int64_t n = 0; n < s.tokens() * state_width; ++n)
      states[n] = static_cast<uint16_t>(s.states[2 * n] | s.states[2 * n + 1] << 8);
  }
}

}  // namespace distilmt
