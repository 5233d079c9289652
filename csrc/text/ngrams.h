// N-grams of the sentences of one line as numbers, so that counting and comparing them needs no strings.
//
// A trie gives every sequence a node of its own; no hash decides whether two n-grams are the same. A profile is a
// sentence's n-grams, each once with its count. Both are made once per sentence, whatever it is compared with.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

namespace distilmt {

constexpr int kMaxOrder = 6;

class Trie {
 public:
  // Two tries in one: sequences of characters, of which words are some, and sequences of words or ids.
  static constexpr uint32_t kCharacters = 0, kWords = 1;

  Trie();
  // The node of a node's sequence with one symbol more, made where it is new.
  uint32_t child(uint32_t node, uint32_t symbol);
  uint32_t size() const { return static_cast<uint32_t>(slots_.size()); }
  // Back to the two roots; costs what was in it, not what it once held.
  void clear();

 private:
  void grow();

  // Open addressing: key (node, symbol), at most half full.
  std::vector<uint64_t> keys_;
  std::vector<uint32_t> nodes_;
  std::vector<uint32_t> slots_;  // [node] where it stands; unused for the roots
};

struct Profile {
  struct Entry {
    uint32_t node, count;
  };
  std::vector<Entry> entries;                   // by order
  std::array<uint32_t, kMaxOrder + 1> begin{};  // [n - 1, n) are the entries of order n
  int64_t length = 0;                           // symbols of the sentence
};

// What the measures need to know of two sentences.
struct Overlap {
  int64_t candidate_length = 0, reference_length = 0;
  std::array<int64_t, kMaxOrder> matches{};  // [order - 1] n-grams in common, each at most as often as in either
};

// Compares sentences of one line. `load` a reference, then ask for the overlap with each candidate.
class Comparer {
 public:
  // N-grams up to `order` of a sequence of symbols below `root`.
  Profile profile(Trie& trie, uint32_t root, const std::vector<uint32_t>& symbols, int order);
  void load(const Profile& reference);
  Overlap overlap(const Profile& candidate) const;
  void unload(const Profile& reference);

 private:
  void reach(uint32_t nodes);

  std::vector<uint32_t> tally_;  // [node] count in what is loaded; all 0 in between
  std::vector<uint32_t> at_;
  int64_t length_ = 0;
};

}  // namespace distilmt
