#include "suppression.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

namespace detection {
namespace {

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

// ------------------------------------------------------------------------------------------- overlap

const float* at(const Boxes& boxes, int32_t i) { return boxes.data + i * boxes.pitch; }

float area_of(const Boxes& boxes, const float* box) {
  if (boxes.rotated) return box[2] * box[3];
  const float one = boxes.plus_one ? 1.0f : 0.0f;
  return (box[2] - box[0] + one) * (box[3] - box[1] + one);
}

// Some of the boxes, by their position among these, with what an overlap takes of each.
class Overlaps {
 public:
  Overlaps(const Boxes& boxes, const std::vector<int32_t>& chosen) : boxes_(boxes) {
    for (const int32_t i : chosen) {
      const float* box = at(boxes, i);
      data_.push_back(box);
      areas_.push_back(area_of(boxes, box));
      if (boxes.rotated) corners_.push_back(corners_of(box));
    }
  }

  // Intersection over union.
  float operator()(size_t i, size_t j) const {
    const float *a = data_[i], *b = data_[j];
    float shared;
    if (boxes_.rotated) {
      shared = shared_area(corners_[i], corners_[j], a, b);
    } else {
      const float one = boxes_.plus_one ? 1.0f : 0.0f;
      const float w = std::max(std::min(b[2], a[2]) - std::max(b[0], a[0]) + one, 0.0f);
      const float h = std::max(std::min(b[3], a[3]) - std::max(b[1], a[1]) + one, 0.0f);
      shared = w * h;
    }
    return shared / (areas_[i] + areas_[j] - shared);
  }

 private:
  Boxes boxes_;
  std::vector<const float*> data_;
  std::vector<float> areas_;
  std::vector<Corners> corners_;
};

// Of upright boxes: several are compared at a time.
std::vector<int32_t> suppress_upright(const Boxes& boxes, const std::vector<int32_t>& order, float threshold,
                                      int64_t limit) {
  size_t pending = order.size();
  std::vector<int32_t> index(order), stays(pending), places(pending), kept;
  std::vector<float> values(5 * pending);
  std::array<float*, 5> columns;
  for (size_t c = 0; c < 5; c++) columns[c] = values.data() + c * pending;
  for (size_t k = 0; k < pending; k++) {
    const float* box = at(boxes, index[k]);
    for (size_t c = 0; c < 4; c++) columns[c][k] = box[c];
    columns[4][k] = area_of(boxes, box);
  }
  const std::array<const float*, 5> seen{columns[0], columns[1], columns[2], columns[3], columns[4]};
  const auto stay = loops().stay_beside_first;
  while (pending > 0 && (limit < 0 || static_cast<int64_t>(kept.size()) < limit)) {
    kept.push_back(index[0]);
    stay(seen, boxes.plus_one ? 1.0f : 0.0f, threshold, pending, stays.data());
    size_t left = 0;
    for (size_t k = 1; k < pending; k++) {
      places[left] = static_cast<int32_t>(k);
      left += static_cast<size_t>(stays[k]);
    }
    const auto keep = [&places, left](auto* moved) {
      for (size_t i = 0; i < left; i++) moved[i] = moved[places[i]];
    };
    for (float* column : columns) keep(column);
    keep(index.data());
    pending = left;
  }
  return kept;
}

enum Method { HARD = 0, LINEAR = 1, GAUSSIAN = 2 };

float weight(float overlap, const Softness& soft) {
  if (soft.method == GAUSSIAN) return static_cast<float>(std::exp(-1.0 * overlap * overlap / soft.sigma));
  if (!(overlap > soft.threshold)) return 1.0f;
  return soft.method == LINEAR ? 1.0f - overlap : 0.0f;
}

}  // namespace

std::vector<int32_t> suppress(const Boxes& boxes, const std::vector<int32_t>& order, float threshold,
                              int64_t limit) {
  if (!boxes.rotated) return suppress_upright(boxes, order, threshold, limit);
  const Overlaps overlap(boxes, order);
  std::vector<size_t> pending(order.size());
  for (size_t k = 0; k < pending.size(); k++) pending[k] = k;
  std::vector<int32_t> kept;
  while (!pending.empty() && (limit < 0 || static_cast<int64_t>(kept.size()) < limit)) {
    const size_t chosen = pending[0];
    kept.push_back(order[chosen]);
    size_t left = 0;
    for (size_t k = 1; k < pending.size(); k++) {
      const size_t other = pending[k];
      pending[left] = other;
      left += overlap(chosen, other) <= threshold;
    }
    pending.resize(left);
  }
  return kept;
}

std::vector<int32_t> suppress_softly(const Boxes& boxes, float* scores, int64_t pitch,
                                     std::vector<int32_t> candidates, const Softness& soft) {
  const Overlaps overlap(boxes, candidates);
  const auto score = [&](size_t k) -> float& { return scores[candidates[k] * pitch]; };
  std::vector<size_t> pending(candidates.size());
  for (size_t k = 0; k < pending.size(); k++) pending[k] = k;
  std::vector<int32_t> kept;
  while (!pending.empty()) {
    const auto best = std::max_element(pending.begin(), pending.end(),
                                       [&](size_t a, size_t b) { return score(a) < score(b); });
    std::swap(pending[0], *best);
    const size_t chosen = pending[0];
    kept.push_back(candidates[chosen]);
    size_t left = 0;
    for (size_t k = 1; k < pending.size(); k++) {
      const size_t other = pending[k];
      score(other) *= weight(overlap(chosen, other), soft);
      pending[left] = other;
      left += score(other) >= soft.least;
    }
    pending.resize(left);
  }
  return kept;
}

}  // namespace detection
