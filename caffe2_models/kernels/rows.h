// Float images of few channels, row by row: convolutions and what stands between them as one pass over an image.
//
// A net's operators are nodes; each makes rows of its own image from rows of those before it. The rows that the later
// nodes still need lie in a ring, so that a whole chain of layers works in the second-level cache, whatever the size of
// its images: a row of the last node asks for the rows that it needs, and so on up to the input. Threads take bands of
// the last node's rows, and compute twice what two bands need.
//
// A row holds its channels one after the other. Vectors go along the pixels of a row, so that no lane is wasted,
// whatever the number of channels: a tile of a few vectors of pixels by a few output channels stays in registers, one
// weight for all lanes multiplies them.
//
// Sums are taken in Caffe2's order, whatever the tile or the band, so that where products are fused with sums as its
// matrix products do, the results are its own to the bit (and never depend on the threads):
//     convolution              by input channel, row and column of the kernel, then the bias
//     transposed convolution   of each tap of the kernel by input channel; then by tap, then the bias
//     mean                     as Eigen adds up a block with vectors of four: see sum_block
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "int8.h"
#include "thread_pool.h"

namespace rows {

using int8::AlignedVector;
using int8::Range;
using int8::ThreadPool;
using int8::Window;

struct Shape {
  int64_t channels, height, width;
};

// Where a node's rows lie; of a ring `height` is the number of its places.
struct Image {
  float* memory;  // of the first pixel of the first row
  int64_t height, row_pitch, channel_pitch;

  float* row(int64_t i) const { return memory + i % height * row_pitch; }
};

// min(max(x < 0 ? x * slope : x, low), high), by channel.
struct Activation {
  std::vector<float> slopes;  // one of each channel, or none
  float low, high;
};

// What makes a row of the kernel's input of a row of the output: where it begins, and the weights it meets.
struct Tap {
  const float* row;
  const float* weights;
};

// Some output channels' part of a row; weights of an input channel: [kernel_h][kernel_w][channels].
struct Multiplication {
  std::span<const Tap> taps;  // of the first input channel
  int64_t in_channels, channel_pitch, weights_pitch;
  int64_t kernel_w, dilation_w, stride_w;
  const float* bias;
  const float* slopes;  // or null
  float low, high;
};

// What a sum becomes.
struct Activated {
  float bias;
  const float* slope;  // or null
  float low, high;
};

// The loops of one instruction set.
struct Kernels {
  int lanes;
  int max_channels;  // of a block
  // y: `channels` rows, y_pitch apart, of a convolution. Reads up to a vector past what it needs of its input.
  void (*convolve)(const Multiplication&, int64_t channels, float* y, int64_t y_pitch, int64_t width);
  // Of a transposed convolution all columns from where its kernel first touches the image, `count` times stride_w.
  void (*convolve_transposed)(const Multiplication&, int64_t channels, float* y, int64_t y_pitch, int64_t count);
  void (*activate)(const float* x, float slope, float low, float high, float* y, int64_t count);
  void (*add)(const float* a, const float* b, float* y, int64_t count);
  void (*largest)(const float* a, const float* b, float* y, int64_t count);  // b where either is no number
  // y[i] = op(x[i * stride], y[i])
  void (*add_every)(const float* x, int64_t stride, float* y, int64_t count);
  void (*largest_every)(const float* x, int64_t stride, float* y, int64_t count);
  void (*keep_no_numbers)(const float* x, int64_t stride, float* y, int64_t count);  // x[i * stride] where it is none
  // y[i] = (x[i * stride] + x[i * stride + 2]) + (x[i * stride + 1] + x[i * stride + 3])
  void (*sum_four)(const float* x, int64_t stride, float* y, int64_t count);
  void (*scale)(const float* factors, float* y, int64_t count);
  void (*pick)(const float* x, const int32_t* columns, float* y, int64_t count);
  // Winograd's F(4, 3) along a row: from tiles of six pixels, each four on, to six planes. Writes whole vectors, as
  // transform_back does.
  void (*transform)(const float* x, float* y, int64_t y_pitch, int64_t tiles);
  // From six planes to four pixels a tile.
  void (*transform_back)(const float* m, int64_t m_pitch, const Activated&, float* y, int64_t tiles);
  // A colour of packed pixels: byte `colour` of each, less the mean, plus the noise where there is some.
  void (*unpack)(const uint32_t* pixels, int colour, float mean, const float* noise, float* y, int64_t count);
  // Three colours plus their means to opaque pixels, cut off below the point.
  void (*pack)(const float* const colours[3], const float means[3], uint32_t* pixels, int64_t count);
};

// Those that go with a set of int8 kernels; fused: products are not rounded before they are added.
const Kernels& kernels_of(const int8::Kernels& set, bool fused);

// Nodes are numbers. Methods that add one check that it fits what it reads, and throw std::invalid_argument otherwise.
// The node added last is the result.
class Program {
 public:
  // fused: see kernels_of; where not, nothing is done by Winograd's way either.
  Program(const int8::Kernels& kernels, std::shared_ptr<ThreadPool> pool, bool fused);

