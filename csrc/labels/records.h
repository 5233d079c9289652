// Records of a labelling: what the teacher said of one line, as a frame of a segment file (docs/labelling.md,
// "Formats").
//
//   frame    u32 bytes of the payload, u32 CRC-32C of these four bytes and the payload, payload
//   payload  u64 line (from 1), u8 verdict, text cause, list of candidates, bytes soft, bytes forced
//   candidate  text, list of ids, f64 score, f64 log-probability, number of tokens
//
// Numbers without a width are LEB128 of at most 32 bits, texts, bytes and lists begin with their length as such a
// number; all little-endian. A payload is never empty, so a page of zeros is no frame.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace distilmt {

constexpr size_t kFrameHeader = 8;
constexpr size_t kMaxPayload = size_t{1} << 28;  // bytes; a longer length is damage

struct Candidate {
  std::string text;  // UTF-8
  std::vector<int32_t> ids;
  double score = 0, log_prob = 0;  // nats
  uint32_t tokens = 0;
  bool operator==(const Candidate&) const = default;
};

struct Record {
  uint64_t line = 0;
  uint8_t verdict = 0;
  std::string cause;
  std::vector<Candidate> candidates;
  std::string soft, forced;
  bool operator==(const Record&) const = default;
};

// Appends the frame of a record. Throws std::runtime_error where it would be longer than kMaxPayload.
void append_frame(std::string& out, const Record& record);

// Reads the frame at the beginning of `data` into `record`. Returns its bytes, or 0 where no whole, sound frame stands
// there (`record` is then anything). Any bytes may come.
size_t parse_frame(std::string_view data, Record& record);

}  // namespace distilmt
