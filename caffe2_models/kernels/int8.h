// Int8 kernels: what they compute and how their operands lie in memory.
//
// Activations are uint8, NHWC: one pixel's channels are neighbours. Everything here is exact: equal to
// Caffe2's int8 operators on QNNPACK to the last bit. caffe2_models/int8.py is the definition, this is its
// fast form.
//
// The pieces: a plan (Convolution, Depthwise, ...) holds what is known when a net is loaded, weights packed
// in the order in which a kernel reads them. A kernel (Kernels) computes a part of a plan's output, so that
// threads can share it. There is one set of kernels per instruction set, compiled from the same templates
// (kernels.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "compiler.h"

namespace int8 {

// Bytes that may be read, not used, past the end of an activation: kernels load whole vectors.
constexpr int64_t kSlack = 64;

// Memory whose vectors never straddle two cache lines.
template <class T>
struct Aligned {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};
  Aligned() = default;
  template <class U>
  Aligned(const Aligned<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kAlignment)); }
  void deallocate(T* memory, size_t) { ::operator delete(memory, kAlignment); }
  bool operator==(const Aligned&) const { return true; }
};
template <class T>
using AlignedVector = std::vector<T, Aligned<T>>;

// How the operands of a set of kernels lie in memory.
struct Layout {
  int lanes;           // int32 lanes of a vector: output channels of a block
  int max_tile_width;  // blocks of a convolution's tile
  int depth;           // input channels of a convolution that lie side by side for each lane
  int row_group;       // input rows of a depthwise convolution that are interleaved, at most kMaxRowGroup
  int32_t x_offset;    // kernels multiply by x - x_offset: 128 where the instructions want signed bytes
};
constexpr int kMaxRowGroup = 4;

// Half-open range of rows, tiles or blocks.
struct Range {
  int64_t begin, end;
};

// How a kernel rounds. kExact always holds; the others where fit_float proved them equal.
enum class Rounding { kExact, kFloat, kFloatRelu };

// From an int32 accumulator to an output byte: y = clip(n + zero_point, lowest, 255), n near acc * scale.
//
// QNNPACK rounds twice: q = floor((acc * m + 2^23) / 2^24), m the 24 mantissa bits of the scale, then
// n = q / 2^s to the nearest, ties away from zero. As floor(floor(a / b) / c) = floor(a / (b * c)), both
// collapse into
//     kExact:      n = (acc * m + (acc < 0 ? rounding_negative : rounding)) >> shift,   shift = 24 + s
// which takes 64 bits. Where they give the same bytes, kernels use a faster form in float32,
//     kFloat:      n = trunc(fma(acc, scale, copysign(offset, acc)))
//     kFloatRelu:  n + zero_point = trunc(fma(acc, scale, offset))     for lowest >= zero_point: no n below 0
//     counts
// All grow with acc, so they are equal everywhere when they are equal around the (at most 255) accumulators
// at which the output steps up.
struct Requantization {
  Rounding form;
  int32_t multiplier;
  int32_t shift;
  int64_t rounding;
  int64_t rounding_negative;
  float scale;
  float offset;
  int32_t zero_point;
  int32_t lowest;
};

// The form is the fastest that holds. Throws std::invalid_argument for a scale outside [2^-32, 1).
Requantization make_requantization(float scale, int32_t zero_point, int32_t lowest);

// The definition, one accumulator at a time.
uint8_t requantize(int32_t acc, const Requantization& r);

// A convolution (pointwise, grouped, any kernel) or a fully connected layer as a matrix product.
//
// Rows are output pixels, columns output channels. A row's input is `taps` runs of `depth` neighbouring
// bytes: tap t of the output pixel at (image, i, j) begins at x + image * x_image + i * x_row + j * x_column
// + tap_offset[t]. There is no padding here: the caller lays out a padded input first (pad_image).
//
// Columns are split into blocks of one vector of int32 lanes, blocks into tiles of `width` blocks that one
// inner loop computes together. Weights of a tile: [tap][depth / D][width][lane][D], D = Layout::depth, int8, w
// - weight_offset; zero beyond the edges. Where w - weight_zero_point does not fit into int8, weight_offset is
// 128 and `row_factor` times the sum of a row's input makes good the difference. bias holds all constants, as
// for x - x_offset: bias - x_zero_point * sum(w - weight_zero_point) + x_offset * sum(w - weight_offset).
struct Convolution {
  struct Tile {
    int64_t x_offset;  // of its group's input channels
    int64_t y_offset;  // of its first output channel
    int64_t weights;   // offset into weights
    int64_t bias;      // offset into bias
    int32_t width;     // blocks
    int32_t channels;  // valid output channels, at most width * lanes
    bool has_lowest;   // whether a weight is -128: two products of bytes may then leave int16
  };
  int64_t out_h, out_w;
  int64_t x_image, x_row, x_column;
  int64_t y_pixel;
  int64_t depth;
  std::vector<int64_t> tap_offset;
  std::vector<Tile> tiles;
  AlignedVector<int8_t> weights;
  AlignedVector<int32_t> bias;
  int32_t row_factor;
  Requantization requantization;
};

// A window that slides over the rows and columns of images. Pads at the far end follow from the output's
// size.
struct Window {
  int64_t images, in_h, in_w, out_h, out_w;
  int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;

