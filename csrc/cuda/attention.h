// Multi-head attention on the device, formula as in kernels/attention.h: softmax(q k^T / sqrt(d / heads)) v per head.
//
// d is a multiple of heads, d / heads at most 128. Storage is that of queries, keys, values and out.
//
// Keys and values of the decoder lie where the step wrote them and never move:
//   own     [layers, pages, 16 positions, beams, key | value, d]: which page holds positions 16 i ... 16 i + 15 of a
//   slot
//           says pages[slot, i], which beam's entry a beam reads says the ancestor table
//   source  [layers, places, source_positions, key | value, d]
#pragma once
#include "cuda/slots.h"

namespace distilmt::cuda {

constexpr int64_t kPage = 16;       // positions
constexpr int64_t kHeadSize = 128;  // at most

// The encoder's, over packed tokens: sentence s has rows begin[s] ... begin[s + 1] - 1, where equal ones are an unused
// entry. `longest` bounds the length of a sentence.
struct PackedAttention {
  Storage storage;
  const void* qkv;       // [tokens, q | k | v, d]
  const int32_t* begin;  // [sentences + 1]
  int64_t sentences, longest, d, heads;
  void* out;  // [tokens, d]; rows of no sentence are left as they are
};

// What cuDNN reads of the same rows in place of begin (device/attention.h): the tokens of a sentence, and where it
// begins in qkv and in out, counted in numbers. Behind the last one all are empty.
struct SentenceTable {
  const int32_t* begin;
  int64_t sentences, d, entries;  // entries above sentences
  int32_t* table;                 // [length | in | out, entries]
};

// Keys and values of encoded sources, all layers, to their places.
struct SourceKeeping {
  Storage storage;
  const void* key_value;  // [tokens, layers, key | value, d], as one product gives them
  const int32_t* place;   // [tokens]; below 0: no token
  const int32_t* at;      // [tokens] source position
  int64_t tokens, layers, places, source_positions, d;
  void* source;
};

// The decoder's, one token per row: writes keys and values of the token at hand, then attends to all up to it.
struct OwnAttention {
  Storage storage;
  const void* qkv;  // [live, beams, q | k | v, d]
  Slots slots;
  int64_t d, heads;
  void* own;  // of this layer
  void* out;  // [live, beams, d]; rows of nobody become zeros
};

// To the source. The beams of a slot (16 at a time) share one read of keys and values.
struct SourceAttention {
  Storage storage;
  const void* q;  // [live, beams, d]
  Slots slots;
  const int32_t* source_length;  // [places]
  int64_t source_positions, d, heads;
  const void* source;  // of this layer
  void* out;           // [live, beams, d], not q; rows of nobody become zeros
  float* weights;      // [live, beams, heads, source_positions] the attention, or null; rows of nobody are left
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaPackedAttention(const distilmt::cuda::PackedAttention* attention, void* stream);
typedef int DistilmtCudaTellSentences(const distilmt::cuda::SentenceTable* table, void* stream);
typedef int DistilmtCudaKeepSource(const distilmt::cuda::SourceKeeping* keeping, void* stream);
typedef int DistilmtCudaOwnAttention(const distilmt::cuda::OwnAttention* attention, void* stream);
typedef int DistilmtCudaSourceAttention(const distilmt::cuda::SourceAttention* attention, void* stream);
DistilmtCudaPackedAttention distilmt_cuda_packed_attention;
DistilmtCudaTellSentences distilmt_cuda_tell_sentences;
DistilmtCudaKeepSource distilmt_cuda_keep_source;
DistilmtCudaOwnAttention distilmt_cuda_own_attention;
DistilmtCudaSourceAttention distilmt_cuda_source_attention;
}