  // The caller's memory: float32 [N, channels, height, width]. Packed pixels count as one channel of 4 bytes each.
  int input(Shape shape);
  // weights: [O, C / groups, kernel_h, kernel_w]. by_winograd: where vectors are short of 16 lanes and the window is one
  // of a single group without strides and dilation, by Winograd's F(4, 3) along rows: half the multiplications, and
  // some more rounding. (Longer vectors gain nothing by it.)
  int convolution(int x, const Window& window, int64_t groups, std::span<const float> weights, std::span<const float> bias,
                  Activation activation, bool by_winograd = false);
  // The same geometry read backwards: the window's input is this node's output. weights: [C, O / groups, kernel_h, kernel_w].
  int transposed_convolution(int x, const Window& window, int64_t groups, std::span<const float> weights,
                             std::span<const float> bias, Activation activation);
  int average(int x, const Window& window, bool counts_padding);
  int maximum(int x, const Window& window);
  // The pixels at these rows and columns; -1 for one that is `value`.
  int select(int x, std::vector<int32_t> rows, std::vector<int32_t> columns, float value);
  int activation(int x, Activation activation);
  int add(int a, int b, Activation activation);
  int concat(const std::vector<int>& parts);
  // Packed BGRA pixels to three channels. Colour c of pixel p gets noise[(3 p + c) % noise.size()]; noise may be empty.
  int unpack(int x, std::span<const float> means, std::span<const float> noise);
  int pack(int x, std::span<const float> means);

  Shape shape(int node) const { return at(node).shape; }
  const std::vector<int>& inputs() const { return inputs_; }
  int result() const { return last(); }
  // Bytes that each thread takes.
  int64_t scratch_bytes();
  // inputs: as many images as were added, in that order; y: images of the last node's shape.
  void run(std::span<const float* const> inputs, float* y, int64_t images);

 private:
  struct Call {  // what makes a row
    const Image* inputs;
    int64_t row;
    float* y;
    int64_t y_pitch;
    float* workspace;
  };
  struct Node {
    Shape shape;
    std::vector<int> reads;
    std::function<Range(int64_t)> needs;  // rows of what it reads, for a row
    std::function<void(const Call&)> make;
    int64_t workspace = 0;         // floats
    int64_t left = 0, right = 0;   // columns of zeros that readers want around it
    int64_t places = 0;            // of its ring
  };

  const Node& at(int node) const;
  Node& reader_of(std::vector<int> reads, Shape shape, std::function<Range(int64_t)> needs);
  int winograd(int x, const Window& window, std::span<const float> weights, std::span<const float> bias,
               Activation activation);
  int in_ring(int node);
  void want_columns(int node, int64_t left, int64_t right);
  int last() const { return static_cast<int>(nodes_.size()) - 1; }
  int64_t channel_pitch(const Node& node) const;
  int64_t ring_floats(const Node& node) const;
  Range band(int64_t i) const;
  std::vector<int64_t> first_rows(Range band) const;
  void prepare();
  // Makes the rows up to `row`, and before that what they need.
  template <class Make>
  void reach(int node, int64_t row, std::vector<int64_t>& made, const Make& make) const;
  void run_band(const float* const* inputs, float* y, int64_t image, Range band, float* scratch) const;

  const Kernels& kernels_;
  const bool fused_;
  std::shared_ptr<ThreadPool> pool_;
  std::vector<int> inputs_;
  std::vector<Node> nodes_;
  bool is_prepared_ = false;
  int64_t bands_ = 1, ring_floats_ = 0, workspace_ = 0;
};

}  // namespace rows
