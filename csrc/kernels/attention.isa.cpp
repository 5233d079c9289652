// Attention of one instruction set; contract in attention.h. A sentence's heads are small matrix products, done by the
// tile of tile.h; a decoder's queries are few and its keys lie apart, so there each key is loaded once and serves
// several queries.
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

// w [n, k], rows ldw floats apart -> panels [ceil(n / kPanel), k, kPanel], as PackedMatrix has them.
void pack_columns(const float* w, int64_t ldw, int64_t n, int64_t k, float* panels) {
  for (int64_t j = 0; j < padded(n, kPanel); ++j) {
    float* column = panels + j / kPanel * kPanel * k + j % kPanel;
    for (int64_t c = 0; c < k; ++c) column[c * kPanel] = j < n ? w[j * ldw + c] : 0.0f;
  }
}

// The panels of w^T, from w [k, n]: its rows run along the panels already.
void pack_transposed(const float* w, int64_t ldw, int64_t n, int64_t k, float* panels) {
  for (int64_t j = 0; j < n; j += kPanel)
    for (int64_t c = 0; c < k; ++c, panels += kPanel)
      for (int64_t x = 0; x < kPanel; ++x) panels[x] = j + x < n ? w[c * ldw + j + x] : 0.0f;
}

// out [rows, n] = packed rows x panels, each row written to out + i * ldo.
void multiply(const RowTiles& tiles, const float* packed, const float* panels, int64_t k, int64_t n, float* out,
              int64_t ldo) {
  alignas(64) float sums[kRows * kPanel];
  for (int64_t j = 0; j < n; j += kPanel) {
    const int64_t columns = n - j < kPanel ? n - j : kPanel;
    for (int64_t t = 0; t < tiles.count; ++t) {
      const int64_t begin = tiles.begin(t);
      multiply_tile(tiles.rows(t), packed + begin * padded(k, kChunk), panels + j * k, k, sums);
      for (int r = 0; r < tiles.rows(t); ++r)
        std::memcpy(out + (begin + r) * ldo + j, sums + r * kPanel, sizeof(float) * columns);
    }
  }
}

// ---- a few queries
// ---------------------------------------------------------------------------------------------------

// Where the rows of a cache lie: anywhere, or at equal distances.
struct Scattered {
  const float* const* rows;
  const float* operator[](int64_t t) const { return rows[t]; }
};
struct Strided {
  const float* rows;
  int64_t stride;
  const float* operator[](int64_t t) const { return rows + t * stride; }
};

// Queries that share a load of keys and values; their sums and the values must fit the registers.
constexpr int kQueries = 4;
constexpr int kColumns = (kWidth == 16 ? 4 : 2);

// scores [Rows, heads, length] = q . key, unscaled.
template <int Rows, class Cache>
void score(const float* q, int64_t ldq, Cache keys, int64_t length, int64_t size, int64_t heads, float* scores) {
  const int64_t whole = size / kWidth * kWidth, left = size - whole;
  for (int64_t t = 0; t < length; ++t) {
    const float* key = keys[t];
    for (int64_t h = 0; h < heads; ++h, key += size) {
      vec dot[Rows] = {};
      for (int64_t c = 0; c < whole; c += kWidth) {
        const vec x = load(key + c);
        for (int r = 0; r < Rows; ++r) dot[r] = fma(load(q + r * ldq + h * size + c), x, dot[r]);
      }
      if (left) {
        const vec x = load_part(key + whole, left, 0.0f);
        for (int r = 0; r < Rows; ++r) dot[r] = fma(load_part(q + r * ldq + h * size + whole, left, 0.0f), x, dot[r]);
      }
      for (int r = 0; r < Rows; ++r) scores[(r * heads + h) * length + t] = sum(dot[r]);
    }
  }
}

