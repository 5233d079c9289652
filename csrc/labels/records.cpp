#include "labels/records.h"

#include <bit>
#include <cstring>

#include "common/platform.h"
#include "labels/crc32c.h"

static_assert(std::endian::native == std::endian::little, "frames are written as they lie in memory");

namespace distilmt {
namespace {

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_number(std::string& out, size_t value) {
  for (; value >= 128; value >>= 7) out.push_back(static_cast<char>(value | 128));
  out.push_back(static_cast<char>(value));
}

void put_bytes(std::string& out, std::string_view bytes) {
  put_number(out, bytes.size());
  out += bytes;
}

// A cursor that goes bad instead of going too far; once bad, everything it reads is zero or empty.
struct Reader {
  std::string_view rest;
  bool bad = false;

  std::string_view take(size_t count) {
    if (count > rest.size()) {
      bad = true;
      rest = {};
      return {};
    }
    const auto taken = rest.substr(0, count);
    rest.remove_prefix(count);
    return taken;
  }

  template <class T>
  T fixed() {
    T value{};
    if (const auto bytes = take(sizeof value); !bad) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  uint32_t number() {
    uint64_t value = 0;
    for (int shift = 0; shift < 35; shift += 7) {
      const auto byte = fixed<uint8_t>();
      value |= uint64_t{byte & 127u} << shift;
      if (!(byte & 128)) {
        bad = bad || value > 0xFFFFFFFFu;
        return bad ? 0 : static_cast<uint32_t>(value);
      }
    }
    bad = true;
    return 0;
  }

  // How many items follow, each of at least `least` bytes: never more than the bytes that are left could hold.
  size_t count(size_t least) {
    const size_t found = number();
    bad = bad || found > rest.size() / least;
    return bad ? 0 : found;
  }

  std::string text() { return std::string(take(number())); }
};

bool parse_payload(std::string_view payload, Record& record) {
  Reader in{payload};
  record.line = in.fixed<uint64_t>();
  record.verdict = in.fixed<uint8_t>();
  record.cause = in.text();
  record.candidates.assign(in.count(19), {});
  for (Candidate& candidate : record.candidates) {
    candidate.text = in.text();
    candidate.ids.resize(in.count(1));
    for (int32_t& id : candidate.ids) id = static_cast<int32_t>(in.number());
    candidate.score = in.fixed<double>();
    candidate.log_prob = in.fixed<double>();
    candidate.tokens = in.number();
  }
  record.soft = in.text();
  record.forced = in.text();
  return !in.bad && in.rest.empty();
}

}  // namespace

void append_frame(std::string& out, const Record& record) {
  const size_t begin = out.size();
  put(out, uint64_t{0});  // the header, once the length is known
  put(out, record.line);
  put(out, record.verdict);
  put_bytes(out, record.cause);
  put_number(out, record.candidates.size());
  for (const Candidate& candidate : record.candidates) {
    put_bytes(out, candidate.text);
    put_number(out, candidate.ids.size());
    for (int32_t id : candidate.ids) put_number(out, static_cast<uint32_t>(id));
    put(out, candidate.score);
    put(out, candidate.log_prob);
    put_number(out, candidate.tokens);
  }
  put_bytes(out, record.soft);
  put_bytes(out, record.forced);
  const size_t size = out.size() - begin - kFrameHeader;
  require(size <= kMaxPayload, "a record of " + std::to_string(size) + " bytes");
  const auto length = static_cast<uint32_t>(size);
  const uint32_t sum = crc32c(out.data() + begin + kFrameHeader, size, crc32c(&length, sizeof length));
  std::memcpy(out.data() + begin, &length, sizeof length);
  std::memcpy(out.data() + begin + sizeof length, &sum, sizeof sum);
}

size_t parse_frame(std::string_view data, Record& record) {
  Reader in{data};
  const auto length = in.fixed<uint32_t>();
  const auto sum = in.fixed<uint32_t>();
  if (in.bad || length == 0 || length > kMaxPayload || length > in.rest.size()) return 0;
  const std::string_view payload = in.rest.substr(0, length);
  if (crc32c(payload.data(), length, crc32c(&length, sizeof length)) != sum) return 0;
  return parse_payload(payload, record) ? kFrameHeader + length : 0;
}

}  // namespace distilmt
