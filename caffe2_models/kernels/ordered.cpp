// Convolutions whose sums are added up in order; see caffe2_models/operators/products.py.
#include "compiler.h"
#include "cpu.h"
#include "ordered.h"

#ifdef IS_X86
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "arrays.h"

namespace ordered {
namespace {

namespace py = pybind11;
using detection::Floats;
using detection::Longs;

// One group of all images: rows of weights [rows, depth], each product's input at taps[k] + places[pixel].
struct Geometry {
  int64_t images, rows, depth, pixels, image_size, output_size;
  const int64_t *taps, *places;
};

using AddUp = void (*)(const float*, const float*, const Geometry&, float*);

namespace portable {

constexpr int kLanes = 4, kPixels = 8;

struct Vector {
  float lanes[kLanes];
};

inline Vector spread(float value) { return {{value, value, value, value}}; }
inline Vector load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
inline void store(Vector v, float* p) { std::memcpy(p, v.lanes, sizeof v.lanes); }

template <bool kFused>
INLINE_FUNCTION Vector plus_product(Vector total, Vector a, Vector b) {
  for (int i = 0; i < kLanes; i++)
    total.lanes[i] = kFused ? std::fma(a.lanes[i], b.lanes[i], total.lanes[i]) : total.lanes[i] + a.lanes[i] * b.lanes[i];
  return total;
}

#include "ordered_loops.h"
}

#ifdef IS_X86
BEGIN_TARGET("avx2,fma")
namespace avx2 {

constexpr int kLanes = 8, kPixels = 16;  // with 6 rows, as many sums as there are registers for
using Vector = __m256;

INLINE_FUNCTION Vector spread(float value) { return _mm256_set1_ps(value); }
INLINE_FUNCTION Vector load(const float* p) { return _mm256_loadu_ps(p); }
INLINE_FUNCTION void store(Vector v, float* p) { _mm256_storeu_ps(p, v); }

template <bool kFused>
INLINE_FUNCTION Vector plus_product(Vector total, Vector a, Vector b) {
  return kFused ? _mm256_fmadd_ps(a, b, total) : _mm256_add_ps(total, _mm256_mul_ps(a, b));
}

#include "ordered_loops.h"
}
END_TARGET

BEGIN_TARGET("avx512f")
namespace avx512 {

constexpr int kLanes = 16, kPixels = 32;
using Vector = __m512;

INLINE_FUNCTION Vector spread(float value) { return _mm512_set1_ps(value); }
INLINE_FUNCTION Vector load(const float* p) { return _mm512_loadu_ps(p); }
INLINE_FUNCTION void store(Vector v, float* p) { _mm512_storeu_ps(p, v); }

template <bool kFused>
INLINE_FUNCTION Vector plus_product(Vector total, Vector a, Vector b) {
  return kFused ? _mm512_fmadd_ps(a, b, total) : _mm512_add_ps(total, _mm512_mul_ps(a, b));
}

#include "ordered_loops.h"
}
END_TARGET
#endif

AddUp loop(bool fused) {
#ifdef IS_X86
  if (int8::has_avx512vnni()) return fused ? avx512::add_up_images<true> : avx512::add_up_images<false>;
  if (int8::has_avx2()) return fused ? avx2::add_up_images<true> : avx2::add_up_images<false>;
#endif
  return fused ? portable::add_up_images<true> : portable::add_up_images<false>;
}

void check(bool holds) {
  if (!holds) throw std::invalid_argument("arrays that do not fit each other");
}

int64_t last_of(const Longs& places) {
  if (places.size() == 0) return 0;
  check(*std::min_element(places.data(), places.data() + places.size()) >= 0);
  return *std::max_element(places.data(), places.data() + places.size());
}

// x [N, groups, ...] and weights [groups, rows, depth] to [N, groups, rows, pixels].
Floats ordered_sums(const Floats& x, const Floats& weights, const Longs& taps, const Longs& places, bool fused) {
  check(x.ndim() >= 2 && weights.ndim() == 3 && x.shape(1) == weights.shape(0) && taps.size() == weights.shape(2));
  const int64_t images = x.shape(0), groups = x.shape(1), rows = weights.shape(1), depth = weights.shape(2);
  Floats y(std::vector<py::ssize_t>{x.shape(0), x.shape(1), weights.shape(1), places.size()});
  if (y.size() == 0) return y;
  const int64_t one = x.size() / (images * groups), output = rows * places.size();
  check(depth == 0 || last_of(taps) + last_of(places) < one);
  const Geometry g{images, rows, depth, places.size(), groups * one, groups * output, taps.data(), places.data()};
  const float *from = x.data(), *w = weights.data();
  float* to = y.mutable_data();
  const py::gil_scoped_release release;
  for (int64_t i = 0; i < groups; i++) loop(fused)(from + i * one, w + i * rows * depth, g, to + i * output);
  return y;
}

// The transforms of Winograd's F(2 x 2, 3 x 3), of four vectors; see products.py.
struct Tile {
  float at[4][4];
};

inline Tile transposed(const Tile& t) {
  Tile y;
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) y.at[j][i] = t.at[i][j];
  return y;
}

inline Tile input_transform(const Tile& d) {
  Tile y;
  for (int j = 0; j < 4; j++) {
    y.at[0][j] = d.at[0][j] - d.at[2][j];
    y.at[1][j] = d.at[1][j] + d.at[2][j];
    y.at[2][j] = d.at[2][j] - d.at[1][j];
    y.at[3][j] = d.at[1][j] - d.at[3][j];
  }
  return y;
}

inline Tile kernel_transform(const Tile& g) {
  Tile y;
  for (int j = 0; j < 4; j++) {
    const float even = 0.5f * (g.at[0][j] + g.at[2][j]), odd = 0.5f * g.at[1][j];
    y.at[0][j] = g.at[0][j];
    y.at[1][j] = even + odd;
    y.at[2][j] = even - odd;
    y.at[3][j] = g.at[2][j];
  }
  return y;
}

inline Tile output_transform(const Tile& m) {
  Tile y{};
  for (int j = 0; j < 4; j++) {
    y.at[0][j] = m.at[0][j] + m.at[1][j] + m.at[2][j];
    y.at[1][j] = m.at[1][j] - m.at[2][j] - m.at[3][j];
  }
  return y;
}

// One channel: x [2 down + 2, 2 across + 2] with the pads around it to y [2 down, 2 across].
void winograd_channel(const float* x, const float* kernel, float bias, int64_t down, int64_t across, float* y) {
  Tile g{};
  for (int i = 0; i < 3; i++) std::memcpy(g.at[i], kernel + 3 * i, 3 * sizeof(float));
  const Tile factors = kernel_transform(transposed(kernel_transform(g)));  // columns first, as are the products
  const int64_t width = 2 * across + 2;
  for (int64_t r = 0; r < down; r++) {
    for (int64_t c = 0; c < across; c++) {
      Tile d;
      for (int i = 0; i < 4; i++) std::memcpy(d.at[i], x + (2 * r + i) * width + 2 * c, 4 * sizeof(float));
      d = input_transform(transposed(input_transform(d)));
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) d.at[i][j] *= factors.at[i][j];
      d.at[1][1] += bias;
      d = output_transform(transposed(output_transform(d)));
      for (int i = 0; i < 2; i++) std::memcpy(y + (2 * r + i) * 2 * across + 2 * c, d.at[i], 2 * sizeof(float));
    }
  }
}

