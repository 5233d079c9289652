#include <cstdlib>
#include <random>

#include "labels/crc32c.h"
#include "labels/records.h"
#include "tests/test.h"

using namespace distilmt;

namespace {

Record sample() {
  return {7,
          3,
          "cause",
          {{"a dog", {1, 127, 128, 16383, 16384, 2147483647}, -0.25, -1.5, 6}, {"", {}, 0, -1e300, 0}},
          std::string("so\0ft", 5),
          "forced"};
}

std::string frame(const Record& record) {
  std::string out;
  append_frame(out, record);
  return out;
}

}  // namespace

TEST(crc32c_is_that_of_the_standard) {
  CHECK(crc32c("123456789", 9) == 0xE3069283u);  // the check value of CRC-32C
  const std::string zeros(32, '\0'), ones(32, '\xff');
  CHECK(crc32c(zeros.data(), 32) == 0x8A9136AAu && crc32c(ones.data(), 32) == 0x62A8AB43u);  // RFC 3720, B.4
  CHECK(crc32c("", 0) == 0 && crc32c("56789", 5, crc32c("1234", 4)) == 0xE3069283u);
}

TEST(records_come_back_as_they_went) {
  Record back;
  for (const Record& record : {sample(), Record{1, 0, "", {}, "", ""}}) {
    const std::string bytes = frame(record);
    CHECK(parse_frame(bytes, back) == bytes.size() && back == record);
    CHECK(parse_frame(bytes + "more", back) == bytes.size() && back == record);
  }
  // line, verdict, and five empty things
  CHECK(frame({1, 2, "", {}, "", ""}).substr(8) == std::string("\1\0\0\0\0\0\0\0\2\0\0\0\0", 13));
}

TEST(records_torn_or_changed_are_no_frames) {
  const std::string bytes = frame(sample());
  Record back;
  for (size_t size = 0; size < bytes.size(); ++size)
    CHECK(parse_frame(std::string_view(bytes).substr(0, size), back) == 0);
  for (size_t at = 0; at < bytes.size(); ++at)
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ 1 << bit);
      CHECK(parse_frame(changed, back) == 0);
    }
  CHECK(parse_frame(std::string(4096, '\0'), back) == 0);
}

// Random damage with the checksum made right again, so that the parser behind it is what is tested.
TEST(records_fuzz) {
  const char* asked = std::getenv("DISTILMT_FUZZ");
  const long count = asked ? std::atol(asked) : 20000;
  std::mt19937_64 random(1);
  const std::string good = frame(sample());
  long parsed = 0;
  for (long i = 0; i < count; ++i) {
    std::string bytes = good;
    for (uint64_t n = random() % 6 + 1; n; --n) {
      const size_t at = kFrameHeader + random() % (bytes.size() - kFrameHeader);
      switch (random() % 4) {
        case 0: bytes[at] = static_cast<char>(random()); break;
        case 1: bytes[at] = '\xff'; break;
        case 2: bytes.insert(at, random() % 9, static_cast<char>(random())); break;
        case 3: bytes.erase(at, random() % 9); break;
      }
      if (bytes.size() <= kFrameHeader) bytes = good;
    }
    const auto length = static_cast<uint32_t>(bytes.size() - kFrameHeader);
    std::string header(reinterpret_cast<const char*>(&length), 4);
    const uint32_t sum = crc32c(bytes.data() + kFrameHeader, length, crc32c(header.data(), 4));
    header.append(reinterpret_cast<const char*>(&sum), 4);
    Record back;
    const std::string whole = header + bytes.substr(kFrameHeader);
    if (parse_frame(whole, back)) {
      ++parsed;
      CHECK(back.candidates.size() <= whole.size());
      Record again;  // a number may be written longer than need be: the record is the same, the bytes need not be
      CHECK(parse_frame(frame(back), again) && again.line == back.line &&
            again.candidates.size() == back.candidates.size());
    }
  }
  CHECK(parsed > 0 && parsed < count);
}
