#include "detection.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include <pybind11/stl.h>

#include "arrays.h"
#include "boxes.h"
#include "suppression.h"

namespace detection {
namespace {

// ------------------------------------------------------------------------------------------- order

// Indices of the keys, highest first, all or (if not negative) the `count` highest.
std::vector<int32_t> ordered(const std::vector<float>& keys, int64_t count) {
  std::vector<int32_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  const auto before = [key = keys.data()](int32_t a, int32_t b) { return key[a] > key[b]; };
  if (count < 0 || count >= static_cast<int64_t>(keys.size())) {
    std::sort(order.begin(), order.end(), before);
  } else {
    std::partial_sort(order.begin(), order.begin() + count, order.end(), before);
    order.resize(static_cast<size_t>(count));
  }
  return order;
}

// No number counts as the lowest.
float key_of(float score) { return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score; }

Ints descending(const Floats& scores, int64_t count) {
  std::vector<float> keys(static_cast<size_t>(scores.size()));
  std::transform(scores.data(), scores.data() + scores.size(), keys.begin(), key_of);
  return to_array(ordered(keys, count));
}

// ------------------------------------------------------------------------------------------- suppression

Ints suppress_boxes(const Floats& boxes, const Ints& order, float threshold, int64_t limit, bool plus_one) {
  const Boxes all{boxes.data(), boxes.shape(1), boxes.shape(1) == 5, plus_one};
  return to_array(suppress(all, {order.data(), order.data() + order.size()}, threshold, limit));
}

py::tuple suppress_boxes_softly(const Floats& boxes, const Floats& before, const Ints& candidates, float threshold,
                                float sigma, float least, int method, bool plus_one) {
  const Boxes all{boxes.data(), boxes.shape(1), boxes.shape(1) == 5, plus_one};
  Floats scores(before.size(), before.data());
  const std::vector<int32_t> pending(candidates.data(), candidates.data() + candidates.size());
  const auto kept = suppress_softly(all, scores.mutable_data(), 1, pending, {threshold, sigma, least, method});
  return py::make_tuple(to_array(kept), scores);
}

// ------------------------------------------------------------------------------------------- boxes

Rules make_rules(bool plus_one, bool rotated, const std::optional<std::array<int, 2>>& bounds, float clip_angle) {
  const std::array<int, 2> b = bounds.value_or(std::array<int, 2>{0, 0});
  return {plus_one, rotated, bounds.has_value(), static_cast<float>(b[0]), static_cast<float>(b[1]), clip_angle};
}

// counts: regions of each image, whose rows of images are (height, width, scale).
Floats transform_boxes(const Floats& rois, const Floats& deltas, const Floats& images, const Longs& counts,
                       std::array<float, 4> weights, bool apply_scale, bool plus_one, bool rotated,
                       const std::optional<std::array<int, 2>>& bounds, float clip_angle) {
  const Rules rules = make_rules(plus_one, rotated, bounds, clip_angle);
  const Transform transform(rules, weights);
  const int size = rules.size();
  const int64_t pitch = rois.shape(1), classes = deltas.shape(1) / size;
  Floats result(std::vector<py::ssize_t>{deltas.shape(0), deltas.shape(1)});
  const float *roi = rois.data() + pitch - size, *delta = deltas.data(), *image = images.data();
  float* out = result.mutable_data();
  for (int64_t i = 0; i < images.shape(0); i++, image += 3) {
    const float scale = image[2], factor = apply_scale ? scale : 1.0f;
    const int height = static_cast<int>(image[0] / scale + 0.5), width = static_cast<int>(image[1] / scale + 0.5);
    for (int64_t n = 0; n < counts.data()[i]; n++, roi += pitch) {
      std::array<float, 5> box{};
      for (int k = 0; k < size; k++) box[static_cast<size_t>(k)] = k < 4 ? roi[k] / scale : roi[k];
      for (int64_t j = 0; j < classes; j++, delta += size, out += size) {
        transform(box.data(), delta, 1, out);
        transform.clip(out, height, width);
        for (int k = 0; k < 4; k++) out[k] *= factor;
      }
    }
  }
  return result;
}

// ------------------------------------------------------------------------------------------- proposals

struct Proposals {
  int64_t before, after;  // suppression, at most so many an image; all where not positive
  float stride, threshold;
  double least;  // pixels of a side, of the unscaled image
};

// Those of one image: appends regions and scores.
void propose(const Proposals& p, const Rules& rules, int64_t image, const float* scores, const float* deltas,
             const float* info, const Floats& anchors, int64_t height, int64_t width, std::vector<float>& regions,
             std::vector<float>& probabilities) {
  const int64_t count = anchors.shape(0), plane = height * width;
  const int size = rules.size();
  std::vector<float> keys(static_cast<size_t>(count * plane));
  std::transform(scores, scores + count * plane, keys.begin(), key_of);
  const std::vector<int32_t> order = ordered(keys, p.before > 0 ? p.before : -1);
  const Transform transform(rules, {1.0f, 1.0f, 1.0f, 1.0f});
  const float least = static_cast<float>(p.least * static_cast<double>(info[2]));
  const int image_height = static_cast<int>(info[0]), image_width = static_cast<int>(info[1]);
  std::vector<float> boxes(order.size() * static_cast<size_t>(size));
  std::vector<int32_t> large;
  for (size_t k = 0; k < order.size(); k++) {
    const int64_t anchor = order[k] / plane, pixel = order[k] % plane;
    const float down = static_cast<float>(pixel / width) * p.stride;
    const float across = static_cast<float>(pixel % width) * p.stride;
    std::array<float, 5> moved{};
    std::copy_n(anchors.data() + anchor * size, size, moved.begin());
    for (size_t i = 0; i < (rules.rotated ? 2 : 4); i++) moved[i] += i % 2 == 0 ? across : down;
    float* box = boxes.data() + k * static_cast<size_t>(size);
    transform(moved.data(), deltas + anchor * size * plane + pixel, plane, box);
    transform.clip(box, image_height, image_width);
    if (transform.is_large_enough(box, least, info[0], info[1])) large.push_back(static_cast<int32_t>(k));
  }
  const Boxes all{boxes.data(), size, rules.rotated, rules.plus_one};
  for (const int32_t k : suppress(all, large, p.threshold, p.after > 0 ? p.after : -1)) {
    regions.push_back(static_cast<float>(image));
    regions.insert(regions.end(), boxes.begin() + int64_t{k} * size, boxes.begin() + (int64_t{k} + 1) * size);
    probabilities.push_back(scores[order[static_cast<size_t>(k)]]);
  }
}

py::tuple generate_proposals(const Floats& scores, const Floats& deltas, const Floats& info, const Floats& anchors,
                             int64_t before, int64_t after, float stride, float threshold, double least,
                             bool plus_one, const std::optional<std::array<int, 2>>& bounds, float clip_angle) {
  const int64_t images = scores.shape(0), height = scores.shape(2), width = scores.shape(3);
  const Rules rules = make_rules(plus_one, anchors.shape(1) == 5, bounds, clip_angle);
  const int64_t each = anchors.shape(0) * height * width;
  std::vector<float> regions, probabilities;
  for (int64_t i = 0; i < images; i++) {
    propose({before, after, stride, threshold, least}, rules, i, scores.data() + i * each,
            deltas.data() + i * each * rules.size(), info.data() + 3 * i, anchors, height, width, regions,
            probabilities);
  }
  return py::make_tuple(to_rows(regions, rules.size() + 1), to_array(probabilities));
}

// ------------------------------------------------------------------------------------------- detections

struct Limits {
  float least_score, threshold;
  int64_t detections;    // of an image, all where not positive
  bool is_soft;
  Softness soft;
  bool rotated, plus_one;
  bool shares_boxes;     // of all classes
  bool has_background;   // among the columns; else the classes from 1 on stand there
  bool names_background; // the classes found count from it
};

struct Detections {
  std::vector<float> scores, boxes, classes;
  std::vector<int32_t> rows, sizes;
};

// Those of one image: rows of scores and boxes.
void detect(const Limits& limits, const float* scores, const float* boxes, int64_t rows, int64_t classes,
            int64_t pitch, Detections& found) {
  const int size = limits.rotated ? 5 : 4;
  const auto column = [&](int64_t j) { return limits.has_background ? j : j - 1; };
  const auto boxes_of = [&](int64_t j) { return boxes + (limits.shares_boxes ? 0 : column(j) * size); };
  std::vector<float> lowered(scores, scores + rows * classes);
  std::vector<std::vector<int32_t>> kept(static_cast<size_t>(classes));
  for (int64_t n = 0; n < rows; n++)
    for (int64_t j = 1; j < classes; j++)
      if (scores[n * classes + column(j)] > limits.least_score)
        kept[static_cast<size_t>(j)].push_back(static_cast<int32_t>(n));
  int64_t total = 0;
  for (int64_t j = 1; j < classes; j++) {
    std::vector<int32_t>& candidates = kept[static_cast<size_t>(j)];
    if (candidates.empty()) continue;
    const Boxes all{boxes_of(j), pitch, limits.rotated, limits.plus_one};
    if (limits.is_soft) {
      candidates = suppress_softly(all, lowered.data() + column(j), classes, candidates, limits.soft);
    } else {
      std::vector<float> keys;
      for (const int32_t n : candidates) keys.push_back(scores[n * classes + column(j)]);
      std::vector<int32_t> order;
      for (const int32_t k : ordered(keys, -1)) order.push_back(candidates[static_cast<size_t>(k)]);
      candidates = suppress(all, order, limits.threshold, limits.detections > 0 ? limits.detections : -1);
    }
    total += static_cast<int64_t>(candidates.size());
  }
  if (limits.detections > 0 && total > limits.detections) {  // the best of all classes
    std::vector<float> keys;
    std::vector<int32_t> all_rows, owners;
    for (int64_t j = 1; j < classes; j++) {
      for (const int32_t n : kept[static_cast<size_t>(j)]) {
        keys.push_back(key_of(lowered[static_cast<size_t>(n * classes + column(j))]));
        all_rows.push_back(n);
        owners.push_back(static_cast<int32_t>(j));
      }
      kept[static_cast<size_t>(j)].clear();
    }
    std::vector<int32_t> best = ordered(keys, -1);
    best.resize(static_cast<size_t>(limits.detections));
    for (const int32_t k : best) {
      const auto at = static_cast<size_t>(k);
      kept[static_cast<size_t>(owners[at])].push_back(all_rows[at]);
    }
  }
  for (int64_t j = 0; j < classes; j++) {
    const std::vector<int32_t>& of_class = kept[static_cast<size_t>(j)];
    for (const int32_t n : of_class) {
      found.scores.push_back(lowered[static_cast<size_t>(n * classes + column(j))]);
      const float* box = boxes_of(j) + n * pitch;
      found.boxes.insert(found.boxes.end(), box, box + size);
      found.classes.push_back(static_cast<float>(j - (limits.names_background ? 0 : 1)));
      found.rows.push_back(n);
    }
    found.sizes.push_back(static_cast<int32_t>(of_class.size()));
  }
}

// counts: rows of each image. Gives (scores, boxes, classes, rows, detections of each image and class).
py::tuple limit_detections(const Floats& scores, const Floats& boxes, const Longs& counts, float least_score,
                           float threshold, int64_t detections, bool is_soft, float sigma, float least, int method,
                           bool rotated, bool plus_one, bool shares_boxes, bool has_background,
                           bool names_background) {
  const Limits limits{least_score,  threshold, detections, is_soft,      {threshold, sigma, least, method},
                      rotated,      plus_one,  shares_boxes, has_background, names_background};
  const int64_t classes = scores.shape(1), pitch = boxes.shape(1);
  const float *score = scores.data(), *box = boxes.data();
  Detections found;
  for (int64_t i = 0; i < counts.size(); i++) {
    const int64_t rows = counts.data()[i];
    detect(limits, score, box, rows, classes, pitch, found);
    score += rows * classes;
    box += rows * pitch;
  }
  Ints sizes(std::vector<py::ssize_t>{counts.size(), classes}, found.sizes.data());
  return py::make_tuple(to_array(found.scores), to_rows(found.boxes, rotated ? 5 : 4), to_array(found.classes),
                        to_array(found.rows), sizes);
}

// ------------------------------------------------------------------------------------------- pyramids

// The `count` best regions of all levels (all where not positive); of equal scores the first.
Floats collect_regions(const std::vector<Floats>& levels, const std::vector<Floats>& scores, int64_t count) {
  struct Region {
    float key;
    int32_t place;  // among all
    const float* row;
  };
  std::vector<Region> found;
  for (size_t level = 0; level < levels.size(); level++) {
    const float *row = levels[level].data(), *score = scores[level].data();
    for (int64_t n = 0; n < levels[level].shape(0); n++, row += 5)
      found.push_back({key_of(score[n]), static_cast<int32_t>(found.size()), row});
  }
  const auto before = [](const Region& a, const Region& b) {
    return a.key > b.key || (a.key == b.key && a.place < b.place);
  };
  if (count > 0 && count < static_cast<int64_t>(found.size())) {
    std::nth_element(found.begin(), found.begin() + count, found.end(), before);
    found.resize(static_cast<size_t>(count));
  }
  std::sort(found.begin(), found.end(), before);
  Floats result(std::vector<py::ssize_t>{static_cast<py::ssize_t>(found.size()), 5});
  float* out = result.mutable_data();
  for (const Region& region : found) out = std::copy_n(region.row, 5, out);
  return result;
}

// Regions by level, each within 0...count - 1; then the order that undoes it.
py::list distribute_regions(const Floats& regions, const Ints& levels, int count) {
  std::vector<std::vector<float>> parts(static_cast<size_t>(count));
  std::vector<int32_t> starts(static_cast<size_t>(count) + 1), restore;
  const int64_t size = regions.shape(0), columns = regions.shape(1);
  for (int64_t n = 0; n < size; n++) starts[static_cast<size_t>(levels.data()[n]) + 1]++;
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  for (int64_t n = 0; n < size; n++) {
    const auto level = static_cast<size_t>(levels.data()[n]);
    const float* region = regions.data() + n * columns;
    parts[level].insert(parts[level].end(), region, region + columns);
    restore.push_back(starts[level]++);
  }
  py::list result;
  for (const auto& part : parts) result.append(to_rows(part, columns));
  result.append(to_array(restore));
  return result;
}

// Rows of x in the order of the indices, which are within it.
Floats permute_rows(const Floats& x, const Ints& indices) {
  Floats result(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  const auto bytes = static_cast<size_t>(x.shape(0) > 0 ? x.nbytes() / x.shape(0) : 0);
  const char* from = reinterpret_cast<const char*>(x.data());
  char* to = reinterpret_cast<char*>(result.mutable_data());
  for (py::ssize_t i = 0; i < indices.size() && bytes > 0; i++, to += bytes)
    std::memcpy(to, from + static_cast<size_t>(indices.data()[i]) * bytes, bytes);
  return result;
}

// ------------------------------------------------------------------------------------------- keypoints

// (x, y, score, 0) of the keypoint of each heatmap, whose maximum is at `best`, in its box.
Floats refine_keypoints(const Floats& heatmaps, const Longs& best, const Floats& boxes) {
  const int64_t count = heatmaps.shape(0), keypoints = heatmaps.shape(1), size = heatmaps.shape(2);
  Floats result(std::vector<py::ssize_t>{count, 4, keypoints});
  const float* map = heatmaps.data();
  for (int64_t n = 0; n < count; n++) {
    const float* box = boxes.data() + n * boxes.shape(1);
    const float width = std::max(box[2] - box[0], 1.0f), height = std::max(box[3] - box[1], 1.0f);
    float* out = result.mutable_data() + n * 4 * keypoints;
    for (int64_t k = 0; k < keypoints; k++, map += size * size) {
      const int64_t place = best.data()[n * keypoints + k], row = place / size, column = place % size;
      const auto around = [&](int64_t down, int64_t across) {  // mirrored at the border
        int64_t r = row + down, c = column + across;
        r = r < 0 ? r + 2 : r >= size ? r - 2 : r;
        c = c < 0 ? c + 2 : c >= size ? c - 2 : c;
        return map[r * size + c];
      };
      const float score = map[place];
      const float left = around(0, -1), right = around(0, 1), above = around(-1, 0), below = around(1, 0);
      const float bx = -(right - left) * 0.5f, by = -(below - above) * 0.5f;
      const float axx = left - 2.0f * score + right, ayy = above - 2.0f * score + below;
      const float axy = (around(1, 1) - around(1, -1) - around(-1, 1) + around(-1, -1)) * 0.25f;
      const float determinant = axx * ayy - axy * axy;
      float dx = 0.0f, dy = 0.0f, refined = score;
      if (!(std::fabs(determinant) < 1e-4f)) {
        dx = (ayy * bx - axy * by) / determinant;
        dy = (axx * by - axy * bx) / determinant;
        const float longest = std::max(std::fabs(dx), std::fabs(dy));
        const float shrink = longest > 1.5f ? 1.5f / longest : 1.0f;
        dx *= shrink;
        dy *= shrink;
        refined += 0.5f * (dx * (axx * dx + axy * dy) + dy * (axy * dx + ayy * dy)) - (bx * dx + by * dy);
      }
      out[k] = static_cast<float>(box[0] + (0.5 + column + static_cast<double>(dx)) * width / size);
      out[keypoints + k] = static_cast<float>(box[1] + (0.5 + row + static_cast<double>(dy)) * height / size);
      out[2 * keypoints + k] = refined;
      out[3 * keypoints + k] = 0.0f;
    }
  }
  return result;
}

}  // namespace

void define_boxes(py::module_& module) {
  module.def("descending", &descending);
  module.def("suppress", &suppress_boxes);
  module.def("suppress_softly", &suppress_boxes_softly);
  module.def("transform_boxes", &transform_boxes);
  module.def("generate_proposals", &generate_proposals);
  module.def("limit_detections", &limit_detections);
  module.def("collect_regions", &collect_regions);
  module.def("distribute_regions", &distribute_regions);
  module.def("permute_rows", &permute_rows);
  module.def("refine_keypoints", &refine_keypoints);
}

}  // namespace detection
