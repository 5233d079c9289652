// The encoder's attention by cuDNN: the formula and the rows of cuda::PackedAttention (cuda/attention.h).
//
// cuDNN is asked for kSentences at a time, of which any number is empty, each of at most `longest` tokens: one plan
// serves every pass of a model. So what a sentence gets depends neither on how many there are nor on how long they are.
#pragma once
#include <cstdint>

#include "cuda/storage.h"

namespace distilmt {

// What a plan is made for.
struct AttentionShape {
  static constexpr int64_t kSentences = 64;

  cuda::Storage storage;  // float16 or bfloat16
  int64_t d, heads;       // d / heads a multiple of 8
  int64_t longest;        // tokens of a sentence, at most
};

struct SentenceAttention {
  // Of the table for so many sentences: a call reads kSentences + 1.
  static int64_t entries(int64_t sentences) {
    return (sentences / AttentionShape::kSentences + 2) * AttentionShape::kSentences;
  }

  AttentionShape shape;
  const void* qkv;       // [tokens, q | k | v, d]
  const int32_t* table;  // cuda::SentenceTable, 16-byte aligned
  int64_t stride;        // of its rows
  int64_t sentences;
  void* out;  // [tokens, d]
};

}  // namespace distilmt