  // Of the padded input: all that the window touches.
  int64_t rows() const { return (out_h - 1) * stride_h + (kernel_h - 1) * dilation_h + 1; }
  int64_t columns() const { return (out_w - 1) * stride_w + (kernel_w - 1) * dilation_w + 1; }
};

// A depthwise convolution: as many filters as channels, each on its own channel.
//
// For a band of output rows and a block of channels the kernel first interleaves the band's input rows by
// groups of R = Layout::row_group,
//     columns[row / R][column][lane][row % R]        (a padding column or row holds x_zero_point)
// so that each column of a filter's window takes one dot product per group of rows that it touches. Where
// an output row's window begins within its first group is its phase, 0 to R - 1; weights for each phase are
// shifted down by as much: [phase][row group][kernel_w][plane][lane][R], zero outside the kernel. A block
// whose weights do not all fit into int8 has two planes, of which the weights are the sums; or three for one
// of 255. Elements of columns are what the kernels compute with: bytes, or 16 bits.
struct Depthwise {
  struct Phase {
    int64_t first_tap;                // of those of all phases
    std::vector<int64_t> tap_offset;  // of each tap's input, from where a window's first group begins
  };
  struct Block {
    int64_t weights;  // offset
    int32_t planes;
  };
  Window window;
  int64_t channels;
  int64_t band;  // output rows
  int64_t row_group;
  Phase phases[kMaxRowGroup];
  std::vector<Block> blocks;
  AlignedVector<uint8_t> padding;  // one pixel of x_zero_point, with slack
  AlignedVector<int8_t> weights;
  AlignedVector<int32_t> bias;
  Requantization requantization;

  int64_t columns() const { return window.columns(); }
  // Input rows of so many output rows. Kernels with gaps between their rows are interleaved without the gaps,
  // for one output row at a time.
  int64_t input_rows(int64_t rows) const { return (rows - 1) * window.stride_h + window.kernel_h; }
  int64_t row_groups(int64_t rows) const { return (input_rows(rows) + row_group - 1) / row_group; }
  int64_t column_elements(int lanes) const { return row_groups(band) * columns() * lanes * row_group; }
};

// Sum of two tensors, requantized: see caffe2_models.int8.add.
struct Addition {
  int32_t a_multiplier, b_multiplier;
  int32_t shift;  // 1 to 32
  int32_t bias;   // - a_multiplier * a_zero_point - b_multiplier * b_zero_point
  int32_t zero_point, lowest;
};

// Mean or maximum over a window; padding counts as zero in a mean and never wins a maximum.
struct Pooling {
  bool mean;
  Window window;
  int64_t channels;
  int32_t x_zero_point;
  int32_t multiplier, shift;  // of a mean: see caffe2_models.int8.average
  int32_t zero_point, lowest;
};

// Mean over a window of a function of bytes, in float32: the sum of its pixels one after the other, by rows, times one
// over their number; or over the window's area, where padding counts as zero.
struct FloatPooling {
  Window window;
  int64_t channels;
  bool counts_padding;
};

struct Quantization {
  float scale;
  int32_t zero_point;
};

// The kernels of one instruction set. Ranges are parts of the output.
struct Kernels {
  const char* name;
  Layout layout;
  bool (*supported)();
  int (*rows_of)(int width);  // rows of a convolution's tile

  int64_t (*convolution_scratch)(const Convolution&);  // bytes
  void (*convolution)(const Convolution&, const uint8_t* x, uint8_t* y, Range rows, Range tiles,
                      uint8_t* scratch);
  // rows are images * out_h.
  int64_t (*depthwise_scratch)(const Depthwise&);  // bytes
  void (*depthwise)(const Depthwise&, const uint8_t* x, uint8_t* y, Range rows, Range blocks,
                    uint8_t* scratch);
  void (*add)(const Addition&, const uint8_t* a, const uint8_t* b, uint8_t* y, Range elements);
  // rows are images * out_h; sums is scratch of `channels` int32.
  void (*pool)(const Pooling&, const uint8_t* x, uint8_t* y, Range rows, int32_t* sums);
  // y[..., c] of the channels in the range, for one row of the output; table: float32 of each byte.
  void (*pool_floats)(const FloatPooling&, const float* table, const uint8_t* x, float* y, int64_t row, Range channels);
  void (*quantize)(const Quantization&, const float* x, uint8_t* y, int64_t count);
  // From planes, `pitch` elements apart, to neighbouring bytes; scratch of channels * count bytes.
  void (*quantize_planes)(const Quantization&, const float* x, int64_t pitch, int64_t channels, uint8_t* y,
                          int64_t count, uint8_t* scratch);
  void (*dequantize)(const Quantization&, const uint8_t* x, float* y, int64_t count);
  void (*look_up)(const uint8_t* table, const uint8_t* x, uint8_t* y, int64_t count);
};

// Constant-initialized: loading the module runs no code that was compiled for an instruction set.
extern const Kernels portable;
#ifdef IS_X86
extern const Kernels avx2, avxvnni, avx512vnni;
#endif
#ifdef IS_ARM
extern const Kernels neon, neon_dot, neon_i8mm;
#endif

// The instruction sets this machine has, fastest first.
std::vector<const Kernels*> supported_kernels();

}  // namespace int8
