#include "tests/test.h"
#include "text/ngrams.h"
#include "text/tokenize_13a.h"
#include "text/unicode.h"

using namespace distilmt;

namespace {

std::u32string joined(const std::u32string& text) {
  std::u32string out;
  for (std::u32string_view word : split(text)) out.append(word).push_back(U'|');
  return out;
}

// Symbols of a sentence of single letters.
std::vector<uint32_t> letters(const std::string& text) { return {text.begin(), text.end()}; }

}  // namespace

TEST(text_utf8_is_decoded_by_code_point) {
  CHECK(decode_utf8("") == U"");
  CHECK(decode_utf8("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z") == U"a\u00e4\u20ac\U0001F600z");
  CHECK(decode_utf8(std::string_view("\0b", 2)) == std::u32string(U"\0b", 2));
  CHECK((decode_utf8("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf") == std::u32string{0xD7FF, 0xE000, 0x10FFFF}));
}

TEST(text_what_is_no_utf8_is_refused_where_it_stands) {
  CHECK_THROWS(decode_utf8("ab\xff"), "invalid UTF-8 at byte 3");
  for (const char* bad :
       {"\x80", "\xbf", "\xc3", "\xc3(", "\xe2\x82", "\xe2(\xa1", "\xf0\x9f\x98", "\xf8\x88\x80\x80\x80", "\xc0\x80",
        "\xc1\xbf", "\xe0\x80\xaf", "\xe0\x9f\xbf", "\xf0\x80\x80\xaf", "\xf0\x8f\xbf\xbf", "\xed\xa0\x80",
        "\xed\xbf\xbf", "\xf4\x90\x80\x80", "\xfe", "\xf7\xbf\xbf\xbf"})
    CHECK_THROWS(decode_utf8(std::string(bad) + "x"), "invalid UTF-8 at byte 1");
  CHECK_THROWS(decode_utf8("\xe2\x82"), "invalid UTF-8 at byte 1");
}

TEST(text_white_space_is_pythons) {
  std::vector<char32_t> found;
  for (char32_t c = 0; c < 0x110000; ++c)
    if (is_space(c)) found.push_back(c);
  const std::vector<char32_t> all = {0x9,    0xA,    0xB,    0xC,    0xD,    0x1C,   0x1D,   0x1E,   0x1F,   0x20,
                                     0x85,   0xA0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006,
                                     0x2007, 0x2008, 0x2009, 0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000};
  CHECK(found == all);
  CHECK(joined(U"  a\u00a0b \u3000 ") == U"a|b|" && split(U" \t").empty() && joined(U"\u200b") == U"\u200b|");
}

// Each line was tokenised by sacreBLEU 2.6; tests/test_select_text.py compares far more.
TEST(text_13a_tokens) {
  const std::pair<const char32_t*, const char32_t*> cases[] = {
      {U"Hello, world!", U"Hello|,|world|!|"},
      {U"It costs 1,000.50 (net).", U"It|costs|1,000.50|(|net|)|.|"},
      {U"wait... what", U"wait|.|.|.|what|"},
      {U"pages 10-12, a-b", U"pages|10|-|12|,|a-b|"},
      {U"&quot;x&quot; &amp;lt; y &gt;", U"\"|x|\"|<|y|>|"},
      {U"a<skipped>b", U"ab|"},
      {U"it's O'Neil", U"it's|O'Neil|"},
      {U"\u00fcber\u2026 100\u20ac.", U"\u00fcber\u2026|100\u20ac|.|"},
      {U".5 5.", U".|5|5|.|"},
      {U"", U""},
      {U" \u2028", U""},
  };
  for (const auto& [line, tokens] : cases) CHECK(joined(tokenize_13a(line)) == tokens);
}

TEST(text_line_ends_inside_a_line_as_sacrebleu) {
  CHECK(joined(tokenize_13a(U"hyphen-\nated and\nmore\n")) == U"hyphenated|and|more|");
}

TEST(text_a_trie_knows_sequences_apart) {
  Trie trie;
  const uint32_t a = trie.child(Trie::kCharacters, 'a');
  CHECK(a == 2 && trie.child(Trie::kCharacters, 'a') == a && trie.child(Trie::kWords, 'a') != a);
  const uint32_t ab = trie.child(a, 'b');
  CHECK(ab != trie.child(Trie::kCharacters, 'b') && trie.child(a, 'b') == ab);
  std::vector<uint32_t> nodes;  // far more than it has room for at first
  for (uint32_t i = 0; i < 5000; ++i) nodes.push_back(trie.child(i % 7 ? nodes[i - 1] : Trie::kWords, i));
  for (uint32_t i = 0; i < 5000; ++i) CHECK(trie.child(i % 7 ? nodes[i - 1] : Trie::kWords, i) == nodes[i]);
  CHECK(trie.child(a, 'b') == ab);
  trie.clear();
  CHECK(trie.size() == 2 && trie.child(Trie::kWords, 4999) == 2);
}

// "aabab" has a 3 times, b twice; aa, ab twice, ba; aab, aba, bab.
TEST(text_ngrams_are_counted_and_clipped) {
  Trie trie;
  Comparer comparer;
  const Profile p = comparer.profile(trie, Trie::kCharacters, letters("aabab"), 3);
  CHECK(p.length == 5 && p.begin[1] == 2 && p.begin[2] == 5 && p.begin[3] == 8 && p.begin[kMaxOrder] == 8);
  CHECK(p.entries[0].count == 3 && p.entries[1].count == 2 && p.entries[3].count == 2);
  const Profile q = comparer.profile(trie, Trie::kCharacters, letters("abab"), 3);  // ab twice, ba; aba, bab
  comparer.load(p);
  const Overlap o = comparer.overlap(q);
  comparer.unload(p);
  CHECK(o.candidate_length == 4 && o.reference_length == 5);
  CHECK(o.matches[0] == 4 && o.matches[1] == 3 && o.matches[2] == 2 && o.matches[3] == 0);
  comparer.load(q);
  const Overlap back = comparer.overlap(p);
  comparer.unload(q);
  CHECK(back.matches == o.matches);
  const Profile empty = comparer.profile(trie, Trie::kCharacters, {}, 6);
  CHECK(empty.entries.empty() && empty.length == 0 && empty.begin[kMaxOrder] == 0);
}
