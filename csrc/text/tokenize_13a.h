// sacreBLEU's tokenisation 13a, that of NIST's mteval-v13a.pl, on code points (sacrebleu 2.6,
// tokenizers/tokenizer_13a.py and tokenizer_re.py; metrics/bleu.py strips the line's end first).
#pragma once
#include <string>
#include <string_view>

namespace distilmt {

// The line with white space around every token; `split` gives the tokens.
std::u32string tokenize_13a(std::u32string_view line);

}  // namespace distilmt
