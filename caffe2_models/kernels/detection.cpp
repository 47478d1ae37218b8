// What detectors spend their time on beside layers: the order of scores, suppression, regions of interest. Each
// function computes what the Python function of its name in caffe2_models/detection computes, to the bit.

#include "compiler.h"
#include "detection.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Ints = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
using Bytes = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;

Ints to_array(const std::vector<int32_t>& values) {
  Ints array(static_cast<py::ssize_t>(values.size()));
  std::copy(values.begin(), values.end(), array.mutable_data());
  return array;
}

// ------------------------------------------------------------------------------------------- order

// Indices of the keys, highest first, all or the `count` highest. No key is NaN.
Ints descending(const Floats& keys, int64_t count) {
  const float* key = keys.data();
  std::vector<int32_t> order(static_cast<size_t>(keys.size()));
  std::iota(order.begin(), order.end(), 0);
  const auto before = [key](int32_t a, int32_t b) { return key[a] > key[b]; };
  if (count < 0) {
    std::sort(order.begin(), order.end(), before);
  } else {
    std::partial_sort(order.begin(), order.begin() + count, order.end(), before);
    order.resize(static_cast<size_t>(count));
  }
  return to_array(order);
}

// ------------------------------------------------------------------------------------------- rotated boxes

struct Point {
  float x, y;
};

Point operator-(Point a, Point b) { return {a.x - b.x, a.y - b.y}; }
float cross(Point a, Point b) { return a.x * b.y - b.x * a.y; }
float dot(Point a, Point b) { return a.x * b.x + a.y * b.y; }

using Corners = std::array<Point, 4>;

Corners corners_of(const float* box) {
  const double radians = -box[4] * 0.01745329251;
  const float half_cosine = static_cast<float>(std::cos(radians)) * 0.5f;
  const float half_sine = static_cast<float>(std::sin(radians)) * 0.5f;
  const float x = box[0], y = box[1], width = box[2], height = box[3];
  Corners c;
  c[0] = {x - half_sine * height - half_cosine * width, y + half_cosine * height - half_sine * width};
  c[1] = {x + half_sine * height - half_cosine * width, y - half_cosine * height - half_sine * width};
  c[2] = {2 * x - c[0].x, 2 * y - c[0].y};
  c[3] = {2 * x - c[1].x, 2 * y - c[1].y};
  return c;
}

Point side(const Corners& c, int i) { return c[(i + 1) % 4] - c[i]; }

struct Points {
  std::array<Point, 24> at;
  int count = 0;
  void add(Point p) { at[count++] = p; }
};

void add_crossings(const Corners& a, const Corners& b, Points& found) {
  for (int i = 0; i < 4; i++) {
    for (int j = 0; j < 4; j++) {
      const Point u = side(a, i), v = side(b, j), between = b[j] - a[i];
      const float determinant = cross(v, u);
      if (std::fabs(determinant) <= 1e-14f) continue;
      const float along = cross(v, between) / determinant, other = cross(u, between) / determinant;
      if (along >= 0.0f && along <= 1.0f && other >= 0.0f && other <= 1.0f)
        found.add({a[i].x + along * u.x, a[i].y + along * u.y});
    }
  }
}

void add_inside(const Corners& corners, const Corners& box, Points& found) {
  const Point ab = side(box, 0), da = side(box, 3);
  for (const Point corner : corners) {
    const Point ap = corner - box[0];
    const float on_ab = dot(ap, ab), on_ad = -dot(ap, da);
    if (on_ab >= 0 && on_ad >= 0 && on_ab <= dot(ab, ab) && on_ad <= dot(da, da)) found.add(corner);
  }
}

