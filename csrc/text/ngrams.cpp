#include "text/ngrams.h"

#include <algorithm>

namespace distilmt {
namespace {

constexpr uint64_t kFree = ~uint64_t{0};  // no key: a node of that number is never reached

// The mixing step of splitmix64 (Steele et al. 2014): no text makes long chains.
size_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

Trie::Trie() : keys_(1024, kFree), nodes_(1024), slots_(2) {}

uint32_t Trie::child(uint32_t node, uint32_t symbol) {
  if (slots_.size() * 2 > keys_.size()) grow();
  const uint64_t key = uint64_t{node} << 32 | symbol;
  const size_t mask = keys_.size() - 1;
  size_t slot = mix(key) & mask;
  while (keys_[slot] != key && keys_[slot] != kFree) slot = (slot + 1) & mask;
  if (keys_[slot] == kFree) {
    keys_[slot] = key;
    nodes_[slot] = size();
    slots_.push_back(static_cast<uint32_t>(slot));
  }
  return nodes_[slot];
}

void Trie::clear() {
  for (size_t node = 2; node < slots_.size(); ++node) keys_[slots_[node]] = kFree;
  slots_.resize(2);
}

void Trie::grow() {
  std::vector<uint64_t> keys(keys_.size() * 2, kFree);
  std::vector<uint32_t> nodes(keys.size());
  const size_t mask = keys.size() - 1;
  for (uint32_t node = 2; node < size(); ++node) {
    const uint64_t key = keys_[slots_[node]];
    size_t slot = mix(key) & mask;
    while (keys[slot] != kFree) slot = (slot + 1) & mask;
    keys[slot] = key;
    nodes[slot] = node;
    slots_[node] = static_cast<uint32_t>(slot);
  }
  keys_.swap(keys);
  nodes_.swap(nodes);
}

void Comparer::reach(uint32_t nodes) {
  if (tally_.size() < nodes) tally_.resize(nodes + nodes / 2);
}

Profile Comparer::profile(Trie& trie, uint32_t root, const std::vector<uint32_t>& symbols, int order) {
  Profile out;
  out.length = static_cast<int64_t>(symbols.size());
  at_.assign(symbols.size(), root);
  for (int n = 1; n <= order; ++n) {
    // at_[i] goes from the n-gram before to this one, at the same place.
    for (size_t i = 0; i + n <= symbols.size(); ++i) at_[i] = trie.child(at_[i], symbols[i + n - 1]);
    reach(trie.size());
    for (size_t i = 0; i + n <= symbols.size(); ++i)
      if (tally_[at_[i]]++ == 0) out.entries.push_back({at_[i], 0});
    for (size_t e = out.begin[n - 1]; e < out.entries.size(); ++e) {
      out.entries[e].count = tally_[out.entries[e].node];
      tally_[out.entries[e].node] = 0;
    }
    out.begin[n] = static_cast<uint32_t>(out.entries.size());
  }
  for (int n = order + 1; n <= kMaxOrder; ++n) out.begin[n] = out.begin[order];
  return out;
}

void Comparer::load(const Profile& reference) {
  length_ = reference.length;
  for (const auto& [node, count] : reference.entries) tally_[node] = count;
}

void Comparer::unload(const Profile& reference) {
  for (const auto& [node, count] : reference.entries) tally_[node] = 0;
}

Overlap Comparer::overlap(const Profile& candidate) const {
  Overlap out{candidate.length, length_, {}};
  for (int n = 0; n < kMaxOrder; ++n)
    for (uint32_t e = candidate.begin[n]; e < candidate.begin[n + 1]; ++e)
      out.matches[n] += std::min(candidate.entries[e].count, tally_[candidate.entries[e].node]);
  return out;
}

}  // namespace distilmt
