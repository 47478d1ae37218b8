// Boxes: what deltas make of them, clipped to the image; see caffe2_models/detection/boxes.py.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace detection {

// expf as the GNU C library computes it (sysdeps/ieee754/flt-32/e_expf.c): 2^(k/32) from a table, the rest a cubic.
class Exponential {
 public:
  Exponential() {
    for (int i = 0; i < kSteps; i++) table_[static_cast<size_t>(i)] = std::exp2(static_cast<double>(i) / kSteps);
  }

  float operator()(float x) const {
    constexpr double kScale = 0x1.71547652b82fep+0 * kSteps;
    constexpr double kRound = 0x1.8p52;  // added and taken away again, it rounds to an integer
    constexpr double n = kSteps, c0 = 0x1.c6af84b912394p-5 / n / n / n, c1 = 0x1.ebfce50fac4f3p-3 / n / n,
                     c2 = 0x1.62e42ff0c52d6p-1 / n;
    double z = x * kScale;
    if (z != z) return x;
    z = z < -160.0 * n ? -160.0 * n : z > 130.0 * n ? 130.0 * n : z;
    const double k = (z + kRound) - kRound, r = z - k;
    const int64_t steps = static_cast<int64_t>(k), whole = steps >> kBits;
    const double power = std::bit_cast<double>((whole + 1023) << 52);
    const double y = (c0 * r + c1) * (r * r) + (c2 * r + 1.0);
    return static_cast<float>(y * (table_[static_cast<size_t>(steps & (kSteps - 1))] * power));
  }

 private:
  static constexpr int kBits = 5, kSteps = 1 << kBits;
  std::array<double, kSteps> table_;
};

struct Rules {
  bool plus_one;         // a side is x2 - x1 + 1 pixels long
  bool rotated;          // (center x, center y, width, height, degrees)
  bool bounded;          // angles are brought into lowest...highest
  float lowest, highest;
  float clip_angle;      // rotated boxes are clipped up to this angle

  float one() const { return plus_one ? 1.0f : 0.0f; }
  int size() const { return rotated ? 5 : 4; }
};

// With NaN in the place of x, NaN.
inline float at_most(float x, float limit) { return x > limit ? limit : x; }
inline float at_least(float x, float limit) { return x < limit ? limit : x; }

class Transform {
 public:
  Transform(const Rules& rules, std::array<float, 4> weights) : rules_(rules), weights_(weights) {}

  // `delta` has its numbers `pitch` apart.
  void operator()(const float* box, const float* delta, int64_t pitch, float* out) const {
    const float dx = delta[0] / weights_[0], dy = delta[pitch] / weights_[1];
    const float dw = at_most(delta[2 * pitch] / weights_[2], kMaxLogScale);
    const float dh = at_most(delta[3 * pitch] / weights_[3], kMaxLogScale);
    if (rules_.rotated) {
      out[0] = dx * box[2] + box[0];
      out[1] = dy * box[3] + box[1];
      out[2] = exp_(dw) * box[2];
      out[3] = exp_(dh) * box[3];
      out[4] = bounded(delta[4 * pitch] * 180.0f / kPi + box[4]);
      return;
    }
    const float one = rules_.one(), w = box[2] - box[0] + one, h = box[3] - box[1] + one;
    const float x = dx * w + (box[0] + 0.5f * w), y = dy * h + (box[1] + 0.5f * h);
    const float width = exp_(dw) * w, height = exp_(dh) * h;
    out[0] = x - 0.5f * width;
    out[1] = y - 0.5f * height;
    out[2] = x + 0.5f * width - one;
    out[3] = y + 0.5f * height - one;
  }

  void clip(float* box, int height, int width) const {
    const float one = rules_.one();
    if (!rules_.rotated) {
      clip_corners(box, height, width);
    } else if (std::fabs(box[4]) <= rules_.clip_angle) {
      const float w = (box[2] - one) / 2.0f, h = (box[3] - one) / 2.0f;
      std::array<float, 4> c{box[0] - w, box[1] - h, box[0] + w, box[1] + h};
      clip_corners(c.data(), height, width);
      box[0] = (c[0] + c[2]) / 2.0f;
      box[1] = (c[1] + c[3]) / 2.0f;
      box[2] = c[2] - c[0] + one;
      box[3] = c[3] - c[1] + one;
    }
  }

  // Whether both sides are at least `least` long and the center lies in the image.
  bool is_large_enough(const float* box, float least, float height, float width) const {
    const float one = rules_.one();
    const float w = rules_.rotated ? box[2] : box[2] - box[0] + one;
    const float h = rules_.rotated ? box[3] : box[3] - box[1] + one;
    const float x = rules_.rotated ? box[0] : box[0] + w / 2.0f, y = rules_.rotated ? box[1] : box[1] + h / 2.0f;
    return w >= least && h >= least && x < width && y < height;
  }

 private:
  static constexpr float kMaxLogScale = 4.135166556742356f;  // log(1000 / 16)
  static constexpr float kPi = 3.14159265358979323846f;

  void clip_corners(float* box, int height, int width) const {
    const int one = rules_.plus_one ? 1 : 0;
    const float right = static_cast<float>(width - one), bottom = static_cast<float>(height - one);
    for (int i = 0; i < 4; i++) box[i] = at_least(at_most(box[i], i % 2 == 0 ? right : bottom), 0.0f);
  }

  float bounded(float angle) const {
    if (!rules_.bounded) return angle;
    const float period = rules_.highest - rules_.lowest;
    return angle < rules_.lowest ? angle + period : angle > rules_.highest ? angle - period : angle;
  }

  Rules rules_;
  std::array<float, 4> weights_;
  Exponential exp_;
};

}  // namespace detection
