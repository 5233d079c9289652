// Soft labels of one sentence as bytes, and back. The layout, the grid and its bound: docs/soft-labels.md.
//
// Probabilities lie on a grid of N = 2^b - 1 steps, b = bit_length(250 (k + 1)): the k probabilities and the mass of
// all others are apportioned to the N steps by largest remainders, which errs by at most (k + 1) / (4 N) < 0.001 in
// total variation. They fall, and together are at most N: so each takes the bits of the smaller of the last one and the
// rest.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace distilmt {

constexpr int64_t kMaxStoredTokens = 65535, kMaxStoredK = 1024;

// Steps of the grid that probabilities of k entries lie on.
uint32_t grid_steps(int64_t k);

// One sentence, read. Entries of token t: [begin[t], begin[t + 1]), best first.
struct StoredSentence {
  int64_t k = 0;                    // the most entries a token may have; 0: states in place of entries
  std::vector<int32_t> target;      // [tokens], the end symbol included
  std::vector<int64_t> begin;       // [tokens + 1]
  std::vector<int32_t> ids;         // [entries], distinct in a token
  std::vector<uint32_t> steps;      // [entries], probability times grid_steps(k); at least 1
  int64_t width = 0;                // of a state
  const uint8_t* states = nullptr;  // bfloat16 [tokens, width], lowest byte first, inside the bytes that were read

  int64_t tokens() const { return static_cast<int64_t>(target.size()); }
};

// target: [tokens]; ids, log_probs: [tokens, k], best first, -inf where there is no entry. Entries whose probability is
// below `floor` or less than a step are left out. Throws std::invalid_argument.
std::string encode_soft_labels(const int32_t* target, const int32_t* ids, const float* log_probs, int64_t tokens,
                               int64_t k, double floor);

// states: bfloat16 [tokens, width].
std::string encode_states(const int32_t* target, const uint16_t* states, int64_t tokens, int64_t width);

// Reads what the two above wrote into `sentence`, whose memory is used again. No bytes are a sentence of no tokens.
// Throws std::runtime_error, saying what is wrong with the bytes, where they are not such.
void decode_sentence(const uint8_t* bytes, size_t size, StoredSentence& sentence);

}  // namespace distilmt