// x [N, C, 2 down + 2, 2 across + 2], weights [C, 9], bias [C] to [N, C, 2 down, 2 across].
Floats winograd_depthwise(const Floats& x, const Floats& weights, const Floats& bias) {
  check(x.ndim() == 4 && x.shape(2) >= 2 && x.shape(3) >= 2 && x.shape(2) % 2 == 0 && x.shape(3) % 2 == 0);
  check(weights.size() == 9 * x.shape(1) && bias.size() == x.shape(1));
  const int64_t channels = x.shape(1), down = x.shape(2) / 2 - 1, across = x.shape(3) / 2 - 1;
  Floats y(std::vector<py::ssize_t>{x.shape(0), x.shape(1), 2 * down, 2 * across});
  const float *from = x.data(), *w = weights.data(), *b = bias.data();
  float* to = y.mutable_data();
  const int64_t planes = x.shape(0) * channels, size = x.shape(2) * x.shape(3);
  const py::gil_scoped_release release;
  for (int64_t i = 0; i < planes; i++)
    winograd_channel(from + i * size, w + 9 * (i % channels), b[i % channels], down, across,
                     to + i * 4 * down * across);
  return y;
}

}  // namespace

void define(py::module_& module) {
  module.def("ordered_sums", &ordered_sums);
  module.def("winograd_depthwise", &winograd_depthwise);
}

}  // namespace ordered
