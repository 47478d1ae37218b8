#include "pack.h"

#include <algorithm>
#include <stdexcept>

namespace int8 {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Accumulators must stay within int32 at every moment, whatever the input.
void check_accumulator(int64_t weight_magnitude, int64_t constants) {
  if (255 * weight_magnitude + std::abs(constants) > INT32_MAX)
    throw std::overflow_error("an accumulator of more than 32 bits");
}

// Modulo 2^32: what x_offset adds here, the products take away again.
int32_t wrapped(int64_t constant) { return static_cast<int32_t>(static_cast<uint32_t>(constant)); }

// How many int8 values it takes to sum up to weight - zero_point, for all of `count` weights.
int32_t planes_of(const uint8_t* weights, int64_t count, int32_t zero_point) {
  const auto [least, most] = std::minmax_element(weights, weights + count);
  const int64_t lowest = *least - zero_point, highest = *most - zero_point;
  return static_cast<int32_t>(std::max({int64_t{1}, divide_up(-lowest, 128), divide_up(highest, 127)}));
}

}  // namespace

Convolution pack_convolution(const Kernels& kernels, const Window& window, const Filter& f) {
  const int64_t in_group = f.in_channels / f.groups, out_group = f.out_channels / f.groups;
  const int64_t elements = window.kernel_h * window.kernel_w * in_group;  // of one filter
  const auto [lanes, max_tile_width, group_depth, row_group, x_offset] = kernels.layout;

  Convolution c{};
  c.out_h = window.out_h;
  c.out_w = window.out_w;
  c.x_column = window.stride_w * f.in_channels;
  c.x_row = window.stride_h * window.in_w * f.in_channels;
  c.x_image = window.in_h * window.in_w * f.in_channels;
  c.y_pixel = f.out_channels;
  c.requantization = f.requantization;

  // A row of taps that lie side by side is one run.
  const bool joined = f.groups == 1 && window.dilation_w == 1;
  const int64_t runs_w = joined ? 1 : window.kernel_w;
  c.depth = joined ? window.kernel_w * in_group : in_group;
  for (int64_t i = 0; i < window.kernel_h; i++)
    for (int64_t j = 0; j < runs_w; j++)
      c.tap_offset.push_back((i * window.dilation_h * window.in_w + j * window.dilation_w) * f.in_channels);

  const bool fits = planes_of(f.weights, f.out_channels * elements, f.weight_zero_point) == 1;
  const int32_t weight_offset = fits ? f.weight_zero_point : 128;
  c.row_factor = weight_offset - f.weight_zero_point;

  const int64_t depth_steps = divide_up(c.depth, group_depth), runs = static_cast<int64_t>(c.tap_offset.size());
  const int64_t blocks = divide_up(out_group, lanes), tiles = divide_up(blocks, max_tile_width);
  for (int64_t group = 0; group < f.groups; group++)
    for (int64_t t = 0; t < tiles; t++) {
      const int64_t first = blocks * t / tiles, width = blocks * (t + 1) / tiles - first;
      const int64_t channel = group * out_group + first * lanes;
      Convolution::Tile tile{};
      tile.x_offset = group * in_group;
      tile.y_offset = channel;
      tile.weights = static_cast<int64_t>(c.weights.size());
      tile.bias = static_cast<int64_t>(c.bias.size());
      tile.width = static_cast<int32_t>(width);
      tile.channels = static_cast<int32_t>(std::min(width * lanes, out_group - first * lanes));
      c.weights.resize(c.weights.size() + static_cast<size_t>(runs * depth_steps * width * lanes * group_depth), 0);
      c.bias.resize(c.bias.size() + static_cast<size_t>(width * lanes), 0);

      for (int64_t i = 0; i < tile.channels; i++) {
        const uint8_t* filter = f.weights + (channel + i) * elements;
        int64_t sum = 0, packed_sum = 0, magnitude = 0;
        for (int64_t e = 0; e < elements; e++) {
          const int32_t w = filter[e] - weight_offset;
          const int64_t run = e / c.depth, k = e % c.depth;
          c.weights[tile.weights + ((run * depth_steps + k / group_depth) * width * lanes + i) * group_depth +
                    k % group_depth] = static_cast<int8_t>(w);
          tile.has_lowest |= w == -128;
          sum += filter[e] - f.weight_zero_point;
          packed_sum += w;
          magnitude += std::abs(w) + std::abs(c.row_factor);
        }
        const int64_t constant = f.bias[channel + i] - f.x_zero_point * sum;
        check_accumulator(magnitude, constant);
        c.bias[tile.bias + i] = wrapped(constant + x_offset * packed_sum);
      }
      c.tiles.push_back(tile);
    }
  return c;
}