// The area of the points' convex hull, by Graham's scan.
double hull_area(Points& p) {
  int lowest = 0;
  for (int i = 1; i < p.count; i++) {
    if (p.at[i].y < p.at[lowest].y || (p.at[i].y == p.at[lowest].y && p.at[i].x < p.at[lowest].x)) lowest = i;
  }
  const Point origin = p.at[lowest];
  for (int i = 0; i < p.count; i++) p.at[i] = p.at[i] - origin;
  std::swap(p.at[0], p.at[lowest]);
  // As std::sort orders up to 16 elements; the comparison is not transitive.
  const auto before = [](Point a, Point b) {
    const float turn = cross(a, b);
    return std::fabs(turn) < 1e-6 ? dot(a, a) < dot(b, b) : turn > 0;
  };
  for (int i = 2; i < p.count; i++) {
    const Point point = p.at[i];
    const bool is_first = before(point, p.at[1]);
    int hole = i;
    for (; hole > 1 && (is_first || before(point, p.at[hole - 1])); hole--) p.at[hole] = p.at[hole - 1];
    p.at[hole] = point;
  }
  int next = 1;
  while (next < p.count && !(dot(p.at[next], p.at[next]) > 1e-8)) next++;
  if (next == p.count) return 0.0;
  p.at[1] = p.at[next];
  int size = 2;
  for (int i = next + 1; i < p.count; i++) {
    while (size > 1 && cross(p.at[i] - p.at[size - 2], p.at[size - 1] - p.at[size - 2]) >= 0) size--;
    p.at[size++] = p.at[i];
  }
  if (size <= 2) return 0.0;
  double area = 0;
  for (int i = 1; i < size - 1; i++)
    area += std::fabs(cross(p.at[i] - p.at[0], p.at[i + 1] - p.at[0]));
  return area / 2.0;
}

float shared_area(const Corners& a, const Corners& b, const float* box, const float* other) {
  bool same = true;
  for (int i = 0; i < 4; i++)
    same = same && std::fabs(a[i].x - b[i].x) <= 0.00001f && std::fabs(a[i].y - b[i].y) <= 0.00001f;
  if (same) return std::min(box[2] * box[3], other[2] * other[3]);
  Points found;
  add_crossings(a, b, found);
  add_inside(a, b, found);
  add_inside(b, a, found);
  return found.count <= 2 ? 0.0f : static_cast<float>(hull_area(found));
}

// ------------------------------------------------------------------------------------------- suppression

// Boxes column by column, so that one is compared with many at a time.
class Boxes {
 public:
  Boxes(const Floats& boxes, bool plus_one)
      : rotated_(boxes.shape(1) == 5), one_(plus_one ? 1.0f : 0.0f), data_(boxes.data()) {
    const auto count = static_cast<size_t>(boxes.shape(0));
    areas_.resize(count);
    if (rotated_) corners_.resize(count);
    for (size_t i = 0; i < count; i++) {
      const float* box = data_ + i * width();
      areas_[i] = rotated_ ? box[2] * box[3] : (box[2] - box[0] + one_) * (box[3] - box[1] + one_);
      if (rotated_) corners_[i] = corners_of(box);
    }
  }

  // Intersection over union.
  float overlap(int32_t i, int32_t j) const {
    const float *a = data_ + i * width(), *b = data_ + j * width();
    float shared;
    if (rotated_) {
      shared = shared_area(corners_[i], corners_[j], a, b);
    } else {
      const float w = std::max(std::min(b[2], a[2]) - std::max(b[0], a[0]) + one_, 0.0f);
      const float h = std::max(std::min(b[3], a[3]) - std::max(b[1], a[1]) + one_, 0.0f);
      shared = w * h;
    }
    return shared / (areas_[i] + areas_[j] - shared);
  }

 private:
  int64_t width() const { return rotated_ ? 5 : 4; }

  bool rotated_;
  float one_;
  const float* data_;
  std::vector<float> areas_;
  std::vector<Corners> corners_;
};

// By value, so that compilers make vectors of them.
float larger(float a, float b) { return a < b ? b : a; }
float smaller(float a, float b) { return b < a ? b : a; }

// Which of `count` boxes, given column by column (x1, y1, x2, y2, area), stay beside the first of them.
void compare_with_first(const std::array<std::vector<float>, 5>& columns, float one, float threshold, size_t count,
                        int32_t* RESTRICT stays) {
  const float *x1 = columns[0].data(), *y1 = columns[1].data(), *x2 = columns[2].data(), *y2 = columns[3].data();
  const float* area = columns[4].data();
  const float left = x1[0], top = y1[0], right = x2[0], bottom = y2[0], first = area[0];
  for (size_t k = 0; k < count; k++) {
    const float w = larger(smaller(x2[k], right) - larger(x1[k], left) + one, 0.0f);
    const float h = larger(smaller(y2[k], bottom) - larger(y1[k], top) + one, 0.0f);
    const float shared = w * h;
    stays[k] = shared / (first + area[k] - shared) <= threshold ? 1 : 0;
  }
}

