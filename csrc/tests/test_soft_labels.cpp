#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>

#include "labels/bits.h"
#include "labels/crc32c.h"
#include "labels/soft_label_lines.h"
#include "tests/test.h"

using namespace distilmt;

namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

StoredSentence decoded(const std::string& bytes) {
  StoredSentence sentence;
  decode_sentence(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), sentence);
  return sentence;
}

// Two tokens of k = 3: one sure of id 5, its target; one that hesitates, whose target is none of the likely ones.
std::string two_tokens(double floor = 0) {
  const int32_t target[] = {5, 9}, ids[] = {5, 2, 1, 7, 3, 12};
  const float p[] = {0.9f, 0.05f, 0, 0.5f, 0.25f, 0.25f};
  float log_probs[6];
  for (int i = 0; i < 6; ++i) log_probs[i] = std::log(p[i]);
  return encode_soft_labels(target, ids, log_probs, 2, 3, floor);
}

std::string sealed(std::string bytes) {  // with the checksum that belongs to them
  const uint32_t checksum = crc32c(bytes.data(), bytes.size());
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(checksum >> 8 * i & 255));
  return bytes;
}

}  // namespace

TEST(soft_labels_bits_come_back) {
  BitWriter writer;
  for (int bits = 0; bits <= 32; ++bits) writer.put((uint64_t{1} << bits) - 1, bits);
  const std::string bytes = writer.finish();
  CHECK(bytes.size() == 66);  // 0 + 1 + ... + 32 = 528 bits
  BitReader reader(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  for (int bits = 0; bits <= 32; ++bits) CHECK(reader.take(bits) == (uint64_t{1} << bits) - 1);
  CHECK_THROWS(reader.take(1), "ends too early");
}

TEST(soft_labels_lie_on_the_grid) {
  CHECK(grid_steps(8) == 4095 && grid_steps(12) == 4095 && grid_steps(3) == 1023 && grid_steps(1024) == 262143);
  const StoredSentence s = decoded(two_tokens());
  CHECK((s.target == std::vector<int32_t>{5, 9}) && s.k == 3);
  CHECK((s.begin == std::vector<int64_t>{0, 2, 5}) && (s.ids == std::vector<int32_t>{5, 2, 7, 3, 12}));
  // Of 1023 steps: 920.7 + 51.15 + 51.15, and 511.5 + 255.75 + 255.75: one goes to the largest remainder, or two.
  CHECK((s.steps == std::vector<uint32_t>{921, 51, 511, 256, 256}));
}

TEST(soft_labels_below_the_floor_join_the_tail) {
  CHECK((decoded(two_tokens(0.1)).steps == std::vector<uint32_t>{921, 511, 256, 256}));
}

TEST(soft_labels_take_the_bytes_of_the_layout) {
  // Header 32 bits; ids of 4. Token 1: 921 of 10 bits, id; 51 of bit_length(102) = 7, id; 0 of bit_length(51) = 6; rank
  // 0 of 2 bits: 33. Token 2: 511 of 10, id; 256 of bit_length(511) = 9, id; 256 of 9, id; nothing is left; rank 3 of 2
  // bits, id: 46. 111 bits are 14 bytes, and 4 of the checksum.
  CHECK(two_tokens().size() == 18);
  CHECK(decoded("").tokens() == 0);
}

TEST(soft_labels_what_cannot_be_written_is_refused) {
  const int32_t target[] = {5}, twice[] = {5, 5}, ids[] = {5, 6}, negative[] = {-1};
  const float falling[] = {-1, -2}, rising[] = {-2, -1}, nan[] = {std::nanf(""), -1}, above[] = {0.1f, -1};
  CHECK_THROWS(encode_soft_labels(target, twice, falling, 1, 2, 0), "distinct");
  CHECK_THROWS(encode_soft_labels(target, ids, rising, 1, 2, 0), "falling");
  CHECK_THROWS(encode_soft_labels(target, ids, nan, 1, 2, 0), "falling");
  CHECK_THROWS(encode_soft_labels(target, ids, above, 1, 2, 0), "at most 0");
  CHECK_THROWS(encode_soft_labels(negative, ids, falling, 1, 2, 0), "at least 0, got -1");
  CHECK_THROWS(encode_soft_labels(target, ids, falling, 0, 2, 0), "1 to 65535 tokens, got 0");
  CHECK_THROWS(encode_soft_labels(target, ids, falling, 1, 0, 0), "k from 1 to 1024");
}

TEST(soft_labels_damage_is_found) {
  const std::string good = two_tokens();
  for (size_t size = 1; size < good.size(); ++size) CHECK_THROWS(decoded(good.substr(0, size)), "");
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string bad = good;
    bad[bit / 8] ^= 1 << bit % 8;
    CHECK_THROWS(decoded(bad), "checksum");
  }
  const std::string body = good.substr(0, good.size() - 4);
  CHECK_THROWS(decoded(sealed(body + '\0')), "1 bytes stand behind");
  CHECK_THROWS(decoded(sealed(body.substr(0, 12))), "too early");
  std::string many = body;
  many[0] = many[1] = '\xff';  // 65,535 tokens in 11 bytes
  CHECK_THROWS(decoded(sealed(many)), "header is impossible");
}

