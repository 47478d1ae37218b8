// The kernels as templates over a vector type V. Each instruction set's file defines its V and instantiates
// them, within a region whose target attribute allows its instructions; everything stays in an unnamed
// namespace, so that no function compiled for one instruction set is linked into another's.
//
// V offers: kLayout and rows_of(width) (shape of a convolution's tile), types and functions
//     Sums load_sums(const int32_t*)                  one for each lane
//     Inputs broadcast(const Input*)                  the same kLayout.depth elements for all lanes
//     Inputs load_inputs(const Column*)               kLayout.row_group elements for each lane
//     Weights load_weights(const int8_t*)             as many for each lane
//     Sums dot(Sums, Inputs, Weights)                 per lane: sum + the products
//     Lanes lanes_of(Sums)                            as int32 lanes
//     Lanes add(Lanes, int32_t)
//     Requantize<Rounding>(const Requantization&)(Lanes, Lanes, Lanes, Lanes)   Bytes, in order
//     store_all(Bytes, uint8_t*), store<i>(Bytes, uint8_t*, count) all, or `count` of the bytes of the i-th
//     store_half<i>(Bytes, uint8_t*)                  bytes of two vectors; where V has it
//     void interleave(const uint8_t* const rows[row_group], Column*)   a vector's bytes of each row
//     Column column_of(uint8_t)                       a byte of a column
//     int32_t sum(const uint8_t*, tap_offset, depth)  of all bytes of all taps
//     kPrepares: whether a convolution's rows are first copied, as Input: prepare(const uint8_t*, count, Input*)
//     may write kOvershoot elements more than count
//     kMultiplies, and if so multiply<rows, width>(...) as multiply_dots does
//     kAddsVectors, and if so Adder(const Addition&)(const uint8_t* a, const uint8_t* b, uint8_t* y): 4 vectors
//     of bytes
// Inputs of a convolution are read as Input, columns of a depthwise one as Column: uint8_t, or what a V makes of
// bytes (less kLayout.x_offset).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>

#include "int8.h"