// Of upright boxes: several are compared at a time.
Ints suppress_upright(const Floats& boxes, const Ints& order, float threshold, int64_t limit, bool plus_one) {
  const float one = plus_one ? 1.0f : 0.0f;
  size_t pending = static_cast<size_t>(order.size());
  std::vector<int32_t> index(order.data(), order.data() + pending), stays(pending), places(pending), kept;
  std::array<std::vector<float>, 5> columns;
  for (auto& column : columns) column.resize(pending);
  for (size_t k = 0; k < pending; k++) {
    const float* box = boxes.data() + int64_t{4} * index[k];
    for (size_t c = 0; c < 4; c++) columns[c][k] = box[c];
    columns[4][k] = (box[2] - box[0] + one) * (box[3] - box[1] + one);
  }
  while (pending > 0 && (limit < 0 || static_cast<int64_t>(kept.size()) < limit)) {
    kept.push_back(index[0]);
    compare_with_first(columns, one, threshold, pending, stays.data());
    size_t left = 0;
    for (size_t k = 1; k < pending; k++) {
      places[left] = static_cast<int32_t>(k);
      left += static_cast<size_t>(stays[k]);
    }
    const auto keep = [&places, left](auto* values) {
      for (size_t i = 0; i < left; i++) values[i] = values[places[i]];
    };
    for (auto& column : columns) keep(column.data());
    keep(index.data());
    pending = left;
  }
  return to_array(kept);
}

Ints suppress(const Floats& boxes, const Ints& order, float threshold, int64_t limit, bool plus_one) {
  if (boxes.shape(1) == 4) return suppress_upright(boxes, order, threshold, limit, plus_one);
  const Boxes all(boxes, plus_one);
  std::vector<int32_t> pending(order.data(), order.data() + order.size()), kept;
  while (!pending.empty() && (limit < 0 || static_cast<int64_t>(kept.size()) < limit)) {
    const int32_t chosen = pending[0];
    kept.push_back(chosen);
    size_t left = 0;
    for (size_t k = 1; k < pending.size(); k++) {
      const int32_t other = pending[k];
      pending[left] = other;
      left += all.overlap(chosen, other) <= threshold;
    }
    pending.resize(left);
  }
  return to_array(kept);
}

enum Method { HARD = 0, LINEAR = 1, GAUSSIAN = 2 };

float weight(float overlap, float threshold, float sigma, int method) {
  if (method == GAUSSIAN) return static_cast<float>(std::exp(-1.0 * overlap * overlap / sigma));
  if (!(overlap > threshold)) return 1.0f;
  return method == LINEAR ? 1.0f - overlap : 0.0f;
}

py::tuple suppress_softly(const Floats& boxes, const Floats& before, const Ints& candidates, float threshold,
                          float sigma, float least, int method, bool plus_one) {
  const Boxes all(boxes, plus_one);
  Floats scores(before.size());
  float* score = scores.mutable_data();
  std::copy(before.data(), before.data() + before.size(), score);
  std::vector<int32_t> pending(candidates.data(), candidates.data() + candidates.size()), kept;
  while (!pending.empty()) {
    const auto best = std::max_element(pending.begin(), pending.end(),
                                       [score](int32_t a, int32_t b) { return score[a] < score[b]; });
    std::swap(pending[0], *best);
    const int32_t chosen = pending[0];
    kept.push_back(chosen);
    size_t left = 0;
    for (size_t k = 1; k < pending.size(); k++) {
      const int32_t other = pending[k];
      score[other] *= weight(all.overlap(chosen, other), threshold, sigma, method);
      pending[left] = other;
      left += score[other] >= least;
    }
    pending.resize(left);
  }
  return py::make_tuple(to_array(kept), scores);
}

// ------------------------------------------------------------------------------------------- regions

struct Sample {
  int32_t place[4];
  float weight[4];
};

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

