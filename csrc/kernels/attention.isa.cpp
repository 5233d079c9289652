// Attention of one instruction set; contract in attention.h. A sentence's heads are small matrix products, done by the
// tile of tile.h; a decoder's queries are few and its keys lie apart, so there each key is loaded once and serves
// several queries.
#include "kernels/attention.h"

#include "kernels/tile.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

float scale_of(int64_t size) { return 1.0f / __builtin_sqrtf(static_cast<float>(size)); }

// scores [length] -> softmax(scale * scores), in place.
void softmax(float* scores, int64_t length, float scale) {
  const int64_t whole = length / kWidth * kWidth, left = length - whole;
  vec high = broadcast(-__FLT_MAX__);
  for (int64_t t = 0; t < whole; t += kWidth) high = maximum(load(scores + t), high);
  if (left) high = maximum(load_part(scores + whole, left, -__FLT_MAX__), high);
  const float highest = largest(high);
  vec total = {};
  for (int64_t t = 0; t < whole; t += kWidth) {
    const vec e = exp((load(scores + t) - highest) * scale);
    store(scores + t, e);
    total += e;
  }
  if (left) {
    const vec e = exp((load_part(scores + whole, left, -__builtin_inff()) - highest) * scale);
    store_part(scores + whole, left, e);
    total += e;
  }
  const float share = 1.0f / sum(total);
  for (int64_t t = 0; t < whole; t += kWidth) store(scores + t, load(scores + t) * share);
  if (left) store_part(scores + whole, left, load_part(scores + whole, left, 0.0f) * share);
}

// ---- a whole sentence
// ------------------------------------------------------------------------------------------------

uint32_t bits(float x) {
  uint32_t y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}

// w [n, k], rows ldw floats apart -> panels [ceil(n / kPanel), k, kPanel], as PackedMatrix has them.
void pack_columns(const float* w, int64_t ldw, int64_t n, int64_t k, uint32_t* panels) {
  for (int64_t j = 0; j < padded(n, kPanel); ++j) {
    uint32_t* column = panels + j / kPanel * kPanel * k + j % kPanel;
    for (int64_t c = 0; c < k; ++c) column[c * kPanel] = j < n ? bits(w[j * ldw + c]) : 0;
  }
}

// The panels of w^T, from w [k, n]: its rows run along the panels already.
void pack_transposed(const float* w, int64_t ldw, int64_t n, int64_t k, uint32_t* panels) {
  for (int64_t j = 0; j < n; j += kPanel)
    for (int64_t c = 0; c < k; ++c, panels += kPanel)
      for (int64_t x = 0; x < kPanel; ++x) panels[x] = j + x < n ? bits(w[c * ldw + j + x]) : 0;
}

// out [rows, n] = packed rows x panels, each row written to out + i * ldo.
void multiply(const RowTiles<Float32>& tiles, const uint32_t* packed, const uint32_t* panels, int64_t k, int64_t n,
              float* out, int64_t ldo) {
  alignas(64) uint32_t sums[Float32::kRows * kPanel];
  for (int64_t j = 0; j < n; j += kPanel) {
    const int64_t columns = n - j < kPanel ? n - j : kPanel;
    for (int64_t t = 0; t < tiles.count; ++t) {
      const int64_t begin = tiles.begin(t);
      multiply_rows<Float32>(tiles.rows(t), packed + begin * row_groups<Float32>(k), panels + j * k, k, sums,
                             Prefetch());
      for (int r = 0; r < tiles.rows(t); ++r)
        std::memcpy(out + (begin + r) * ldo + j, sums + r * kPanel, sizeof(float) * columns);
    }
  }
}

// ---- a few queries
// ---------------------------------------------------------------------------------------------------

// Rows of keys or values, float32 or bfloat16: anywhere, or at equal distances.
template <class E>
struct Cache {
  const E* const* rows;
  const E* first;
  int64_t stride;
  const E* next = nullptr;  // what is read after this cache, at equal distances too
  const E* operator[](int64_t t) const { return rows ? rows[t] : first + t * stride; }
  // Asks memory for a row of the next cache: caches are small and far apart, and the processor foresees neither.
  DISTILMT_INLINE void ask_next(int64_t t, int64_t count) const {
    for (int64_t c = 0; next && c < count; c += 64 / static_cast<int64_t>(sizeof(E)))
      __builtin_prefetch(next + t * stride + c, 0, 2);
  }
};

// Queries that share a load of keys and values; their sums and the values must fit the registers.
constexpr int kQueries = 4;
constexpr int kColumns = (kWidth == 16 ? 4 : 2);

