#include "labels/soft_labels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include "labels/bits.h"
#include "labels/crc32c.h"

namespace distilmt {
namespace {

constexpr int kTokenBits = 16, kKBits = 11, kIdBits = 5, kChecksum = 4;

void check(int64_t tokens, const int32_t* target) {
  if (tokens < 1 || tokens > kMaxStoredTokens)
    throw std::invalid_argument("expected 1 to 65535 tokens, got " + std::to_string(tokens));
  for (int64_t t = 0; t < tokens; ++t)
    if (target[t] < 0) throw std::invalid_argument("expected ids of at least 0, got " + std::to_string(target[t]));
}

// The probabilities of a token in steps, by largest remainders; in front of `steps`, what is worth no step left out.
class Apportionment {
 public:
  explicit Apportionment(uint32_t n) : n_(n) {}

  const std::vector<uint32_t>& operator()(const float* log_probs, int64_t k, double floor) {
    shares_.clear();
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) {
      const double p = std::exp(static_cast<double>(log_probs[j]));
      if (!(log_probs[j] <= 1e-3f) || (j > 0 && log_probs[j] > log_probs[j - 1]))
        throw std::invalid_argument("expected log-probabilities of at most 0, falling, got " +
                                    std::to_string(log_probs[j]) + " at rank " + std::to_string(j + 1));
      if (p < floor || p == 0) break;
      shares_.push_back(p);
      sum += p;
    }
    const double scale = n_ / std::max(sum, 1.0);  // rounding may have taken a sum above 1
    shares_.push_back(std::max(0.0, 1 - sum));
    steps_.resize(shares_.size());
    int64_t left = n_;
    for (size_t j = 0; j < shares_.size(); ++j) {
      shares_[j] *= scale;
      steps_[j] = static_cast<uint32_t>(shares_[j]);
      shares_[j] -= steps_[j];
      left -= steps_[j];
    }
    order_.resize(shares_.size());
    std::iota(order_.begin(), order_.end(), 0);
    // Equal remainders: the more probable one first. So the steps fall as the probabilities do.
    std::stable_sort(order_.begin(), order_.end(), [this](int a, int b) { return shares_[a] > shares_[b]; });
    for (int64_t j = 0; j < left && j < static_cast<int64_t>(order_.size()); ++j) ++steps_[order_[j]];
    steps_.pop_back();
    while (!steps_.empty() && steps_.back() == 0) steps_.pop_back();
    return steps_;
  }

 private:
  const uint32_t n_;
  std::vector<double> shares_;
  std::vector<uint32_t> steps_;
  std::vector<int> order_;
};

std::string finished(BitWriter& bits, const char* more, size_t size) {
  std::string& bytes = bits.finish();
  bytes.append(more, size);
  const uint32_t checksum = crc32c(bytes.data(), bytes.size());
  for (int i = 0; i < kChecksum; ++i) bytes.push_back(static_cast<char>(checksum >> 8 * i & 255));
  return std::move(bytes);
}

// Target of a token as its rank among the entries, or as the number of entries and its id.
void put_target(BitWriter& bits, int32_t target, const int32_t* ids, int64_t count, int id_bits) {
  const int64_t rank = std::find(ids, ids + count, target) - ids;
  bits.put(rank, bit_length(count));
  if (rank == count) bits.put(target, id_bits);
}

int32_t take_target(BitReader& bits, const int32_t* ids, int64_t count, int id_bits) {
  const int64_t rank = bits.take(bit_length(count));
  if (rank > count)
    throw std::runtime_error("a target has rank " + std::to_string(rank + 1) + " among " + std::to_string(count) +
                             " entries");
  return rank < count ? ids[rank] : static_cast<int32_t>(bits.take(id_bits));
}

}  // namespace

uint32_t grid_steps(int64_t k) { return (uint32_t{1} << bit_length(250 * (k + 1))) - 1; }

