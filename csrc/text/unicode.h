// Text as code points: UTF-8 decoded strictly, white space as Python has it.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace distilmt {

// Throws std::invalid_argument, naming the byte, for what is no UTF-8: overlong forms, surrogates, numbers above
// U+10FFFF, bytes out of place, a character cut off.
std::u32string decode_utf8(std::string_view bytes);

// Python's str.isspace of one character: bidirectional type WS, B or S, or category Zs.
bool is_space(char32_t c);

// Python's str.split(): the words between white space.
std::vector<std::u32string_view> split(std::u32string_view text);

}  // namespace distilmt