// scores [length, ldp] = q . key, unscaled: a line has a lane for each pair of row and head, whole vectors of them.
// dots: ldp vectors of scratch. A piece of a key is loaded once for all rows.
template <int Rows, class E>
void score(const float* q, int64_t ldq, Cache<E> keys, int64_t length, int64_t size, int64_t heads, float* scores,
           int64_t ldp, float* dots) {
  const int64_t whole = size / kWidth * kWidth, left = size - whole;
  for (int64_t i = Rows * heads; i < ldp; ++i) store(dots + i * kWidth, vec{});
  for (int64_t t = 0; t < length; ++t, scores += ldp) {
    const E* key = keys[t];
    keys.ask_next(t, 2 * heads * size);
    const float* x = q;
    for (int64_t h = 0; h < heads; ++h, x += size, key += size) {
      vec dot[Rows] = {};
      for (int64_t c = 0; c < whole; c += kWidth) {
        const vec y = load(key + c);
        for (int r = 0; r < Rows; ++r) dot[r] = fma(load(x + r * ldq + c), y, dot[r]);
      }
      if (left) {
        const vec y = load_part(key + whole, left, 0.0f);
        for (int r = 0; r < Rows; ++r) dot[r] = fma(load_part(x + r * ldq + whole, left, 0.0f), y, dot[r]);
      }
      for (int r = 0; r < Rows; ++r) store(dots + (r * heads + h) * kWidth, dot[r]);
    }
    for (int64_t first = 0; first < ldp; first += kWidth) {
      vec v[kWidth];
      for (int i = 0; i < kWidth; ++i) v[i] = load(dots + (first + i) * kWidth);
      store(scores + first, sums(v));
    }
  }
}

// scores [length, ldp] -> softmax(scale * scores) over length, for every lane of a line, in place.
void softmax_lines(float* scores, int64_t length, int64_t ldp, float scale) {
  for (int64_t first = 0; first < ldp; first += kWidth, scores += kWidth) {
    vec highest = load(scores), total = {};
    for (int64_t t = 1; t < length; ++t) highest = maximum(load(scores + t * ldp), highest);
    for (int64_t t = 0; t < length; ++t) {
      const vec e = exp((load(scores + t * ldp) - highest) * scale);
      store(scores + t * ldp, e);
      total += e;
    }
    const vec share = 1.0f / total;
    for (int64_t t = 0; t < length; ++t) store(scores + t * ldp, load(scores + t * ldp) * share);
  }
}