// How many output rows share one interleaving: as many as keep it in the first-level cache, in bands of equal
// height.
int64_t band_of(const Depthwise& d, int lanes) {
  constexpr int64_t kBandElements = 24 << 10;
  if (d.window.dilation_h > 1) return 1;
  int64_t rows = 1;
  while (rows < d.window.out_h && d.row_groups(rows + 1) * d.columns() * lanes * d.row_group <= kBandElements)
    rows++;
  return divide_up(d.window.out_h, divide_up(d.window.out_h, rows));
}

Depthwise pack_depthwise(const Kernels& kernels, const Window& window, const Filter& f) {
  const int64_t lanes = kernels.layout.lanes, row_group = kernels.layout.row_group, vector = lanes * row_group;
  const int64_t area = window.kernel_h * window.kernel_w, blocks = divide_up(f.out_channels, lanes);
  Depthwise d{};
  d.window = window;
  d.channels = f.out_channels;
  d.requantization = f.requantization;
  d.row_group = row_group;
  d.band = band_of(d, kernels.layout.lanes);
  d.padding.assign(static_cast<size_t>(blocks * lanes + kSlack), static_cast<uint8_t>(f.x_zero_point));

  int64_t taps = 0;
  for (int64_t phase = 0; phase < row_group; phase++) {
    d.phases[phase].first_tap = taps;
    for (int64_t group = 0; group < divide_up(phase + window.kernel_h, row_group); group++)
      for (int64_t j = 0; j < window.kernel_w; j++, taps++)
        d.phases[phase].tap_offset.push_back((group * d.columns() + j * window.dilation_w) * vector);
  }
  int64_t total = 0;
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t first = block * lanes, count = std::min(lanes, f.out_channels - first);
    d.blocks.push_back({total, planes_of(f.weights + first * area, count * area, f.weight_zero_point)});
    total += taps * d.blocks.back().planes * vector;
  }

  d.weights.assign(static_cast<size_t>(total), 0);
  d.bias.assign(static_cast<size_t>(blocks * lanes), 0);
  for (int64_t channel = 0; channel < f.out_channels; channel++) {
    const Depthwise::Block& block = d.blocks[channel / lanes];
    int64_t sum = 0, magnitude = 0;
    for (int64_t i = 0; i < window.kernel_h; i++)
      for (int64_t j = 0; j < window.kernel_w; j++) {
        const int32_t w =
            f.weights[(channel * window.kernel_h + i) * window.kernel_w + j] - f.weight_zero_point;
        sum += w;
        magnitude += std::abs(w);
        for (int64_t phase = 0; phase < row_group; phase++) {
          const int64_t row = phase + i, tap = d.phases[phase].first_tap + row / row_group * window.kernel_w + j;
          int32_t rest = w;
          for (int64_t plane = 0; plane < block.planes; plane++) {
            const int32_t part = std::clamp(rest, -128, 127);
            d.weights[block.weights + (tap * block.planes + plane) * vector + channel % lanes * row_group +
                      row % row_group] = static_cast<int8_t>(part);
            rest -= part;
          }
        }
      }
    const int64_t constant = f.bias[channel] - f.x_zero_point * sum;
    check_accumulator(magnitude, constant);
    d.bias[channel] = wrapped(constant + kernels.layout.x_offset * sum);
  }
  return d;
}

}  // namespace int8