TEST(soft_labels_states_come_back) {
  const int32_t target[] = {4, 0};
  const uint16_t states[] = {0x3F80, 0xC040, 0, 0x0102, 7, 8};
  const std::string bytes = encode_states(target, states, 2, 3);
  const StoredSentence s = decoded(bytes);
  CHECK(s.k == 0 && s.width == 3 && (s.target == std::vector<int32_t>{4, 0}));
  for (int i = 0; i < 6; ++i) CHECK((s.states[2 * i] | s.states[2 * i + 1] << 8) == states[i]);
  CHECK_THROWS(decoded(sealed(bytes.substr(0, 5))), "0 bytes stand behind");  // 32 + 2 * 3 bits, no states
}

TEST(soft_labels_of_lines_are_gathered) {
  const std::string sentence = two_tokens();
  const std::vector<uint64_t> offsets = {0, 0, sentence.size()};  // line 1 has none
  const SoftLabelLines store(reinterpret_cast<const uint8_t*>(sentence.data()), sentence.size(), offsets.data(), 2);
  const int64_t line = 2, labels[] = {5, 9, -100};
  int64_t ids[12];
  float log_probs[12];
  store.gather(&line, 1, labels, 3, 4, 12, ids, log_probs);  // the student has no id 12
  CHECK(ids[0] == 5 && ids[1] == 2 && ids[4] == 7 && ids[5] == 3);
  CHECK_NEAR(std::exp(log_probs[0]), 921.0 / 1023, 1e-6);
  CHECK_NEAR(std::exp(log_probs[4]), 511.0 / 767, 1e-6);  // the others share what id 12 had
  for (int empty : {2, 3, 6, 7, 8, 9, 10, 11}) CHECK(log_probs[empty] == kNone && ids[empty] == 0);
  int64_t lengths[2];
  const int64_t both[] = {2, 1};
  CHECK((store.targets(both, 2, lengths) == std::vector<int32_t>{5, 9}) && lengths[0] == 2 && lengths[1] == 0);
  const int64_t other[] = {5, 8, -100}, longer[] = {5, 9, 1}, outside = 3;
  CHECK_THROWS(store.gather(&line, 1, other, 3, 4, 12, ids, log_probs),
               "line 2: its soft labels are of another target");
  CHECK_THROWS(store.gather(&line, 1, longer, 3, 4, 12, ids, log_probs), "another target");
  CHECK_THROWS(store.gather(&line, 1, labels, 1, 4, 12, ids, log_probs), "another target");
  CHECK_THROWS(store.gather(&line, 1, labels, 3, 2, 12, ids, log_probs), "k is 3 where 1 to 2 is expected");
  CHECK_THROWS(store.gather(&outside, 1, labels, 3, 4, 12, ids, log_probs), "line 3: the store has 2 lines");
  const std::vector<uint64_t> wild = {sentence.size() + 1, ~uint64_t{0}};
  const SoftLabelLines broken(reinterpret_cast<const uint8_t*>(sentence.data()), sentence.size(), wild.data(), 1);
  CHECK_THROWS(broken.targets(both + 1, 1, lengths), "line 1: the index points outside");
}

// DISTILMT_FUZZ: how many inputs. A third are noise, the others a good sentence with some bytes changed; two of three
// carry the right checksum, so that what stands behind it is reached.
TEST(soft_labels_fuzz) {
  const char* asked = std::getenv("DISTILMT_FUZZ");
  const int64_t inputs = asked ? std::atoll(asked) : 20000;
  std::mt19937_64 random(1);
  const int32_t target[] = {4, 0};
  const uint16_t states[] = {1, 2, 3, 4, 5, 6};
  const std::string good[] = {two_tokens(), encode_states(target, states, 2, 3)};
  int64_t read = 0;
  StoredSentence s;
  for (int64_t i = 0; i < inputs; ++i) {
    std::string bytes = good[i & 1].substr(0, good[i & 1].size() - 4);
    if (i % 3 == 0) {
      bytes.resize(random() % 64);
      for (char& byte : bytes) byte = static_cast<char>(random());
      if (bytes.size() > 1) bytes[1] = 0;  // few tokens: more of them would be refused at once
    } else {
      for (int changes = 1 + random() % 3; changes > 0; --changes)
        bytes[random() % bytes.size()] = static_cast<char>(random());
      if (random() % 4 == 0) bytes.resize(random() % (bytes.size() + 1));
    }
    if (i % 9 < 6) bytes = sealed(bytes);
    // A copy of the very size: one byte further belongs to nobody.
    const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
    try {
      decode_sentence(exact.data(), exact.size(), s);
      ++read;
    } catch (const std::runtime_error&) {
      continue;
    }
    CHECK(s.begin.size() == s.target.size() + 1 && s.begin.back() == static_cast<int64_t>(s.ids.size()));
    for (size_t t = 0; t + 1 < s.begin.size(); ++t) {
      uint64_t sum = 0;
      for (int64_t e = s.begin[t]; e < s.begin[t + 1]; ++e) sum += s.steps[e];
      CHECK(sum <= grid_steps(s.k) && s.begin[t + 1] - s.begin[t] <= s.k);
    }
  }
  CHECK(read > inputs / 100);
}
