// Matrix product on a device: out = a w^T + bias, without what is below 0 where relu is asked for; sums in float32.
//
//   a [m, k], w [n, k], out [m, n] row-major without gaps; bias [n]
//
// a and w are of the weights' storage type, out and bias of that or float32; or a and w are int8 and out int32, the
// exact sums, without bias and relu, m a multiple of kInt8Rows, n and k of kInt8Numbers (device/model.h). Row i of out
// depends on row i of a alone, bit for bit, whatever m is: one algorithm for each (n, k, types), and no sums split over
// k.
#pragma once
#include <cstdint>

#include "cuda/storage.h"

namespace distilmt {

struct Product {
  const void* a;
  const void* w;
  const void* bias;  // of out's type, or null
  void* out;
  int64_t m, n, k;
  cuda::Storage storage;  // of a and w
  bool wide = false;      // out and bias are float32
  bool relu = false;
  bool int8 = false;
};

}  // namespace distilmt