// out [Rows, Columns vectors] = sum over t of p[t] * values[t] at column `first`; `left` > 0: one vector of which so
// much is real.
template <int Rows, int Columns, class E>
void blend(const float* p, int64_t ldp, int64_t heads, Cache<E> values, int64_t length, int64_t first, int64_t left,
           float* out, int64_t ldo) {
  vec total[Rows][Columns] = {};
  for (int64_t t = 0; t < length; ++t, p += ldp) {
    const E* value = values[t] + first;
    for (int c = 0; c < Columns; ++c) {
      const vec x = left ? load_part(value, left, 0.0f) : load(value + c * kWidth);
      for (int r = 0; r < Rows; ++r) total[r][c] = fma(broadcast(p[r * heads]), x, total[r][c]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int c = 0; c < Columns; ++c)
      if (left)
        store_part(out + r * ldo + first, left, total[r][c]);
      else
        store(out + r * ldo + first + c * kWidth, total[r][c]);
}

// scores [length, ldp], a row's heads beside each other -> mean [length].
void mean_of_heads(const float* scores, int64_t ldp, int64_t heads, int64_t length, float* mean) {
  for (int64_t t = 0; t < length; ++t, scores += ldp) {
    float total = 0;
    for (int64_t h = 0; h < heads; ++h) total += scores[h];
    mean[t] = total / static_cast<float>(heads);
  }
}

template <int Rows, class E>
void attend(const float* q, int64_t ldq, Cache<E> keys, Cache<E> values, int64_t length, int64_t d, int64_t heads,
            float* scores, float* out, int64_t ldo, float* weights, int64_t ldw) {
  const int64_t size = d / heads, ldp = padded(Rows * heads, kWidth);
  score<Rows>(q, ldq, keys, length, size, heads, scores, ldp, scores + length * ldp);
  softmax_lines(scores, length, ldp, scale_of(size));
  for (int r = 0; weights && r < Rows; ++r) mean_of_heads(scores + r * heads, ldp, heads, length, weights + r * ldw);
  for (int64_t h = 0; h < heads; ++h) {
    const float* p = scores + h;
    int64_t c = h * size;
    const int64_t end = c + size;
    for (; c + kColumns * kWidth <= end; c += kColumns * kWidth)
      blend<Rows, kColumns>(p, ldp, heads, values, length, c, 0, out, ldo);
    for (; c + kWidth <= end; c += kWidth) blend<Rows, 1>(p, ldp, heads, values, length, c, 0, out, ldo);
    if (c < end) blend<Rows, 1>(p, ldp, heads, values, length, c, end - c, out, ldo);
  }
}

template <class E>
void attend_all(const float* q, int64_t rows, int64_t ldq, Cache<E> keys, Cache<E> values, int64_t length, int64_t d,
                int64_t heads, float* scratch, float* out, int64_t ldo, float* weights, int64_t ldw) {
  static_assert(kQueries == 4);
  for (; rows >= 4; rows -= 4, q += 4 * ldq, out += 4 * ldo, weights += weights ? 4 * ldw : 0)
    attend<4>(q, ldq, keys, values, length, d, heads, scratch, out, ldo, weights, ldw);
  if (rows == 3) attend<3>(q, ldq, keys, values, length, d, heads, scratch, out, ldo, weights, ldw);
  if (rows == 2) attend<2>(q, ldq, keys, values, length, d, heads, scratch, out, ldo, weights, ldw);
  if (rows == 1) attend<1>(q, ldq, keys, values, length, d, heads, scratch, out, ldo, weights, ldw);
}

}  // namespace

int64_t sentence_scratch(int64_t length, int64_t d, int64_t heads) {
  const int64_t size = d / heads;
  const int64_t key_panels = padded(length, kPanel) * size, value_panels = padded(size, kPanel) * length;
  return (key_panels > value_panels ? key_panels : value_panels) +
         length * padded(length > size ? length : size, kChunk) + length * length;
}

void attend_sentence(const float* qkv, int64_t length, int64_t d, int64_t heads, float* scratch, float* out) {
  const int64_t size = d / heads, ld = 3 * d;
  const RowTiles<Float32> tiles(length);
  float* scores = scratch;
  uint32_t* packed = reinterpret_cast<uint32_t*>(scores + length * length);
  uint32_t* panels = packed + length * padded(length > size ? length : size, kChunk);
  for (int64_t h = 0; h < heads; ++h) {
    const float* q = qkv + h * size;
    pack_tiles(q, ld, tiles, size, packed, nullptr);
    pack_columns(q + d, ld, length, size, panels);
    multiply(tiles, packed, panels, size, length, scores, length);
    for (int64_t i = 0; i < length; ++i) softmax(scores + i * length, length, scale_of(size));
    pack_tiles(scores, length, tiles, length, packed, nullptr);
    pack_transposed(q + 2 * d, ld, size, length, panels);
    multiply(tiles, packed, panels, length, size, out + h * size, d);
  }
}

int64_t query_scratch(int64_t length, int64_t heads) { return padded(kQueries * heads, kWidth) * (length + kWidth); }

void attend_rows_float32(const float* q, const float* const* keys, const float* const* values, int64_t length,
                         int64_t d, int64_t heads, float* scratch, float* out) {
  attend<1, float>(q, d, {keys, nullptr, 0}, {values, nullptr, 0}, length, d, heads, scratch, out, d, nullptr, 0);
}

void attend_rows_bfloat16(const float* q, const bfloat16* const* keys, const bfloat16* const* values, int64_t length,
                          int64_t d, int64_t heads, float* scratch, float* out) {
  attend<1, bfloat16>(q, d, {keys, nullptr, 0}, {values, nullptr, 0}, length, d, heads, scratch, out, d, nullptr, 0);
}

void attend_cross_float32(const float* q, int64_t rows, int64_t ldq, const float* keys, const float* values,
                          int64_t stride, int64_t length, int64_t d, int64_t heads, float* scratch, float* out,
                          int64_t ldo, float* weights, int64_t ldw, const float* next) {
  attend_all<float>(q, rows, ldq, {nullptr, keys, stride, next}, {nullptr, values, stride}, length, d, heads, scratch,
                    out, ldo, weights, ldw);
}

void attend_cross_bfloat16(const float* q, int64_t rows, int64_t ldq, const bfloat16* keys, const bfloat16* values,
                           int64_t stride, int64_t length, int64_t d, int64_t heads, float* scratch, float* out,
                           int64_t ldo, float* weights, int64_t ldw, const bfloat16* next) {
  attend_all<bfloat16>(q, rows, ldq, {nullptr, keys, stride, next}, {nullptr, values, stride}, length, d, heads,
                       scratch, out, ldo, weights, ldw);
}

void to_bfloat16(const float* x, int64_t count, bfloat16* out) {
  for (; count >= kWidth; count -= kWidth, x += kWidth, out += kWidth) narrow(load(x), kWidth, out);
  narrow(load_up_to(x, count), count, out);
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
