#include "rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "program.h"

namespace rows {

using int8::check_range;
using int8::check_window;

namespace {

constexpr int64_t kMaxExtent = 1 << 24, kMaxChannels = 1 << 16, kMaxFloats = int64_t{1} << 28, kMaxStride = 16;
constexpr int64_t kVector = 16;    // floats that every loop's vectors divide: rows begin at multiples of it
constexpr int64_t kOvershoot = 8 * kVector * kMaxStride;  // floats that loops may read past a ring
constexpr int64_t kLeastRows = 16;  // of a band: neighbours compute the rows between them twice
constexpr int kBlocks[] = {12, 8, 6, 4, 3, 2, 1};

void check(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// A layer's weights by blocks of output channels: [block][C / groups][kernel_h][kernel_w][channels of the block].
struct Blocks {
  struct Block {
    int64_t first, channels;  // of the output
    int64_t group;
    int64_t weights;  // offset
  };
  std::vector<Block> blocks;
  AlignedVector<float> weights;
  std::vector<float> bias;
  Activation activation;
  int64_t in_channels, kernel_h, kernel_w;

  int64_t row_pitch(const Block& block) const { return kernel_w * block.channels; }
};

// The channels of the next block: of blocks as equal as they can be.
int64_t block_channels(int64_t left, int64_t most) {
  const int64_t blocks = (left + most - 1) / most, equal = (left + blocks - 1) / blocks;
  for (const int channels : kBlocks)
    if (channels <= equal && channels <= most) return channels;
  return 1;
}

// weight(output channel, input channel of its group, kernel row, kernel column)
template <class Weight>
Blocks make_blocks(const Window& w, int64_t in_channels, int64_t out_channels, int64_t groups, int64_t most,
                   std::span<const float> bias, Activation activation, const Weight& weight) {
  Blocks packed;
  packed.in_channels = in_channels / groups;
  packed.kernel_h = w.kernel_h;
  packed.kernel_w = w.kernel_w;
  packed.bias.assign(bias.begin(), bias.end());
  packed.activation = std::move(activation);
  const int64_t group_channels = out_channels / groups;
  for (int64_t group = 0; group < groups; group++)
    for (int64_t first = 0; first < group_channels;) {
      const int64_t channels = block_channels(group_channels - first, most);
      packed.blocks.push_back({group * group_channels + first, channels, group, static_cast<int64_t>(packed.weights.size())});
      for (int64_t c = 0; c < packed.in_channels; c++)
        for (int64_t i = 0; i < w.kernel_h; i++)
          for (int64_t j = 0; j < w.kernel_w; j++)
            for (int64_t k = 0; k < channels; k++)
              packed.weights.push_back(weight(group * group_channels + first + k, c, i, j));
      first += channels;
    }
  return packed;
}

// Winograd's F(4, 3) along a row: tiles of four pixels by groups of three columns of the kernel, as products of planes.
// Group g of tile i meets the pixels from 4 i + 3 g on.
constexpr int64_t kTile = 4, kGroup = 3, kPlanes = 6;

// What the planes are multiplied by of three weights.
std::array<double, kPlanes> transformed(double a, double b, double c) {
  return {a / 4, -(a + b + c) / 6, -(a - b + c) / 6, (a + 2 * b + 4 * c) / 24, (a - 2 * b + 4 * c) / 24, c};
}

// A row of the kernel: its number, and the input's row that it meets.
struct Meeting {
  int64_t kernel_row, row;
};

Multiplication multiplication(const Blocks& p, const Blocks::Block& block, const Image& x, std::span<const Meeting> met,
                              int64_t x_offset, std::vector<Tap>& taps) {
  taps.clear();
  const float* weights = p.weights.data() + block.weights;
  for (const Meeting& m : met)
    taps.push_back({x.row(m.row) + block.group * p.in_channels * x.channel_pitch + x_offset,
                    weights + m.kernel_row * p.row_pitch(block)});
  Multiplication made{};
  made.taps = taps;
  made.in_channels = p.in_channels;
  made.channel_pitch = x.channel_pitch;
  made.weights_pitch = p.kernel_h * p.row_pitch(block);
  made.kernel_w = p.kernel_w;
  made.bias = p.bias.data() + block.first;
  made.slopes = p.activation.slopes.empty() ? nullptr : p.activation.slopes.data() + block.first;
  made.low = p.activation.low;
  made.high = p.activation.high;
  return made;
}

// The rows of the image that a window over its row `row` of the output touches, from `first` on every `dilation`.
Range rows_inside(const Window& w, int64_t row) {
  const int64_t first = row * w.stride_h - w.pad_top, last = first + (w.kernel_h - 1) * w.dilation_h;
  return {std::clamp<int64_t>(first, 0, w.in_h - 1), std::clamp<int64_t>(last + 1, 1, w.in_h)};
}

void check_channels(int64_t channels, int64_t groups, int64_t out_channels, size_t weights, size_t bias, int64_t area) {
  check(groups >= 1 && channels % groups == 0 && out_channels >= 1 && out_channels % groups == 0, "groups that do not divide");
  check(static_cast<int64_t>(weights) == channels / groups * out_channels * area && static_cast<int64_t>(bias) == out_channels,
        "weights that do not fit");
}

void check_activation(const Activation& a, int64_t channels) {
  check(a.slopes.empty() || static_cast<int64_t>(a.slopes.size()) == channels, "slopes that do not fit");
}

void check_small(const Window& w) {
  check_window(w);
  for (const int64_t stride : {w.stride_h, w.stride_w}) check_range("stride", stride, 1, kMaxStride);
}

}  // namespace

Program::Program(const int8::Kernels& kernels, std::shared_ptr<ThreadPool> pool, bool fused)
    : kernels_(kernels_of(kernels, fused)), fused_(fused), pool_(std::move(pool)) {}

const Program::Node& Program::at(int node) const {
  check(node >= 0 && node <= last(), "no such node");
  return nodes_[static_cast<size_t>(node)];
}

Program::Node& Program::reader_of(std::vector<int> reads, Shape shape, std::function<Range(int64_t)> needs) {
  check(!is_prepared_, "a program that has run");
  for (const int node : reads) at(node);
  check_range("channels", shape.channels, 1, kMaxChannels);
  for (const int64_t extent : {shape.height, shape.width}) check_range("extent", extent, 1, kMaxExtent);
  check_range("pixels of a row", shape.channels * shape.width, 1, kMaxFloats);
  Node& node = nodes_.emplace_back();
  node.shape = shape;
  node.reads = std::move(reads);
  node.needs = std::move(needs);
  return node;
}

int Program::input(Shape shape) {
  reader_of({}, shape, nullptr);
  inputs_.push_back(last());
  return last();
}

// What reads past the ends of rows, or wants columns around them, reads a ring.
int Program::in_ring(int x) {
  if (!at(x).reads.empty()) return x;
  const Shape shape = at(x).shape;
  reader_of({x}, shape, [](int64_t row) { return Range{row, row + 1}; }).make = [shape](const Call& call) {
    for (int64_t c = 0; c < shape.channels; c++)
      std::memcpy(call.y + c * call.y_pitch, call.inputs[0].row(call.row) + c * call.inputs[0].channel_pitch,
                  static_cast<size_t>(shape.width) * sizeof(float));
  };
  return last();
}

void Program::want_columns(int x, int64_t left, int64_t right) {
  Node& node = nodes_[static_cast<size_t>(x)];
  node.left = std::max(node.left, left);
  node.right = std::max(node.right, right);
}

int Program::convolution(int x, const Window& w, int64_t groups, std::span<const float> weights, std::span<const float> bias,
                         Activation activation, bool by_winograd) {
  check_small(w);
  const int64_t channels = at(x).shape.channels, out_channels = static_cast<int64_t>(bias.size());
  check(w.in_h == at(x).shape.height && w.in_w == at(x).shape.width, "a window on another image");
  check_channels(channels, groups, out_channels, weights.size(), bias.size(), w.kernel_h * w.kernel_w);
  check_activation(activation, out_channels);
  x = in_ring(x);
  const bool is_plain = groups == 1 && std::max({w.stride_h, w.stride_w, w.dilation_h, w.dilation_w}) == 1;
  if (by_winograd && fused_ && is_plain && w.kernel_w >= kGroup && kernels_.lanes < 16)
    return winograd(x, w, weights, bias, std::move(activation));
  want_columns(x, w.pad_left, w.columns() - w.pad_left - w.in_w);
  const int64_t per_group = channels / groups;
  const auto packed = std::make_shared<const Blocks>(
      make_blocks(w, channels, out_channels, groups, kernels_.max_channels, bias, std::move(activation),
           [&](int64_t o, int64_t c, int64_t i, int64_t j) {
             return weights[static_cast<size_t>(((o * per_group + c) * w.kernel_h + i) * w.kernel_w + j)];
           }));
  reader_of({x}, {out_channels, w.out_h, w.out_w}, [w](int64_t row) { return rows_inside(w, row); }).make =
      [packed, w, this](const Call& call) {
        thread_local std::vector<Meeting> met;
        thread_local std::vector<Tap> taps;
        met.clear();
        for (int64_t i = 0; i < w.kernel_h; i++) {
          const int64_t row = call.row * w.stride_h - w.pad_top + i * w.dilation_h;
          if (row >= 0 && row < w.in_h) met.push_back({i, row});
        }
        for (const auto& block : packed->blocks) {
          Multiplication m = multiplication(*packed, block, call.inputs[0], met, -w.pad_left, taps);
          m.dilation_w = w.dilation_w;
          m.stride_w = w.stride_w;
          kernels_.convolve(m, block.channels, call.y + block.first * call.y_pitch, call.y_pitch, w.out_w);
        }
      };
  return last();
}

int Program::winograd(int x, const Window& w, std::span<const float> weights, std::span<const float> bias,
                      Activation activation) {
  const int64_t channels = at(x).shape.channels, out_channels = static_cast<int64_t>(bias.size());
  const int64_t tiles = (w.out_w + kTile - 1) / kTile, groups = (w.kernel_w + kGroup - 1) / kGroup;
  want_columns(x, w.pad_left, kTile * tiles + 2 + kGroup * (groups - 1) - w.pad_left - w.in_w);

  // Planes by number, channel and group.
  Node& planes = reader_of({x}, {kPlanes * channels * groups, w.in_h, tiles}, [](int64_t row) { return Range{row, row + 1}; });
  planes.make = [=, this](const Call& call) {
    for (int64_t c = 0; c < channels; c++)
      for (int64_t g = 0; g < groups; g++)
        kernels_.transform(call.inputs[0].row(call.row) + c * call.inputs[0].channel_pitch - w.pad_left + kGroup * g,
                           call.y + (c * groups + g) * call.y_pitch, channels * groups * call.y_pitch, tiles);
  };

  // As a convolution of one column with `depth` input channels for each plane: [plane][kernel_h][depth].
  const int64_t depth = channels * groups;
  Window by_plane = w;
  by_plane.kernel_h = kPlanes * w.kernel_h;
  by_plane.kernel_w = depth;
  const auto packed = std::make_shared<const Blocks>(
      make_blocks(by_plane, 1, out_channels, 1, kernels_.max_channels, bias, std::move(activation),
                  [&](int64_t o, int64_t, int64_t i, int64_t j) {
                    const int64_t plane = i / w.kernel_h, row = i % w.kernel_h, c = j / groups, first = j % groups * kGroup;
                    auto weight = [&](int64_t column) {
                      return column < w.kernel_w ? weights[static_cast<size_t>(
                                                       ((o * channels + c) * w.kernel_h + row) * w.kernel_w + column)]
                                                 : 0.0f;
                    };
                    return static_cast<float>(transformed(weight(first), weight(first + 1),
                                                          weight(first + 2))[static_cast<size_t>(plane)]);
                  }));
  const int64_t pitch = round_up(tiles, kVector), plane_pitch = pitch * kernels_.max_channels;
  const std::vector<float> none(static_cast<size_t>(kernels_.max_channels), 0.0f);
  Node& sums = reader_of({last()}, {out_channels, w.out_h, w.out_w}, [w](int64_t row) { return rows_inside(w, row); });
  sums.workspace = kPlanes * plane_pitch + kTile * pitch;
  sums.make = [=, this](const Call& call) {
    thread_local std::vector<Tap> taps;
    const Image& in = call.inputs[0];
    float* pixels = call.workspace + kPlanes * plane_pitch;
    for (const auto& block : packed->blocks) {
      const float* block_weights = packed->weights.data() + block.weights;
      for (int64_t plane = 0; plane < kPlanes; plane++) {
        taps.clear();
        for (int64_t i = 0; i < w.kernel_h; i++)
          if (const int64_t row = call.row - w.pad_top + i; row >= 0 && row < w.in_h)
            taps.push_back({in.row(row) + plane * depth * in.channel_pitch,
                            block_weights + (plane * w.kernel_h + i) * packed->row_pitch(block)});
        const Multiplication m{.taps = taps, .in_channels = 1, .channel_pitch = 0, .weights_pitch = 0, .kernel_w = depth,
                               .dilation_w = in.channel_pitch, .stride_w = 1, .bias = none.data(), .slopes = nullptr,
                               .low = -std::numeric_limits<float>::infinity(),
                               .high = std::numeric_limits<float>::infinity()};
        kernels_.convolve(m, block.channels, call.workspace + plane * plane_pitch, pitch, tiles);
      }
      for (int64_t c = 0; c < block.channels; c++) {
        const auto o = static_cast<size_t>(block.first + c);
        const Activation& a = packed->activation;
        const Activated activated{packed->bias[o], a.slopes.empty() ? nullptr : &a.slopes[o], a.low, a.high};
        kernels_.transform_back(call.workspace + c * pitch, plane_pitch, activated, pixels, tiles);
        std::memcpy(call.y + (block.first + c) * call.y_pitch, pixels, static_cast<size_t>(w.out_w) * sizeof(float));
      }
    }
  };
  return last();
}

int Program::transposed_convolution(int x, const Window& w, int64_t groups, std::span<const float> weights,
                                    std::span<const float> bias, Activation activation) {
  check_small(w);
  check(w.dilation_h == 1 && w.dilation_w == 1, "a transposed convolution with dilation");
  const int64_t channels = at(x).shape.channels, out_channels = static_cast<int64_t>(bias.size());
  check(w.out_h == at(x).shape.height && w.out_w == at(x).shape.width, "a window on another image");
  check_channels(channels, groups, out_channels, weights.size(), bias.size(), w.kernel_h * w.kernel_w);
  check_activation(activation, out_channels);
  x = in_ring(x);
  // Output pixel o is phase (o + pad) % stride of place q = (o + pad) / stride, made of the input's q - m by the
  // kernel's phase + stride * m.
  const int64_t taps_w = (w.kernel_w + w.stride_w - 1) / w.stride_w, first = w.pad_left / w.stride_w;
  const int64_t cut = w.pad_left - first * w.stride_w, places = (cut + w.in_w + w.stride_w - 1) / w.stride_w;
  want_columns(x, std::max<int64_t>(taps_w - 1 - first, 0), first + places - w.out_w);
  const int64_t per_group = out_channels / groups;
  const auto packed = std::make_shared<const Blocks>(
      make_blocks(w, channels, out_channels, groups, kernels_.max_channels, bias, std::move(activation),
           [&](int64_t o, int64_t c, int64_t i, int64_t j) {
             const int64_t in = o / per_group * (channels / groups) + c;
             return weights[static_cast<size_t>(((in * per_group + o % per_group) * w.kernel_h + i) * w.kernel_w + j)];
           }));
  const int64_t taps_h = (w.kernel_h + w.stride_h - 1) / w.stride_h;
  Node& node = reader_of({x}, {out_channels, w.in_h, w.in_w}, [w, taps_h](int64_t row) {
    const int64_t q = (row + w.pad_top) / w.stride_h;
    return Range{std::clamp<int64_t>(q - taps_h + 1, 0, w.out_h - 1), std::clamp<int64_t>(q + 1, 1, w.out_h)};
  });
  const int64_t pitch = round_up(places, kVector) * w.stride_w;
  node.workspace = pitch * kernels_.max_channels;
  node.make = [=, this](const Call& call) {
    thread_local std::vector<Meeting> met;
    thread_local std::vector<Tap> taps;
    met.clear();
    const int64_t q = (call.row + w.pad_top) / w.stride_h;
    for (int64_t i = (call.row + w.pad_top) % w.stride_h, row = q; i < w.kernel_h; i += w.stride_h, row--)
      if (row >= 0 && row < w.out_h) met.push_back({i, row});
    for (const auto& block : packed->blocks) {
      Multiplication m = multiplication(*packed, block, call.inputs[0], met, first, taps);
      m.stride_w = w.stride_w;
      kernels_.convolve_transposed(m, block.channels, call.workspace, pitch, places);
      for (int64_t c = 0; c < block.channels; c++)
        std::memcpy(call.y + (block.first + c) * call.y_pitch, call.workspace + c * pitch + cut,
                    static_cast<size_t>(w.in_w) * sizeof(float));
    }
  };
  return last();
}

namespace {

// Columns of the output whose windows lie within the image's columns, and do not stick out.
Range whole_columns(const Window& w) {
  const int64_t begin = std::min((w.pad_left + w.stride_w - 1) / w.stride_w, w.out_w);
  const int64_t last = w.in_w + w.pad_left - (w.kernel_w - 1) * w.dilation_w - 1;  // where one may begin, in columns
  return {begin, std::max(begin, last < 0 ? 0 : std::min(w.out_w, last / w.stride_w + 1))};
}

struct Block {
  std::span<const float* const> rows;
  int64_t first, last;  // columns
};

// Rows of `last - first` columns one after the other where these are below four. Else four sums of every fourth column,
// of which the first and third make one, the others one; then what columns are left.
float sum_block(const Block& b) {
  const int64_t in_fours = (b.last - b.first) / 4 * 4;
  float lanes[4] = {}, sum = 0;
  for (const float* row : b.rows)
    for (int64_t i = 0; i < in_fours; i++) lanes[i % 4] += row[b.first + i];
  if (in_fours > 0) sum = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
  for (const float* row : b.rows)
    for (int64_t i = b.first + in_fours; i < b.last; i++) sum += row[i];
  return sum;
}

// The image's rows of a channel that a window over this row of the output sees.
void rows_seen(const Window& w, const Image& x, int64_t row, int64_t channel, std::vector<const float*>& seen) {
  seen.clear();
  for (int64_t i = 0; i < w.kernel_h; i++) {
    const int64_t in_row = row * w.stride_h - w.pad_top + i * w.dilation_h;
    if (in_row >= 0 && in_row < w.in_h) seen.push_back(x.row(in_row) + channel * x.channel_pitch);
  }
}

// sum_block of all windows of a row; column: in_w floats.
void sum_row(const Kernels& kernels, const Window& w, std::span<const float* const> rows, float* column, float* y) {
  const bool has_four = w.kernel_w >= 4;
  const Range whole = w.kernel_w < 8 && !rows.empty() ? whole_columns(w) : Range{0, 0};
  const int64_t count = whole.end - whole.begin, first = whole.begin * w.stride_w - w.pad_left;
  for (int64_t i = 0; i < w.out_w; i++) {
    if (i == whole.begin && count > 0) i = whole.end;
    if (i == w.out_w) break;
    const int64_t left = i * w.stride_w - w.pad_left;
    y[i] = sum_block({rows, std::clamp<int64_t>(left, 0, w.in_w), std::clamp<int64_t>(left + w.kernel_w, 0, w.in_w)});
  }
  if (count == 0) return;
  float* to = y + whole.begin;
  if (has_four) {
    std::memcpy(column, rows[0], static_cast<size_t>(w.in_w) * sizeof(float));
    for (const float* row : rows.subspan(1)) kernels.add(row, column, column, w.in_w);
    kernels.sum_four(column + first, w.stride_w, to, count);
  } else {
    std::fill_n(to, count, 0.0f);
  }
  for (const float* row : rows)
    for (int64_t j = has_four ? 4 : 0; j < w.kernel_w; j++) kernels.add_every(row + first + j, w.stride_w, to, count);
}

// The largest of what each window of a row sees: first of its rows, whole, then of their columns. What is no number is
// passed over, but for one in a window's first place, which stays.
void largest_row(const Kernels& kernels, const Window& w, std::span<const float* const> rows, float* column, float* y) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  std::fill_n(y, w.out_w, kLowest);
  if (rows.empty()) return;
  std::fill_n(column, w.in_w, kLowest);
  for (const float* row : rows) kernels.largest(row, column, column, w.in_w);
  auto at_column = [&](int64_t j) {  // of the windows, which have it inside: from where on, and how many
    const int64_t offset = j - w.pad_left;
    const int64_t begin = offset < 0 ? (-offset + w.stride_w - 1) / w.stride_w : 0;
    const int64_t end = offset < w.in_w ? std::min(w.out_w, (w.in_w - 1 - offset) / w.stride_w + 1) : 0;
    return Range{begin, std::max(begin, end)};
  };
  for (int64_t j = 0; j < w.kernel_w; j++) {
    const Range inside = at_column(j);
    const float* x = column + inside.begin * w.stride_w + j - w.pad_left;
    if (inside.begin < inside.end) kernels.largest_every(x, w.stride_w, y + inside.begin, inside.end - inside.begin);
  }
  const Range first = at_column(0);
  const float* x = rows[0] + first.begin * w.stride_w - w.pad_left;
  if (std::isnan(rows[0][0])) std::fill_n(y, std::min(first.begin, w.out_w), rows[0][0]);
  if (first.begin < first.end) kernels.keep_no_numbers(x, w.stride_w, y + first.begin, first.end - first.begin);
}

int64_t count_inside(int64_t position, int64_t stride, int64_t pad, int64_t kernel, int64_t extent) {
  const int64_t begin = position * stride - pad;
  return std::max<int64_t>(std::min(begin + kernel, extent) - std::max<int64_t>(begin, 0), 0);
}

}  // namespace

int Program::average(int x, const Window& w, bool counts_padding) {
  check_small(w);
  check(w.dilation_h == 1 && w.dilation_w == 1, "a pool with dilation");
  check(w.in_h == at(x).shape.height && w.in_w == at(x).shape.width, "a window on another image");
  const int64_t channels = at(x).shape.channels;
  Node& node = reader_of({x}, {channels, w.out_h, w.out_w}, [w](int64_t row) { return rows_inside(w, row); });
  node.workspace = w.in_w + w.out_w;
  node.make = [=, this](const Call& call) {
    const int64_t rows = counts_padding ? w.kernel_h : count_inside(call.row, w.stride_h, w.pad_top, w.kernel_h, w.in_h);
    float* factors = call.workspace + w.in_w;
    for (int64_t i = 0; i < w.out_w; i++) {
      const int64_t columns = counts_padding ? w.kernel_w : count_inside(i, w.stride_w, w.pad_left, w.kernel_w, w.in_w);
      factors[i] = 1.0f / static_cast<float>(rows * columns);
    }
    thread_local std::vector<const float*> seen;
    for (int64_t c = 0; c < channels; c++) {
      float* y = call.y + c * call.y_pitch;
      rows_seen(w, call.inputs[0], call.row, c, seen);
      sum_row(kernels_, w, seen, call.workspace, y);
      kernels_.scale(factors, y, w.out_w);
    }
  };
  return last();
}

int Program::maximum(int x, const Window& w) {
  check_small(w);
  check(w.dilation_h == 1 && w.dilation_w == 1, "a pool with dilation");
  check(w.in_h == at(x).shape.height && w.in_w == at(x).shape.width, "a window on another image");
  const int64_t channels = at(x).shape.channels;
  Node& node = reader_of({x}, {channels, w.out_h, w.out_w}, [w](int64_t row) { return rows_inside(w, row); });
  node.workspace = w.in_w;
  node.make = [=, this](const Call& call) {
    thread_local std::vector<const float*> seen;
    for (int64_t c = 0; c < channels; c++) {
      rows_seen(w, call.inputs[0], call.row, c, seen);
      largest_row(kernels_, w, seen, call.workspace, call.y + c * call.y_pitch);
    }
  };
  return last();
}

int Program::select(int x, std::vector<int32_t> rows, std::vector<int32_t> columns, float value) {
  const Shape shape = at(x).shape;
  for (const int32_t row : rows) check_range("row", row, -1, shape.height - 1);
  for (const int32_t column : columns) check_range("column", column, -1, shape.width - 1);
  const auto height = static_cast<int64_t>(rows.size()), width = static_cast<int64_t>(columns.size());
  const auto of_row = std::make_shared<const std::vector<int32_t>>(std::move(rows));
  // The columns as runs of neighbours, where these are long; -1 begins a run of values.
  struct Run {
    int64_t to, from, count;
  };
  std::vector<Run> runs;
  for (int64_t i = 0; i < width; i++) {
    const int64_t from = columns[static_cast<size_t>(i)];
    const bool goes_on = !runs.empty() && (from < 0 ? runs.back().from < 0
                                                   : runs.back().from >= 0 && runs.back().from + runs.back().count == from);
    if (goes_on) runs.back().count++;
    else runs.push_back({i, from, 1});
  }
  const bool are_long = static_cast<int64_t>(runs.size()) * 8 <= width + 64;
  const bool has_value = std::find(columns.begin(), columns.end(), -1) != columns.end();
  reader_of({x}, {shape.channels, height, width},
            [of_row](int64_t row) {
              const int64_t from = std::max((*of_row)[static_cast<size_t>(row)], 0);
              return Range{from, from + 1};
            })
      .make = [=, this, runs = std::move(runs), columns = std::move(columns)](const Call& call) {
    const int64_t row = (*of_row)[static_cast<size_t>(call.row)];
    for (int64_t c = 0; c < shape.channels; c++) {
      float* y = call.y + c * call.y_pitch;
      if (row < 0) {
        std::fill_n(y, width, value);
        continue;
      }
      const float* from = call.inputs[0].row(row) + c * call.inputs[0].channel_pitch;
      if (!are_long && !has_value) {
        kernels_.pick(from, columns.data(), y, width);
        continue;
      }
      for (const Run& run : runs) {
        if (run.from < 0) std::fill_n(y + run.to, run.count, value);
        else if (run.count < 16) std::copy_n(from + run.from, run.count, y + run.to);
        else std::memcpy(y + run.to, from + run.from, static_cast<size_t>(run.count) * sizeof(float));
      }
    }
  };
  return last();
}

namespace {

Range same_row(int64_t row) { return {row, row + 1}; }

void activate_row(const Kernels& kernels, const Activation& a, const float* x, int64_t channel, float* y, int64_t width) {
  kernels.activate(x, a.slopes.empty() ? 1.0f : a.slopes[static_cast<size_t>(channel)], a.low, a.high, y, width);
}

}  // namespace

int Program::activation(int x, Activation activation) {
  const Shape shape = at(x).shape;
  check_activation(activation, shape.channels);
  reader_of({x}, shape, same_row).make = [=, this](const Call& call) {
    for (int64_t c = 0; c < shape.channels; c++)
      activate_row(kernels_, activation, call.inputs[0].row(call.row) + c * call.inputs[0].channel_pitch, c,
                   call.y + c * call.y_pitch, shape.width);
  };
  return last();
}

int Program::add(int a, int b, Activation activation) {
  const Shape shape = at(a).shape, other = at(b).shape;
  check(shape.channels == other.channels && shape.height == other.height && shape.width == other.width, "shapes that differ");
  check_activation(activation, shape.channels);
  reader_of({a, b}, shape, same_row).make = [=, this](const Call& call) {
    for (int64_t c = 0; c < shape.channels; c++) {
      float* y = call.y + c * call.y_pitch;
      const Image &first = call.inputs[0], &second = call.inputs[1];
      kernels_.add(first.row(call.row) + c * first.channel_pitch, second.row(call.row) + c * second.channel_pitch, y, shape.width);
      activate_row(kernels_, activation, y, c, y, shape.width);
    }
  };
  return last();
}

int Program::concat(const std::vector<int>& parts) {
  check(!parts.empty(), "nothing to join");
  Shape shape = at(parts[0]).shape;
  std::vector<int64_t> channels;
  for (const int part : parts) {
    check(at(part).shape.height == shape.height && at(part).shape.width == shape.width, "shapes that differ");
    channels.push_back(at(part).shape.channels);
  }
  shape.channels = std::accumulate(channels.begin(), channels.end(), int64_t{0});
  reader_of(parts, shape, same_row).make = [channels, shape](const Call& call) {
    float* y = call.y;
    for (size_t i = 0; i < channels.size(); i++)
      for (int64_t c = 0; c < channels[i]; c++, y += call.y_pitch)
        std::memcpy(y, call.inputs[i].row(call.row) + c * call.inputs[i].channel_pitch,
                    static_cast<size_t>(shape.width) * sizeof(float));
  };
  return last();
}

int Program::unpack(int x, std::span<const float> means, std::span<const float> noise) {
  const Shape shape = at(x).shape;
  check(shape.channels == 1 && means.size() == 3, "no packed pixels");
  check_range("length of the noise", static_cast<int64_t>(noise.size()), 0, kMaxFloats / 8);
  // Of each colour the noise of one pixel after the other, as often as a row may begin within it.
  const auto size = static_cast<int64_t>(noise.size()), period = size == 0 ? 1 : size / std::gcd(size, int64_t{3});
  std::vector<float> spread;
  for (int64_t c = 0; c < 3 && size > 0; c++)
    for (int64_t p = 0; p < period + shape.width; p++) spread.push_back(noise[static_cast<size_t>((3 * p + c) % size)]);
  reader_of({x}, {3, shape.height, shape.width}, same_row).make =
      [=, this, means = std::vector<float>(means.begin(), means.end())](const Call& call) {
        const auto* pixels = reinterpret_cast<const uint32_t*>(call.inputs[0].row(call.row));
        for (int c = 0; c < 3; c++) {
          const float* from =
              size == 0 ? nullptr : spread.data() + c * (period + shape.width) + call.row * shape.width % period;
          kernels_.unpack(pixels, c, means[static_cast<size_t>(c)], from, call.y + c * call.y_pitch, shape.width);
        }
      };
  return last();
}

int Program::pack(int x, std::span<const float> means) {
  const Shape shape = at(x).shape;
  check(shape.channels == 3 && means.size() == 3, "no image of three colours");
  reader_of({x}, {1, shape.height, shape.width}, same_row).make =
      [=, this, means = std::vector<float>(means.begin(), means.end())](const Call& call) {
        const float* colours[3];
        for (int c = 0; c < 3; c++) colours[c] = call.inputs[0].row(call.row) + c * call.inputs[0].channel_pitch;
        kernels_.pack(colours, means.data(), reinterpret_cast<uint32_t*>(call.y), shape.width);
      };
  return last();
}

// ----------------------------------------------------------------------------------------------------- running

int64_t Program::channel_pitch(const Node& node) const {
  return round_up(node.left, kVector) + round_up(node.shape.width + node.right, kVector);
}

int64_t Program::ring_floats(const Node& node) const { return node.places * node.shape.channels * channel_pitch(node); }

Range Program::band(int64_t i) const {
  const int64_t rows = nodes_.back().shape.height;
  return {rows * i / bands_, rows * (i + 1) / bands_};
}

// The first row of each node that a band of the last one's rows needs.
std::vector<int64_t> Program::first_rows(Range band) const {
  std::vector<Range> wanted(nodes_.size(), Range{std::numeric_limits<int64_t>::max(), 0});
  wanted.back() = band;
  std::vector<int64_t> first(nodes_.size());
  for (size_t i = nodes_.size(); i-- > 0;) {
    first[i] = wanted[i].begin;
    for (int64_t row = wanted[i].begin; row < wanted[i].end && !nodes_[i].reads.empty(); row++) {
      const Range needed = nodes_[i].needs(row);
      for (const int read : nodes_[i].reads) {
        Range& all = wanted[static_cast<size_t>(read)];
        all = {std::min(all.begin, needed.begin), std::max(all.end, needed.end)};
      }
    }
  }
  return first;
}

template <class Make>
void Program::reach(int node, int64_t row, std::vector<int64_t>& made, const Make& make) const {
  const Node& n = nodes_[static_cast<size_t>(node)];
  if (n.reads.empty()) return;  // an input, all of which is there
  for (int64_t& next = made[static_cast<size_t>(node)]; next <= row; next++) {
    const Range needed = n.needs(next);
    for (const int read : n.reads) reach(read, needed.end - 1, made, make);
    make(n, node, next, needed);
  }
}

// How many places each ring needs: found out by going through the rows.
void Program::prepare() {
  if (is_prepared_) return;
  check(nodes_.size() > inputs_.size(), "a program without a result");
  check(!nodes_.back().reads.empty(), "a result that is an input");
  bands_ = std::clamp<int64_t>(nodes_.back().shape.height / kLeastRows, 1, pool_->threads());
  for (int64_t i = 0; i < bands_; i++) {
    std::vector<int64_t> made = first_rows(band(i));
    reach(last(), band(i).end - 1, made, [&](const Node& n, int, int64_t, Range needed) {
      for (const int read : n.reads) {
        Node& source = nodes_[static_cast<size_t>(read)];
        source.places = std::max(source.places, made[static_cast<size_t>(read)] - needed.begin);
      }
    });
  }
  for (const Node& node : nodes_) {
    if (!node.reads.empty() && &node != &nodes_.back()) ring_floats_ += ring_floats(node);
    workspace_ = std::max(workspace_, round_up(node.workspace, kVector));
    check_range("size of the rows that are needed", ring_floats_ + workspace_, 0, kMaxFloats);
  }
  is_prepared_ = true;
}

int64_t Program::scratch_bytes() {
  prepare();
  return (workspace_ + ring_floats_ + kOvershoot) * static_cast<int64_t>(sizeof(float));
}

void Program::run(std::span<const float* const> inputs, float* y, int64_t images) {
  check(inputs.size() == inputs_.size(), "inputs of another number");
  prepare();
  const int8::Step step{images * bands_, [&](int64_t task, uint8_t* scratch) {
                          run_band(inputs.data(), y, task / bands_, band(task % bands_), reinterpret_cast<float*>(scratch));
                        }};
  pool_->run(&step, 1, scratch_bytes());
}

void Program::run_band(const float* const* inputs, float* y, int64_t image, Range band, float* scratch) const {
  std::vector<Image> images(nodes_.size());
  for (size_t i = 0; i < inputs_.size(); i++) {
    const Shape& s = nodes_[static_cast<size_t>(inputs_[i])].shape;
    float* memory = const_cast<float*>(inputs[i]) + image * s.channels * s.height * s.width;  // only read
    images[static_cast<size_t>(inputs_[i])] = {memory, s.height, s.width, s.height * s.width};
  }
  float* ring = scratch + workspace_;
  std::memset(ring, 0, static_cast<size_t>(ring_floats_ + kOvershoot) * sizeof(float));
  for (size_t i = 0; i + 1 < nodes_.size(); i++) {
    const Node& node = nodes_[i];
    if (node.reads.empty()) continue;
    const int64_t pitch = channel_pitch(node);
    images[i] = {ring + round_up(node.left, kVector), std::max<int64_t>(node.places, 1), node.shape.channels * pitch, pitch};
    ring += ring_floats(node);
  }
  const Shape& s = nodes_.back().shape;
  images.back() = {y + image * s.channels * s.height * s.width, s.height, s.width, s.height * s.width};

  std::vector<int64_t> made = first_rows(band);
  std::vector<Image> read;
  reach(last(), band.end - 1, made, [&](const Node& n, int node, int64_t row, Range) {
    read.clear();
    for (const int from : n.reads) read.push_back(images[static_cast<size_t>(from)]);
    const Image& to = images[static_cast<size_t>(node)];
    n.make({read.data(), row, to.row(row), to.channel_pitch, scratch});
  });
}

}  // namespace rows