namespace int8 {
namespace {

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ----------------------------------------------------------------------------------------- convolution

// Requantizes kRows x kWidth vectors of accumulators and stores `rows` of them, `channels` bytes each.
template <class V, int kRows, int kWidth, Rounding kForm>
INLINE_FUNCTION void store_rounded(const typename V::Lanes (&lanes)[kRows][kWidth], const Requantization& r,
                                 uint8_t* y, int64_t y_pixel, int rows, int channels) {
  const typename V::template Requantize<kForm> requantize(r);
  constexpr int kVectors = kRows * kWidth;
  auto vector = [&](int i) INLINE {
    const int at = std::min(i, kVectors - 1);
    return lanes[at / kWidth][at % kWidth];
  };
  UNROLL
  for (int i = 0; i < kVectors; i += 4) {
    const auto bytes = requantize(vector(i), vector(i + 1), vector(i + 2), vector(i + 3));
    if constexpr (kWidth == 2 && requires { &V::template store_half<0>; }) {
      if (channels == 2 * V::kLayout.lanes) {
        if (i / 2 < rows) V::template store_half<0>(bytes, y + (i / 2) * y_pixel);
        if (i / 2 + 1 < rows) V::template store_half<1>(bytes, y + (i / 2 + 1) * y_pixel);
        continue;
      }
    }
    if (kWidth == 4 && channels == 4 * V::kLayout.lanes) {
      if (i / 4 < rows) V::store_all(bytes, y + (i / 4) * y_pixel);
      continue;
    }
    auto store = [&](auto part) INLINE {
      constexpr int kLanes = V::kLayout.lanes;
      const int row = (i + part.value) / kWidth, first = (i + part.value) % kWidth * kLanes;
      if (row < rows && first < channels)
        V::template store<part.value>(bytes, y + row * y_pixel + first, std::min(kLanes, channels - first));
    };
    store(std::integral_constant<int, 0>());
    store(std::integral_constant<int, 1>());
    store(std::integral_constant<int, 2>());
    store(std::integral_constant<int, 3>());
  }
}

// The rare form, out of line: what it costs to pass `lanes` through memory, the others' registers need not
// pay.
template <class V, int kRows, int kWidth>
NOINLINE void store_exact(const typename V::Lanes (&lanes)[kRows][kWidth],
                                           const Requantization& r, uint8_t* y, int64_t y_pixel, int rows,
                                           int channels) {
  store_rounded<V, kRows, kWidth, Rounding::kExact>(lanes, r, y, y_pixel, rows, channels);
}

template <class V, int kRows, int kWidth>
INLINE_FUNCTION void store_tile(const typename V::Lanes (&lanes)[kRows][kWidth], const Requantization& r,
                              uint8_t* y, int64_t y_pixel, int rows, int channels) {
  if (r.form == Rounding::kFloatRelu)
    store_rounded<V, kRows, kWidth, Rounding::kFloatRelu>(lanes, r, y, y_pixel, rows, channels);
  else if (r.form == Rounding::kFloat)
    store_rounded<V, kRows, kWidth, Rounding::kFloat>(lanes, r, y, y_pixel, rows, channels);
  else {
    typename V::Lanes copy[kRows][kWidth];  // lanes itself stays in registers
    UNROLL
    for (int i = 0; i < kRows; i++) {
      UNROLL
      for (int j = 0; j < kWidth; j++) copy[i][j] = lanes[i][j];
    }
    store_exact<V, kRows, kWidth>(copy, r, y, y_pixel, rows, channels);
  }
}

// Of each row, runs of `depth` neighbouring elements at these offsets.
struct Runs {
  std::span<const int64_t> offsets;
  int64_t depth;
};

// kRows output pixels by kWidth blocks of channels; inputs[i] is where row i's input begins.
template <class V, int kRows, int kWidth>
INLINE_FUNCTION void multiply_dots(const Runs& runs, const typename V::Input* const* inputs,
                                   const int32_t* bias, const int8_t* weights,
                                   typename V::Lanes (&lanes)[kRows][kWidth]) {
  constexpr Layout kLayout = V::kLayout;
  typename V::Sums sums[kRows][kWidth];
  UNROLL
  for (int i = 0; i < kRows; i++) {
    UNROLL
    for (int j = 0; j < kWidth; j++) sums[i][j] = V::load_sums(bias + j * kLayout.lanes);
  }
  for (const int64_t offset : runs.offsets) {
    for (int64_t k = 0; k < runs.depth; k += kLayout.depth) {
      typename V::Weights w[kWidth];
      UNROLL
      for (int j = 0; j < kWidth; j++) w[j] = V::load_weights(weights + j * kLayout.lanes * kLayout.depth);
      weights += kWidth * kLayout.lanes * kLayout.depth;
      UNROLL
      for (int i = 0; i < kRows; i++) {
        const auto x = V::broadcast(inputs[i] + offset + k);
        UNROLL
        for (int j = 0; j < kWidth; j++) sums[i][j] = V::dot(sums[i][j], x, w[j]);
      }
    }
  }
  UNROLL
  for (int i = 0; i < kRows; i++) {
    UNROLL
    for (int j = 0; j < kWidth; j++) lanes[i][j] = V::lanes_of(sums[i][j]);
  }
}

template <class V, int kRows, int kWidth>
void convolve_tile(const Convolution& c, const Convolution::Tile& tile, const Runs& runs,
                   const typename V::Input* const* inputs, const int32_t* row_terms, uint8_t* y, int rows) {
  const int32_t* bias = c.bias.data() + tile.bias;
  const int8_t* weights = c.weights.data() + tile.weights;
  typename V::Lanes lanes[kRows][kWidth];
  if constexpr (V::kMultiplies)
    V::template multiply<kRows, kWidth>(runs, inputs, bias, weights, tile.has_lowest, lanes);
  else multiply_dots<V, kRows, kWidth>(runs, inputs, bias, weights, lanes);

  if (row_terms != nullptr) {
    UNROLL
    for (int i = 0; i < kRows; i++) {
      UNROLL
      for (int j = 0; j < kWidth; j++) lanes[i][j] = V::add(lanes[i][j], row_terms[i]);
    }
  }
  store_tile<V, kRows, kWidth>(lanes, c.requantization, y, c.y_pixel, rows, tile.channels);
}

constexpr int kMaxPanel = 96;      // rows of a panel
constexpr int kMaxRows = 24;       // of a tile: a panel's multiple
constexpr int64_t kOvershoot = 32;  // elements

// All rows of a panel by one tile of channels.
template <class V, int kRows, int kWidth>
void convolve_panel(const Convolution& c, const Convolution::Tile& tile, const Runs& runs,
                    const typename V::Input* const* inputs, const int32_t* row_terms, uint8_t* y, int rows) {
  for (int row = 0; row < rows; row += kRows) {
    if (row + kRows > rows && rows >= kRows) row = rows - kRows;  // the last tile overlaps the one before
    convolve_tile<V, kRows, kWidth>(c, tile, runs, inputs + row, row_terms != nullptr ? row_terms + row : nullptr,
                                    y + row * c.y_pixel, std::min(rows - row, kRows));
  }
}

// A tile's rows are the most that registers hold, or one less where that leaves fewer rows to compute twice.
template <class V, int kWidth>
void convolve_width(const Convolution& c, const Convolution::Tile& tile, const Runs& runs,
                    const typename V::Input* const* inputs, const int32_t* row_terms, uint8_t* y, int rows) {
  if constexpr (kWidth <= V::kLayout.max_tile_width) {
    constexpr int kMost = V::rows_of(kWidth);
    static_assert(kMost <= V::rows_of(1) && V::rows_of(1) <= kMaxRows);
    auto computed = [rows](int at_once) { return divide_up(rows, at_once) * at_once; };
    if (rows == 1) convolve_panel<V, 1, kWidth>(c, tile, runs, inputs, row_terms, y, rows);
    else if (computed(kMost) <= computed(kMost - 1))
      convolve_panel<V, kMost, kWidth>(c, tile, runs, inputs, row_terms, y, rows);
    else convolve_panel<V, kMost - 1, kWidth>(c, tile, runs, inputs, row_terms, y, rows);
  }
}

// Rows go in panels whose input stays in the first-level cache while all tiles of weights pass over it.
inline int64_t panel_rows(const Convolution& c) {
  constexpr int64_t kPanelBytes = 16 << 10;
  const int64_t row_bytes = c.depth * static_cast<int64_t>(c.tap_offset.size());
  return std::clamp<int64_t>(kPanelBytes / row_bytes / kMaxRows * kMaxRows, kMaxRows, kMaxPanel);
}

// Elements of a prepared row: all runs, each in whole groups.
template <class V>
int64_t prepared_pitch(const Convolution& c) {
  return divide_up(c.depth, V::kLayout.depth) * V::kLayout.depth * static_cast<int64_t>(c.tap_offset.size());
}

template <class V>
int64_t convolution_scratch(const Convolution& c) {
  if (!V::kPrepares) return 0;
  return (panel_rows(c) * prepared_pitch<V>(c) + kOvershoot) * static_cast<int64_t>(sizeof(typename V::Input));
}

template <class V>
void convolution(const Convolution& c, const uint8_t* x, uint8_t* y, Range rows, Range tiles,
                 uint8_t* scratch) {
  using Input = typename V::Input;
  const int64_t panels = divide_up(rows.end - rows.begin, panel_rows(c));
  const uint8_t* sources[kMaxPanel + kMaxRows];
  const Input* prepared[V::kPrepares ? kMaxPanel + kMaxRows : 1];
  int32_t terms[kMaxPanel + kMaxRows];

  const int64_t pitch = prepared_pitch<V>(c), no_offset = 0;
  Runs runs{c.tap_offset, c.depth};
  if constexpr (V::kPrepares) runs = {{&no_offset, 1}, pitch};

  for (int64_t panel = 0; panel < panels; panel++) {
    const int64_t begin = rows.begin + (rows.end - rows.begin) * panel / panels;
    const int64_t end = rows.begin + (rows.end - rows.begin) * (panel + 1) / panels;
    const int count = static_cast<int>(end - begin);
    const int whole = std::max(count, V::rows_of(1));  // a short panel's tile reads whole rows
    int64_t column = begin % c.out_w, row = begin / c.out_w % c.out_h, image = begin / c.out_w / c.out_h;
    for (int i = 0; i < count; i++) {
      sources[i] = x + image * c.x_image + row * c.x_row + column * c.x_column;
      if (++column == c.out_w) {
        column = 0;
        if (++row == c.out_h) row = 0, image++;
      }
    }
    for (int i = count; i < whole; i++) sources[i] = sources[count - 1];

    int64_t x_offset = 0, current = -1;  // the group that sources, and what is made of them, belong to
    for (int64_t t = tiles.begin; t < tiles.end; t++) {
      const auto& tile = c.tiles[t];
      for (int i = 0; i < whole; i++) sources[i] += tile.x_offset - x_offset;
      x_offset = tile.x_offset;
      if (current != x_offset) {
        current = x_offset;
        if (c.row_factor != 0) {
          for (int i = 0; i < count; i++) terms[i] = V::sum(sources[i], c.tap_offset, c.depth) * c.row_factor;
          std::fill(terms + count, terms + whole, 0);
        }
        if constexpr (V::kPrepares) {
          Input* to = reinterpret_cast<Input*>(scratch);
          for (int i = 0; i < count; i++) {
            prepared[i] = to;
            for (const int64_t offset : c.tap_offset) {
              V::prepare(sources[i] + offset, c.depth, to);
              to += pitch / static_cast<int64_t>(c.tap_offset.size());
            }
          }
          std::fill(prepared + count, prepared + whole, prepared[count - 1]);
        }
      }
      const Input* const* inputs;
      if constexpr (V::kPrepares) inputs = prepared;
      else inputs = sources;
      const int32_t* row_terms = c.row_factor != 0 ? terms : nullptr;
      uint8_t* out = y + begin * c.y_pixel + tile.y_offset;
      switch (tile.width) {
        case 1:
          convolve_width<V, 1>(c, tile, runs, inputs, row_terms, out, count);
          break;
        case 2:
          convolve_width<V, 2>(c, tile, runs, inputs, row_terms, out, count);
          break;
        case 3:
          convolve_width<V, 3>(c, tile, runs, inputs, row_terms, out, count);
          break;
        case 4:
          convolve_width<V, 4>(c, tile, runs, inputs, row_terms, out, count);
          break;
      }
    }
  }
}

// ------------------------------------------------------------------------------------------- depthwise

// The columns of a depthwise convolution's input: padding, the image's, padding.
struct Columns {
  int64_t left, inside, right;

