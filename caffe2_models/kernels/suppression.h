// Non-maximum suppression and regions of images: what detection.cpp gives Python.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace detection {

// Boxes (x1, y1, x2, y2) or, rotated, (center x, center y, width, height, degrees), `pitch` floats apart.
struct Boxes {
  const float* data;
  int64_t pitch;
  bool rotated, plus_one;
};

// Indices of the boxes that stay, at most `limit` (all where negative), taken in the given order.
std::vector<int32_t> suppress(const Boxes& boxes, const std::vector<int32_t>& order, float threshold, int64_t limit);

struct Softness {
  float threshold, sigma, least;
  int method;  // 0 hard, 1 linear, 2 Gaussian
};

// The same, softly: `scores`, `pitch` floats apart, are lowered.
std::vector<int32_t> suppress_softly(const Boxes& boxes, float* scores, int64_t pitch,
                                     std::vector<int32_t> pending, const Softness& soft);

// A point of an image between four pixels.
struct Sample {
  int32_t place[4];
  float weight[4];
};

struct ByteSample {
  int32_t place[4];
  uint16_t weight[4];  // of 255
};

// The loops of detection_loops.h, for one instruction set.
struct Loops {
  // Which of `count` boxes, given column by column (x1, y1, x2, y2, area), stay beside the first of them.
  void (*stay_beside_first)(const std::array<const float*, 5>& columns, float one, float threshold, size_t count,
                            int32_t* stays);
  // The mean of samples of NHWC pixels; the sum of samples of bytes, and `start`.
  void (*blend)(const Sample* samples, int64_t count, const float* pixels, int64_t channels, float divisor,
                float* out);
  void (*blend_bytes)(const ByteSample* samples, int64_t count, const uint8_t* pixels, int64_t channels,
                      uint32_t start, uint32_t* out);
};

const Loops& loops();  // the fastest of this machine

}  // namespace detection