Floats align_regions(const Floats& x, const Ints& image, const Floats& top, const Floats& left,
                     const Floats& bin_height, const Floats& bin_width, const Ints& down, const Ints& across,
                     const Floats& center_y, const Floats& center_x, const Floats& cosine, const Floats& sine, int rows,
                     int columns, bool is_nhwc) {
  const Geometry g = make_geometry(image, top, left, bin_height, bin_width, down, across, center_y, center_x, cosine,
                                   sine, rows, columns);
  const int64_t regions = image.size(), channels = x.shape(is_nhwc ? 3 : 1);
  const int height = static_cast<int>(x.shape(is_nhwc ? 1 : 2)), width = static_cast<int>(x.shape(is_nhwc ? 2 : 3));
  const int64_t plane = static_cast<int64_t>(height) * width, bins = static_cast<int64_t>(rows) * columns;
  Floats result(is_nhwc ? std::vector<py::ssize_t>{regions, rows, columns, channels}
                        : std::vector<py::ssize_t>{regions, channels, rows, columns});
  std::vector<Sample> samples;
  for (int64_t n = 0; n < regions; n++) {
    const int64_t count = static_cast<int64_t>(g.down[n]) * g.across[n];
    const float divisor = static_cast<float>(std::max<int64_t>(count, 1));
    samples_of(g, n, height, width, samples);
    const float* pixels = x.data() + g.image[n] * plane * channels;
    float* out = result.mutable_data() + n * bins * channels;
    if (is_nhwc) {
      for (int64_t bin = 0; bin < bins; bin++, out += channels) {
        std::fill(out, out + channels, 0.0f);
        for (int64_t k = bin * count; k < (bin + 1) * count; k++) {
          const Sample& s = samples[k];
          const float *a = pixels + s.place[0] * channels, *b = pixels + s.place[1] * channels,
                      *c = pixels + s.place[2] * channels, *d = pixels + s.place[3] * channels;
          for (int64_t i = 0; i < channels; i++)
            out[i] += s.weight[0] * a[i] + s.weight[1] * b[i] + s.weight[2] * c[i] + s.weight[3] * d[i];
        }
        for (int64_t i = 0; i < channels; i++) out[i] /= divisor;
      }
      continue;
    }
    for (int64_t i = 0; i < channels; i++, pixels += plane) {
      const Sample* s = samples.data();
      for (int64_t bin = 0; bin < bins; bin++) {
        float total = 0.0f;
        for (int64_t k = 0; k < count; k++, s++)
          total += s->weight[0] * pixels[s->place[0]] + s->weight[1] * pixels[s->place[1]] +
                   s->weight[2] * pixels[s->place[2]] + s->weight[3] * pixels[s->place[3]];
        *out++ = total / divisor;
      }
    }
  }
  return result;
}

Ints align_regions_int8(const Bytes& x, int zero_point, const Ints& image, const Floats& top, const Floats& left,
                        const Floats& bin_height, const Floats& bin_width, const Ints& down, const Ints& across,
                        const Floats& center_y, const Floats& center_x, const Floats& cosine, const Floats& sine,
                        int rows, int columns) {
  const Geometry g = make_geometry(image, top, left, bin_height, bin_width, down, across, center_y, center_x, cosine,
                                   sine, rows, columns);
  const int64_t regions = image.size(), channels = x.shape(3);
  const int height = static_cast<int>(x.shape(1)), width = static_cast<int>(x.shape(2));
  Ints result({static_cast<py::ssize_t>(regions), static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(columns),
               static_cast<py::ssize_t>(channels)});
  uint32_t* out = reinterpret_cast<uint32_t*>(result.mutable_data());  // sums may wrap, as Caffe2's do
  std::vector<Sample> samples;
  for (int64_t n = 0; n < regions; n++) {
    const int64_t count = static_cast<int64_t>(g.down[n]) * g.across[n];
    samples_of(g, n, height, width, samples);
    const uint8_t* pixels = x.data() + static_cast<int64_t>(g.image[n]) * height * width * channels;
    const Sample* s = samples.data();
    for (int64_t bin = 0; bin < static_cast<int64_t>(rows) * columns; bin++, out += channels) {
      std::fill(out, out + channels, static_cast<uint32_t>(-255 * zero_point * count));
      for (int64_t k = 0; k < count; k++, s++) {
        uint32_t w[4];
        for (int q = 0; q < 4; q++) w[q] = static_cast<uint32_t>(std::nearbyintf(s->weight[q] * 255.0f));
        const uint8_t *a = pixels + s->place[0] * channels, *b = pixels + s->place[1] * channels,
                      *c = pixels + s->place[2] * channels, *d = pixels + s->place[3] * channels;
        for (int64_t i = 0; i < channels; i++) out[i] += w[0] * a[i] + w[1] * b[i] + w[2] * c[i] + w[3] * d[i];
      }
    }
  }
  return result;
}

}  // namespace

void define_detection(py::module_& module) {
  module.def("descending", &descending);
  module.def("suppress", &suppress);
  module.def("suppress_softly", &suppress_softly);
  module.def("align_regions", &align_regions);
  module.def("align_regions_int8", &align_regions_int8);
}