  explicit Columns(const Depthwise& d)
      : left(std::min(d.window.pad_left, d.columns())),
        inside(std::min(d.window.in_w, d.columns() - left)),
        right(d.columns() - left - inside) {}
};

// Writes the padding columns of a whole band, which interleave_rows leaves as they are.
template <class V>
void pad_columns(const Depthwise& d, typename V::Column* columns) {
  constexpr int64_t kVector = V::kLayout.lanes * V::kLayout.row_group;
  const auto padding = V::column_of(d.padding[0]);
  const Columns c(d);
  for (int64_t group = d.row_groups(d.band); group > 0; group--) {
    std::fill_n(columns, c.left * kVector, padding);
    columns += (c.left + c.inside) * kVector;
    std::fill_n(columns, c.right * kVector, padding);
    columns += c.right * kVector;
  }
}

// Interleaves `rows` input rows, from first_row on, of one block of channels; see Depthwise.
template <class V>
void interleave_rows(const Depthwise& d, const uint8_t* image, int64_t first_row, int64_t rows, int64_t block,
                     typename V::Column* columns) {
  constexpr int64_t kGroup = V::kLayout.row_group, kVector = V::kLayout.lanes * kGroup;
  const Window& window = d.window;
  const int64_t channel = block * V::kLayout.lanes;
  const Columns c(d);
  for (int64_t group = 0; group * kGroup < rows; group++) {
    const uint8_t* sources[kGroup];
    int64_t pitch[kGroup];
    for (int i = 0; i < kGroup; i++) {
      const int64_t row = first_row + std::min(group * kGroup + i, rows - 1) * window.dilation_h;
      const bool is_padding = row < 0 || row >= window.in_h;
      sources[i] = (is_padding ? d.padding.data() : image + row * window.in_w * d.channels) + channel;
      pitch[i] = is_padding ? 0 : d.channels;
    }
    columns += c.left * kVector;
    for (int64_t column = 0; column < c.inside; column++, columns += kVector) {
      V::interleave(sources, columns);
      for (int i = 0; i < kGroup; i++) {
        PREFETCH(sources[i] + 64);  // what the next blocks read: no processor foresees so long a stride
        sources[i] += pitch[i];
      }
    }
    columns += c.right * kVector;
  }
}

// kPixels neighbouring output pixels of one block; columns is where the first one's window begins.
template <class V, int kPixels, int kPlanes>
INLINE_FUNCTION void depthwise_pixels(const Depthwise& d, const Depthwise::Phase& phase, const int8_t* weights,
                                    const int32_t* bias, const typename V::Column* columns, uint8_t* y,
                                      int channels) {
  constexpr int64_t kVector = V::kLayout.lanes * V::kLayout.row_group;
  const int64_t pixel = d.window.stride_w * kVector;
  typename V::Sums sums[kPixels];
  UNROLL
  for (int i = 0; i < kPixels; i++) sums[i] = V::load_sums(bias);
  for (const int64_t offset : phase.tap_offset) {
    typename V::Weights w[kPlanes];
    UNROLL
    for (int plane = 0; plane < kPlanes; plane++) w[plane] = V::load_weights(weights + plane * kVector);
    weights += kPlanes * kVector;
    UNROLL
    for (int i = 0; i < kPixels; i++) {
      const auto x = V::load_inputs(columns + offset + i * pixel);
      UNROLL
      for (int plane = 0; plane < kPlanes; plane++) sums[i] = V::dot(sums[i], x, w[plane]);
    }
  }
  typename V::Lanes lanes[kPixels][1];
  UNROLL
  for (int i = 0; i < kPixels; i++) lanes[i][0] = V::lanes_of(sums[i]);
  store_tile<V, kPixels, 1>(lanes, d.requantization, y, d.channels, kPixels, channels);
}

template <class V, int kPixels, int kPlanes>
void depthwise_row(const Depthwise& d, const Depthwise::Phase& phase, const typename V::Column* columns,
                   int64_t block, uint8_t* y) {
  constexpr int64_t kVector = V::kLayout.lanes * V::kLayout.row_group;
  const int channels = static_cast<int>(std::min<int64_t>(V::kLayout.lanes, d.channels - block * V::kLayout.lanes));
  const int8_t* weights = d.weights.data() + d.blocks[block].weights + phase.first_tap * kPlanes * kVector;
  const int32_t* bias = d.bias.data() + block * V::kLayout.lanes;
  for (int64_t i = 0; i < d.window.out_w; i += kPixels) {
    i = std::min(i, d.window.out_w - kPixels);  // the last ones overlap those before
    depthwise_pixels<V, kPixels, kPlanes>(d, phase, weights, bias, columns + i * d.window.stride_w * kVector,
                                          y + i * d.channels + block * V::kLayout.lanes, channels);
  }
}

// Pixels of a row that are computed together: what the row takes least time with, where each call costs about as much
// as three pixels do, and the last one's pixels overlap those before.
inline int pixels_at_once(int64_t width) {
  auto cost = [width](int64_t pixels) { return divide_up(width, pixels) * (pixels + 3); };
  int best = 1;
  for (const int pixels : {3, 4, 6, 8})
    if (pixels <= width && cost(pixels) <= cost(best)) best = pixels;
  return best;
}

template <class V>
int64_t depthwise_scratch(const Depthwise& d) {
  return d.column_elements(V::kLayout.lanes) * static_cast<int64_t>(sizeof(typename V::Column));
}

template <class V>
void depthwise(const Depthwise& d, const uint8_t* x, uint8_t* y, Range rows, Range blocks, uint8_t* scratch) {
  constexpr int64_t kGroup = V::kLayout.row_group;
  const Window& window = d.window;
  auto* columns = reinterpret_cast<typename V::Column*>(scratch);
  const int64_t group_elements = d.columns() * V::kLayout.lanes * kGroup;
  pad_columns<V>(d, columns);
  for (int64_t row = rows.begin; row < rows.end;) {
    const int64_t in_image = row % window.out_h;
    const int64_t band = std::min({d.band, rows.end - row, window.out_h - in_image});
    const uint8_t* image = x + row / window.out_h * window.in_h * window.in_w * d.channels;
    const int64_t first_row = in_image * window.stride_h - window.pad_top;
    for (int64_t block = blocks.begin; block < blocks.end; block++) {
      interleave_rows<V>(d, image, first_row, d.input_rows(band), block, columns);
      for (int64_t i = 0; i < band; i++) {
        const int64_t first = i * window.stride_h;
        const Depthwise::Phase& phase = d.phases[first % kGroup];
        const auto* from = columns + first / kGroup * group_elements;
        uint8_t* to = y + (row + i) * window.out_w * d.channels;
        auto row_of = [&](auto pixels) {
          switch (d.blocks[block].planes) {
            case 1:
              depthwise_row<V, pixels.value, 1>(d, phase, from, block, to);
              break;
            case 2:
              depthwise_row<V, pixels.value, 2>(d, phase, from, block, to);
              break;
            case 3:
              depthwise_row<V, 1, 3>(d, phase, from, block, to);
              break;
          }
        };
        switch (pixels_at_once(window.out_w)) {
          case 8:
            row_of(std::integral_constant<int, 8>());
            break;
          case 6:
            row_of(std::integral_constant<int, 6>());
            break;
          case 4:
            row_of(std::integral_constant<int, 4>());
            break;
          case 3:
            row_of(std::integral_constant<int, 3>());
            break;
          default:
            row_of(std::integral_constant<int, 1>());
        }
      }
    }
    row += band;
  }
}

// ------------------------------------------------------- elementwise and pooling: mostly plain loops

// Parameters are taken by value here: a store through uint8_t* might change anything that is behind a
// reference.

void add_elements(const Addition p, const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t count) {
  const int32_t lowest = p.lowest - p.zero_point, highest = 255 - p.zero_point;
  for (int64_t i = 0; i < count; i++) {
    const int32_t acc = p.a_multiplier * a[i] + p.b_multiplier * b[i] + p.bias;
    const int32_t n =
        (((acc + (acc >> 31)) >> (p.shift - 1)) + 1) >> 1;  // acc / 2^shift, ties away from zero
    y[i] = static_cast<uint8_t>(std::min(std::max(n, lowest), highest) + p.zero_point);
  }
}

template <class V>
void add(const Addition& p, const uint8_t* a, const uint8_t* b, uint8_t* y, Range elements) {
  int64_t i = elements.begin;
  if constexpr (V::kAddsVectors) {
    const typename V::Adder adder(p);
    for (; i + 4 * V::kLayout.lanes <= elements.end; i += 4 * V::kLayout.lanes) adder(a + i, b + i, y + i);
  }
  add_elements(p, a + i, b + i, y + i, elements.end - i);
}

void pool(const Pooling& parameters, const uint8_t* x, uint8_t* y, Range rows, int32_t* sums) {
  const Pooling p = parameters;
  const int64_t channels = p.channels;
  const int64_t rounding = p.mean ? int64_t{1} << (p.shift - 1) : 0;
  for (int64_t row = rows.begin; row < rows.end; row++) {
    const uint8_t* image = x + row / p.window.out_h * p.window.in_h * p.window.in_w * channels;
    for (int64_t column = 0; column < p.window.out_w; column++) {
      const int64_t top = row % p.window.out_h * p.window.stride_h - p.window.pad_top,
                    left = column * p.window.stride_w - p.window.pad_left;
      int32_t pixels = 0;
      std::fill(sums, sums + channels, 0);
      for (int64_t i = 0; i < p.window.kernel_h; i++)
        for (int64_t j = 0; j < p.window.kernel_w; j++) {
          const int64_t at_row = top + i * p.window.dilation_h, at_column = left + j * p.window.dilation_w;
          if (at_row < 0 || at_row >= p.window.in_h || at_column < 0 || at_column >= p.window.in_w) continue;
          const uint8_t* pixel = image + (at_row * p.window.in_w + at_column) * channels;
          pixels++;
          if (p.mean)
            for (int64_t c = 0; c < channels; c++) sums[c] += pixel[c];
          else
            for (int64_t c = 0; c < channels; c++) sums[c] = std::max<int32_t>(sums[c], pixel[c]);
        }
      uint8_t* out = y + (row * p.window.out_w + column) * channels;
      for (int64_t c = 0; c < channels; c++) {
        int64_t n = sums[c];
        if (p.mean) {
          const int64_t acc = n - pixels * p.x_zero_point;
          n = ((acc * p.multiplier + (acc >> 63) + rounding) >> p.shift) + p.zero_point;
        }
        out[c] = static_cast<uint8_t>(std::clamp<int64_t>(n, p.lowest, 255));
      }
    }
  }
}

void pool_floats(const FloatPooling& parameters, const float* table, const uint8_t* x, float* y, int64_t row,
                 Range range) {
  const FloatPooling p = parameters;
  const Window& w = p.window;
  const int64_t count = range.end - range.begin;
  const uint8_t* image = x + row / w.out_h * w.in_h * w.in_w * p.channels + range.begin;
  const int64_t top = row % w.out_h * w.stride_h - w.pad_top;
  const int64_t first_row = std::max<int64_t>(top, 0), last_row = std::min(top + w.kernel_h, w.in_h);
  for (int64_t column = 0; column < w.out_w; column++) {
    const int64_t left = column * w.stride_w - w.pad_left;
    const int64_t first = std::max<int64_t>(left, 0), last = std::min(left + w.kernel_w, w.in_w);
    float* RESTRICT sums = y + (row * w.out_w + column) * p.channels + range.begin;
    std::fill(sums, sums + count, 0.0f);
    for (int64_t i = first_row; i < last_row; i++)
      for (int64_t j = first; j < last; j++) {
        const uint8_t* pixel = image + (i * w.in_w + j) * p.channels;
        for (int64_t c = 0; c < count; c++) sums[c] += table[pixel[c]];
      }
    const int64_t pixels = p.counts_padding ? w.kernel_h * w.kernel_w : (last_row - first_row) * (last - first);
    const float factor = 1.0f / static_cast<float>(pixels);
    for (int64_t c = 0; c < count; c++) sums[c] *= factor;
  }
}

void quantize(const Quantization& quantization, const float* x, uint8_t* y, int64_t count) {
  const Quantization q = quantization;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, ties to even
  const float low = static_cast<float>(-q.zero_point), high = static_cast<float>(255 - q.zero_point);
  for (int64_t i = 0; i < count; i++) {
    float steps = x[i] / q.scale;
    steps = steps < 0x1p31f ? steps
                            : low;  // what is no number, or too large, too: see caffe2_models.int8.quantize
    steps = std::min(std::max(steps, low), high);
    y[i] = static_cast<uint8_t>(static_cast<int32_t>((steps + kRound) - kRound) + q.zero_point);
  }
}

// float32 planes, `pitch` elements apart, to neighbouring bytes; scratch holds channels * count bytes.
void quantize_planes(const Quantization& q, const float* x, int64_t pitch, int64_t channels, uint8_t* y,
                     int64_t count, uint8_t* scratch) {
  for (int64_t c = 0; c < channels; c++) quantize(q, x + c * pitch, scratch + c * count, count);
  if (channels == 3) {  // an image: compilers make shuffles of this
    const uint8_t* RESTRICT first = scratch;
    const uint8_t* RESTRICT second = scratch + count;
    const uint8_t* RESTRICT third = second + count;
    uint8_t* RESTRICT out = y;
    for (int64_t i = 0; i < count; i++) {
      out[3 * i] = first[i];
      out[3 * i + 1] = second[i];
      out[3 * i + 2] = third[i];
    }
    return;
  }
  for (int64_t c = 0; c < channels; c++)
    for (int64_t i = 0; i < count; i++) y[i * channels + c] = scratch[c * count + i];
}

void dequantize(const Quantization& quantization, const uint8_t* x, float* y, int64_t count) {
  const Quantization q = quantization;
  for (int64_t i = 0; i < count; i++) y[i] = q.scale * static_cast<float>(x[i] - q.zero_point);
}

void look_up(const uint8_t* table, const uint8_t* x, uint8_t* y, int64_t count) {
  for (int64_t i = 0; i < count; i++) y[i] = table[x[i]];
}

template <class V>
constexpr Kernels make_kernels(const char* name, bool (*supported)()) {
  return {
      .name = name,
      .layout = V::kLayout,
      .supported = supported,
      .rows_of = V::rows_of,
      .convolution_scratch = convolution_scratch<V>,
      .convolution = convolution<V>,
      .depthwise_scratch = depthwise_scratch<V>,
      .depthwise = depthwise<V>,
      .add = add<V>,
      .pool = pool,
      .pool_floats = pool_floats,
      .quantize = quantize,
      .quantize_planes = quantize_planes,
      .dequantize = dequantize,
      .look_up = look_up,
  };
}

}  // namespace
}  // namespace int8
