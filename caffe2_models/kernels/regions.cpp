// Regions of interest: means of bilinear samples; see caffe2_models/detection/regions.py.
#include "compiler.h"
#include "detection.h"
#include "suppression.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "arrays.h"

namespace detection {
namespace {

// Where regions lie: see caffe2_models.detection.regions.Geometry.
struct Geometry {
  const int32_t *image, *down, *across;
  const float *top, *left, *bin_height, *bin_width;
  const float *center_y, *center_x, *cosine, *sine;  // null where nothing is turned
  int rows, columns;
};

void between(float position, int extent, int32_t& low, int32_t& high, float& distance) {
  position = std::min(std::max(position, 0.0f), static_cast<float>(extent));
  low = std::min(static_cast<int32_t>(position), extent - 1);
  const bool last = low >= extent - 1;
  high = last ? low : low + 1;
  distance = last ? 0.0f : position - static_cast<float>(low);
}

Sample sample_at(float y, float x, int height, int width) {
  Sample s{};
  if (y < -1.0f || y > height || x < -1.0f || x > width) return s;
  int32_t top, bottom, left, right;
  float ly, lx;
  between(y, height, top, bottom, ly);
  between(x, width, left, right, lx);
  const float hy = 1.0f - ly, hx = 1.0f - lx;
  s = {{top * width + left, top * width + right, bottom * width + left, bottom * width + right},
       {hy * hx, hy * lx, ly * hx, ly * lx}};
  return s;
}

// The samples of all bins of region n, bin by bin.
void samples_of(const Geometry& g, int64_t n, int height, int width, std::vector<Sample>& samples) {
  const int down = g.down[n], across = g.across[n];
  samples.clear();
  for (int r = 0; r < g.rows; r++) {
    for (int c = 0; c < g.columns; c++) {
      for (int i = 0; i < down; i++) {
        const float yy = (g.top[n] + r * g.bin_height[n]) + (i + 0.5f) * g.bin_height[n] / down;
        for (int j = 0; j < across; j++) {
          const float xx = (g.left[n] + c * g.bin_width[n]) + (j + 0.5f) * g.bin_width[n] / across;
          float y = yy, x = xx;
          if (g.center_y != nullptr) {
            y = yy * g.cosine[n] - xx * g.sine[n] + g.center_y[n];
            x = xx * g.cosine[n] + yy * g.sine[n] + g.center_x[n];
          }
          samples.push_back(sample_at(y, x, height, width));
        }
      }
    }
  }
}

Geometry make_geometry(const Ints& image, const Floats& top, const Floats& left, const Floats& bin_height,
                       const Floats& bin_width, const Ints& down, const Ints& across, const Floats& center_y,
                       const Floats& center_x, const Floats& cosine, const Floats& sine, int rows, int columns) {
  const bool turned = center_y.size() > 0;
  return {image.data(),      down.data(),
          across.data(),     top.data(),
          left.data(),       bin_height.data(),
          bin_width.data(),  turned ? center_y.data() : nullptr,
          turned ? center_x.data() : nullptr, turned ? cosine.data() : nullptr,
          turned ? sine.data() : nullptr,     rows,
          columns};
}

// kChannels planes at a time: their sums do not wait for one another.
template <int kChannels>
void blend_planes(const Sample* s, int64_t bins, int64_t count, const float* pixels, int64_t plane, float divisor,
                  float* out) {
  for (int64_t bin = 0; bin < bins; bin++) {
    float total[kChannels] = {};
    for (int64_t k = 0; k < count; k++, s++) {
      for (int i = 0; i < kChannels; i++) {
        const float* p = pixels + i * plane;
        total[i] += s->weight[0] * p[s->place[0]] + s->weight[1] * p[s->place[1]] + s->weight[2] * p[s->place[2]] +
                    s->weight[3] * p[s->place[3]];
      }
    }
    for (int i = 0; i < kChannels; i++) out[i * bins + bin] = total[i] / divisor;
  }
}

Floats align_regions(const Floats& x, const Ints& image, const Floats& top, const Floats& left,
                     const Floats& bin_height, const Floats& bin_width, const Ints& down, const Ints& across,
                     const Floats& center_y, const Floats& center_x, const Floats& cosine, const Floats& sine,
                     int rows, int columns, bool is_nhwc) {
  const Geometry g = make_geometry(image, top, left, bin_height, bin_width, down, across, center_y, center_x, cosine,
                                   sine, rows, columns);
  const int64_t regions = image.size(), channels = x.shape(is_nhwc ? 3 : 1);
  const int height = static_cast<int>(x.shape(is_nhwc ? 1 : 2)), width = static_cast<int>(x.shape(is_nhwc ? 2 : 3));
  const int64_t plane = static_cast<int64_t>(height) * width, bins = static_cast<int64_t>(rows) * columns;
  Floats result(is_nhwc ? std::vector<py::ssize_t>{regions, rows, columns, channels}
                        : std::vector<py::ssize_t>{regions, channels, rows, columns});
  std::vector<Sample> samples;
  const auto blend = loops().blend;
  for (int64_t n = 0; n < regions; n++) {
    const int64_t count = static_cast<int64_t>(g.down[n]) * g.across[n];
    const float divisor = static_cast<float>(std::max<int64_t>(count, 1));
    samples_of(g, n, height, width, samples);
    const Sample* s = samples.data();
    const float* pixels = x.data() + g.image[n] * plane * channels;
    float* out = result.mutable_data() + n * bins * channels;
    if (is_nhwc) {
      for (int64_t bin = 0; bin < bins; bin++)
        blend(s + bin * count, count, pixels, channels, divisor, out + bin * channels);
      continue;
    }
    int64_t i = 0;
    for (; i + 4 <= channels; i += 4)
      blend_planes<4>(s, bins, count, pixels + i * plane, plane, divisor, out + i * bins);
    for (; i < channels; i++)
      blend_planes<1>(s, bins, count, pixels + i * plane, plane, divisor, out + i * bins);
  }
  return result;
}

// acc * multiplier / 2^(31 + shift), rounded twice, ties away from zero.
int64_t multiply(int32_t acc, int32_t multiplier, int shift) {
  const int64_t product = static_cast<int64_t>(acc) * multiplier;
  const int64_t high = (product + (product >= 0 ? int64_t{1} << 30 : 1 - (int64_t{1} << 30))) / (int64_t{1} << 31);
  const int64_t mask = (int64_t{1} << shift) - 1, rest = (high & mask) - (high < 0);
  return (high >> shift) + (rest > (mask >> 1));
}

// Bytes with the output's zero point; each region has a multiplier, and a shift of at most 62.
Bytes align_byte_regions(const Bytes& x, int zero_point, const Ints& image, const Floats& top, const Floats& left,
                         const Floats& bin_height, const Floats& bin_width, const Ints& down, const Ints& across,
                         const Floats& center_y, const Floats& center_x, const Floats& cosine, const Floats& sine,
                         int rows, int columns, const Ints& multipliers, const Ints& shifts, int y_zero_point) {
  const Geometry g = make_geometry(image, top, left, bin_height, bin_width, down, across, center_y, center_x, cosine,
                                   sine, rows, columns);
  const int64_t regions = image.size(), channels = x.shape(3), bins = static_cast<int64_t>(rows) * columns;
  const int height = static_cast<int>(x.shape(1)), width = static_cast<int>(x.shape(2));
  Bytes result(std::vector<py::ssize_t>{regions, rows, columns, channels});
  uint8_t* out = result.mutable_data();
  std::vector<Sample> samples;
  std::vector<ByteSample> bytes;
  std::vector<uint32_t> sums(static_cast<size_t>(channels));  // they may wrap, as Caffe2's do
  const auto blend = loops().blend_bytes;
  for (int64_t n = 0; n < regions; n++) {
    const int64_t count = static_cast<int64_t>(g.down[n]) * g.across[n];
    samples_of(g, n, height, width, samples);
    bytes.resize(samples.size());
    for (size_t k = 0; k < samples.size(); k++) {
      for (int q = 0; q < 4; q++) {
        bytes[k].place[q] = samples[k].place[q];
        bytes[k].weight[q] = static_cast<uint16_t>(std::nearbyintf(samples[k].weight[q] * 255.0f));
      }
    }
    const uint8_t* pixels = x.data() + static_cast<int64_t>(g.image[n]) * height * width * channels;
    const uint32_t start = static_cast<uint32_t>(-255 * zero_point * count);
    for (int64_t bin = 0; bin < bins; bin++, out += channels) {
      blend(bytes.data() + bin * count, count, pixels, channels, start, sums.data());
      for (int64_t i = 0; i < channels; i++) {
        const int64_t y = multiply(static_cast<int32_t>(sums[static_cast<size_t>(i)]), multipliers.data()[n],
                                   shifts.data()[n]) + y_zero_point;
        out[i] = static_cast<uint8_t>(std::clamp<int64_t>(y, 0, 255));
      }
    }
  }
  return result;
}

}  // namespace

void define_regions(py::module_& module) {
  module.def("align_regions", &align_regions);
  module.def("align_byte_regions", &align_byte_regions);
}

}  // namespace detection