// out [Rows, Columns vectors] = sum over t of p[t] * values[t] at column `first`; `left` > 0: one vector of which so
// much is real.
template <int Rows, int Columns, class Cache>
void blend(const float* p, int64_t ldp, Cache values, int64_t length, int64_t first, int64_t left, float* out,
           int64_t ldo) {
  vec total[Rows][Columns] = {};
  for (int64_t t = 0; t < length; ++t) {
    const float* value = values[t] + first;
    for (int c = 0; c < Columns; ++c) {
      const vec x = left ? load_part(value, left, 0.0f) : load(value + c * kWidth);
      for (int r = 0; r < Rows; ++r) total[r][c] = fma(broadcast(p[r * ldp + t]), x, total[r][c]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int c = 0; c < Columns; ++c)
      if (left)
        store_part(out + r * ldo + first, left, total[r][c]);
      else
        store(out + r * ldo + first + c * kWidth, total[r][c]);
}

// scores [heads, length] -> mean [length].
void mean_of_heads(const float* scores, int64_t heads, int64_t length, float* mean) {
  for (int64_t t = 0; t < length; ++t) {
    float total = 0;
    for (int64_t h = 0; h < heads; ++h) total += scores[h * length + t];
    mean[t] = total / static_cast<float>(heads);
  }
}

template <int Rows, class Cache>
void attend(const float* q, int64_t ldq, Cache keys, Cache values, int64_t length, int64_t d, int64_t heads,
            float* scores, float* out, int64_t ldo, float* weights = nullptr, int64_t ldw = 0) {
  const int64_t size = d / heads, ldp = heads * length;
  score<Rows>(q, ldq, keys, length, size, heads, scores);
  for (int64_t i = 0; i < Rows * heads; ++i) softmax(scores + i * length, length, scale_of(size));
  for (int r = 0; weights && r < Rows; ++r) mean_of_heads(scores + r * ldp, heads, length, weights + r * ldw);
  for (int64_t h = 0; h < heads; ++h) {
    const float* p = scores + h * length;
    int64_t c = h * size;
    const int64_t end = c + size;
    for (; c + kColumns * kWidth <= end; c += kColumns * kWidth)
      blend<Rows, kColumns>(p, ldp, values, length, c, 0, out, ldo);
    for (; c + kWidth <= end; c += kWidth) blend<Rows, 1>(p, ldp, values, length, c, 0, out, ldo);
    if (c < end) blend<Rows, 1>(p, ldp, values, length, c, end - c, out, ldo);
  }
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
  const RowTiles tiles(length);
  float* scores = scratch;
  float* packed = scores + length * length;
  float* panels = packed + length * padded(length > size ? length : size, kChunk);
  for (int64_t h = 0; h < heads; ++h) {
    const float* q = qkv + h * size;
    pack_tiles(q, ld, tiles, size, packed);
    pack_columns(q + d, ld, length, size, panels);
    multiply(tiles, packed, panels, size, length, scores, length);
    for (int64_t i = 0; i < length; ++i) softmax(scores + i * length, length, scale_of(size));
    pack_tiles(scores, length, tiles, length, packed);
    pack_transposed(q + 2 * d, ld, size, length, panels);
    multiply(tiles, packed, panels, length, size, out + h * size, d);
  }
}

int64_t query_scratch(int64_t length, int64_t heads) { return kQueries * heads * length; }

void attend_rows(const float* q, const float* const* keys, const float* const* values, int64_t length, int64_t d,
                 int64_t heads, float* scratch, float* out) {
  attend<1>(q, d, Scattered{keys}, Scattered{values}, length, d, heads, scratch, out, d);
}

void attend_cross(const float* q, int64_t rows, int64_t ldq, const float* keys, const float* values, int64_t stride,
                  int64_t length, int64_t d, int64_t heads, float* scratch, float* out, int64_t ldo, float* weights,
                  int64_t ldw) {
  const Strided k{keys, stride}, v{values, stride};
  static_assert(kQueries == 4);
  for (; rows >= 4; rows -= 4, q += 4 * ldq, out += 4 * ldo, weights += weights ? 4 * ldw : 0)
    attend<4>(q, ldq, k, v, length, d, heads, scratch, out, ldo, weights, ldw);
  if (rows == 3) attend<3>(q, ldq, k, v, length, d, heads, scratch, out, ldo, weights, ldw);
  if (rows == 2) attend<2>(q, ldq, k, v, length, d, heads, scratch, out, ldo, weights, ldw);
  if (rows == 1) attend<1>(q, ldq, k, v, length, d, heads, scratch, out, ldo, weights, ldw);
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
