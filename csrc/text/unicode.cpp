#include "text/unicode.h"

#include <stdexcept>

namespace distilmt {

std::u32string decode_utf8(std::string_view bytes) {
  std::u32string text;
  text.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[at]);
    // Continuation bytes, and the least number that needs so many: anything below is an overlong form.
    const int more = lead < 0x80 ? 0 : lead >> 5 == 0x6 ? 1 : lead >> 4 == 0xE ? 2 : lead >> 3 == 0x1E ? 3 : -1;
    constexpr char32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
    char32_t c = more > 0 ? lead & (0x3F >> more) : lead;
    bool good = more >= 0 && bytes.size() - at > static_cast<size_t>(more);
    for (int i = 1; good && i <= more; ++i) {
      const auto next = static_cast<unsigned char>(bytes[at + i]);
      good = next >> 6 == 2;
      c = c << 6 | (next & 0x3F);
    }
    if (!good || c < kLeast[more] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
      throw std::invalid_argument("invalid UTF-8 at byte " + std::to_string(at + 1));
    text.push_back(c);
    at += 1 + more;
  }
  return text;
}

bool is_space(char32_t c) {
  if (c <= 0x20) return (c >= 0x9 && c <= 0xD) || c >= 0x1C;
  if (c < 0x1680) return c == 0x85 || c == 0xA0;
  return c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::vector<std::u32string_view> split(std::u32string_view text) {
  std::vector<std::u32string_view> words;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && !is_space(text[end])) ++end;
    if (end > at) words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

}  // namespace distilmt