std::string encode_soft_labels(const int32_t* target, const int32_t* ids, const float* log_probs, int64_t tokens,
                               int64_t k, double floor) {
  check(tokens, target);
  if (k < 1 || k > kMaxStoredK) throw std::invalid_argument("expected k from 1 to 1024, got " + std::to_string(k));
  const uint32_t n = grid_steps(k);
  Apportionment apportion(n);
  std::vector<std::vector<uint32_t>> steps(tokens);
  int32_t largest = *std::max_element(target, target + tokens);
  for (int64_t t = 0; t < tokens; ++t) {
    steps[t] = apportion(log_probs + t * k, k, floor);
    const int32_t* id = ids + t * k;
    for (size_t j = 0; j < steps[t].size(); ++j) {
      if (id[j] < 0 || std::find(id, id + j, id[j]) != id + j)
        throw std::invalid_argument("expected distinct ids of at least 0, got " + std::to_string(id[j]));
      largest = std::max(largest, id[j]);
    }
  }
  const int id_bits = std::max(1, bit_length(largest));
  BitWriter bits;
  bits.put(tokens, kTokenBits);
  bits.put(k, kKBits);
  bits.put(id_bits, kIdBits);
  for (int64_t t = 0; t < tokens; ++t) {
    uint32_t last = n, rest = n;
    const int64_t count = steps[t].size();
    for (int64_t j = 0; j < k && rest > 0; ++j) {
      const uint32_t step = j < count ? steps[t][j] : 0;
      bits.put(step, bit_length(std::min(last, rest)));
      if (step == 0) break;
      bits.put(ids[t * k + j], id_bits);
      last = step;
      rest -= step;
    }
    put_target(bits, target[t], ids + t * k, count, id_bits);
  }
  return finished(bits, "", 0);
}

std::string encode_states(const int32_t* target, const uint16_t* states, int64_t tokens, int64_t width) {
  check(tokens, target);
  if (width < 1) throw std::invalid_argument("expected states of at least one number");
  BitWriter bits;
  bits.put(tokens, kTokenBits);
  bits.put(0, kKBits);
  const int id_bits = std::max(1, bit_length(*std::max_element(target, target + tokens)));
  bits.put(id_bits, kIdBits);
  for (int64_t t = 0; t < tokens; ++t) bits.put(target[t], id_bits);
  std::string bytes(2 * tokens * width, '\0');
  for (int64_t i = 0; i < tokens * width; ++i) {
    bytes[2 * i] = static_cast<char>(states[i] & 255);
    bytes[2 * i + 1] = static_cast<char>(states[i] >> 8);
  }
  return finished(bits, bytes.data(), bytes.size());
}

void decode_sentence(const uint8_t* bytes, size_t size, StoredSentence& s) {
  s.k = s.width = 0;
  s.states = nullptr;
  s.target.clear();
  s.begin.assign(1, 0);
  s.ids.clear();
  s.steps.clear();
  if (size == 0) return;
  if (size < 4 + kChecksum) throw std::runtime_error("it ends too early");
  const size_t body = size - kChecksum;
  uint32_t checksum = 0;
  for (int i = 0; i < kChecksum; ++i) checksum |= uint32_t{bytes[body + i]} << 8 * i;
  if (checksum != crc32c(bytes, body)) throw std::runtime_error("its checksum is wrong");
  BitReader bits(bytes, body);
  const int64_t tokens = bits.take(kTokenBits);
  s.k = bits.take(kKBits);
  const int id_bits = bits.take(kIdBits);
  const uint32_t n = grid_steps(s.k);
  // What a token takes at least bounds the memory that is asked for.
  const int64_t least = id_bits + (s.k > 0 ? bit_length(n) : 0);
  if (tokens < 1 || s.k > kMaxStoredK || id_bits < 1 || tokens * least > bits.bits_left())
    throw std::runtime_error("its header is impossible");
  for (int64_t t = 0; t < tokens; ++t) {
    uint32_t last = n, rest = n;
    const int64_t first = s.begin.back();
    int64_t count = 0;
    for (; count < s.k && rest > 0; ++count) {
      const uint32_t step = bits.take(bit_length(std::min(last, rest)));
      if (step == 0) break;
      if (step > std::min(last, rest)) throw std::runtime_error("probabilities rise, or exceed 1 together");
      const int32_t id = static_cast<int32_t>(bits.take(id_bits));
      if (std::find(s.ids.begin() + first, s.ids.end(), id) != s.ids.end())
        throw std::runtime_error("id " + std::to_string(id) + " stands twice");
      s.ids.push_back(id);
      s.steps.push_back(step);
      last = step;
      rest -= step;
    }
    s.target.push_back(take_target(bits, s.ids.data() + first, count, id_bits));
    s.begin.push_back(first + count);
  }
  const uint8_t* end = bits.align();
  const int64_t left = bytes + body - end;
  if (s.k == 0) {
    s.width = left / (2 * tokens);
    s.states = end;
  }
  if (left != 2 * tokens * s.width || (s.k == 0 && s.width == 0))
    throw std::runtime_error(std::to_string(left) + " bytes stand behind its last token");
}

}  // namespace distilmt
