#include "text/tokenize_13a.h"

#include <utility>

#include "text/unicode.h"

namespace distilmt {
namespace {

std::u32string replaced(std::u32string_view text, std::u32string_view what, std::u32string_view by) {
  std::u32string out;
  size_t at = 0;
  for (size_t found; (found = text.find(what, at)) != text.npos; at = found + what.size()) {
    out.append(text.substr(at, found - at));
    out.append(by);
  }
  out.append(text.substr(at));
  return out;
}

bool digit(char32_t c) { return c >= U'0' && c <= U'9'; }
bool other(char32_t c) { return !digit(c); }
bool point(char32_t c) { return c == U'.' || c == U','; }
bool dash(char32_t c) { return c == U'-'; }

// [\{-\~\[-\` -\&\(-\+\:-\@\/]
bool symbol(char32_t c) {
  return (c >= U'{' && c <= U'~') || (c >= U'[' && c <= U'`') || (c >= U' ' && c <= U'&') || (c >= U'(' && c <= U'+') ||
         (c >= U':' && c <= U'@') || c == U'/';
}

// re.sub(r'(FIRST)(SECOND)', ...) with a blank after the first, and before or behind the pair. What matched is not
// looked at again, so that of "..." only the first two are a pair.
template <class First, class Second>
std::u32string spaced(std::u32string_view text, First first, Second second, bool before) {
  std::u32string out;
  out.reserve(text.size() * 2);
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 == text.size() || !first(text[i]) || !second(text[i + 1])) {
      out.push_back(text[i]);
      continue;
    }
    if (before) out.push_back(U' ');
    out.push_back(text[i]);
    out.push_back(U' ');
    out.push_back(text[++i]);
    if (!before) out.push_back(U' ');
  }
  return out;
}

}  // namespace

std::u32string tokenize_13a(std::u32string_view line) {
  while (!line.empty() && is_space(line.back())) line.remove_suffix(1);
  std::u32string text(line);
  if (text.find(U'<') != text.npos) text = replaced(text, U"<skipped>", U"");
  if (text.find(U'\n') != text.npos) text = replaced(replaced(text, U"-\n", U""), U"\n", U" ");
  if (text.find(U'&') != text.npos) {
    for (const auto& [entity, character] : {std::pair<std::u32string_view, std::u32string_view>{U"&quot;", U"\""},
                                            {U"&amp;", U"&"},
                                            {U"&lt;", U"<"},
                                            {U"&gt;", U">"}})
      text = replaced(text, entity, character);
  }
  std::u32string out(1, U' ');
  for (char32_t c : text) {
    if (symbol(c)) out.push_back(U' ');
    out.push_back(c);
    if (symbol(c)) out.push_back(U' ');
  }
  out.push_back(U' ');
  out = spaced(out, other, point, false);
  out = spaced(out, point, other, true);
  return spaced(out, digit, dash, false);
}

}  // namespace distilmt
