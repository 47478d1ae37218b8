// Requantization: its constants, and whether the float32 form gives the same bytes.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "int8.h"

namespace int8 {
namespace {

// n of the exact form, before the zero point.
int64_t exact(int64_t acc, const Requantization& r) {
  return (acc * r.multiplier + (acc < 0 ? r.rounding_negative : r.rounding)) >> r.shift;
}

// n of the float32 forms, as the vector instructions compute it. acc * scale must be far within int32.
int64_t rounded_once(int64_t acc, const Requantization& r) {
  const float x = static_cast<float>(static_cast<int32_t>(acc));
  if (r.form == Rounding::kFloatRelu)
    return static_cast<int64_t>(std::trunc(std::fma(x, r.scale, r.offset))) - r.zero_point;
  return static_cast<int64_t>(std::trunc(std::fma(x, r.scale, std::copysign(r.offset, x))));
}

// Accumulators at which the output steps up: threshold[i] is the smallest whose n is at least least + i.
// Steps that no int32 reaches are left out.
struct Steps {
  int64_t least;
  std::vector<int64_t> thresholds;
};

Steps find_steps(const Requantization& r) {
  Steps steps{r.lowest + 1 - r.zero_point, {}};
  int64_t low = INT32_MIN;
  for (int64_t n = steps.least; n <= 255 - r.zero_point; n++) {
    if (exact(low, r) >= n) {  // reached by every int32: there is no step to get wrong
      steps.least = n + 1;
      continue;
    }
    int64_t below = low, reached = INT32_MAX;
    if (exact(reached, r) < n) break;
    while (reached - below > 1) {
      const int64_t middle = below + (reached - below) / 2;
      (exact(middle, r) >= n ? reached : below) = middle;
    }
    steps.thresholds.push_back(reached);
    low = below;
  }
  return steps;
}

bool same_steps(const Steps& steps, const Requantization& r) {
  int64_t n = steps.least;
  for (const int64_t threshold : steps.thresholds) {
    if (rounded_once(threshold, r) < n || rounded_once(threshold - 1, r) >= n) return false;
    n++;
  }
  return true;
}

// float32's rounding of acc * scale can hide on which side of a step an accumulator lies. A slightly
// different offset or scale often puts all steps right again, as each has some room: up to one accumulator.
Requantization fit_float(const Requantization& exact, float scale) {
  if (scale > 0.99f) return exact;  // acc * scale must not reach 2^31
  const Steps steps = find_steps(exact);
  Requantization r = exact;
  r.form = r.lowest >= r.zero_point ? Rounding::kFloatRelu : Rounding::kFloat;
  double offset = std::ldexp(static_cast<double>(r.rounding), -r.shift);
  if (r.form == Rounding::kFloatRelu) offset += r.zero_point;
  for (int ulps = 0; ulps <= 4; ulps++)
    for (const float direction : {0.0f, 1.0f}) {
      r.scale = scale;
      for (int i = 0; i < ulps; i++) r.scale = std::nextafter(r.scale, direction);
      for (int step = 0; step <= 40; step++)
        for (const int sign : {1, -1}) {
          r.offset = static_cast<float>(offset + sign * step * 0x1p-20);
          if (same_steps(steps, r)) return r;
        }
    }
  return exact;
}

}  // namespace

Requantization make_requantization(float scale, int32_t zero_point, int32_t lowest) {
  if (!(scale >= 0x1p-32f && scale < 1)) throw std::invalid_argument("a scale outside [2^-32, 1)");
  if (zero_point < 0 || zero_point > 255 || lowest < 0 || lowest > 255)
    throw std::invalid_argument("a zero point outside 0...255");
  uint32_t bits;
  std::memcpy(&bits, &scale, sizeof bits);
  const int32_t shift =
      126 - static_cast<int32_t>(bits >> 23);  // QNNPACK's second, after 31 bits with a multiplier of 31
  Requantization r{};
  r.form = Rounding::kExact;
  r.multiplier = static_cast<int32_t>((bits & 0x7FFFFF) | 0x800000);
  r.shift = 24 + shift;
  r.rounding = r.rounding_negative = int64_t{1} << 23;
  if (shift > 0) {
    r.rounding += int64_t{1} << (23 + shift);
    r.rounding_negative = r.rounding - (int64_t{1} << 24);
  }
  r.zero_point = zero_point;
  r.lowest = lowest;
  return fit_float(r, scale);
}

uint8_t requantize(int32_t acc, const Requantization& r) {
  return static_cast<uint8_t>(std::clamp<int64_t>(exact(acc, r) + r.zero_point, r.lowest, 255));
}

std::vector<const Kernels*> supported_kernels() {
  std::vector<const Kernels*> found;
  for (const Kernels* kernels : {
#if defined(IS_X86)
           &avx512vnni, &avxvnni, &avx2,
#elif defined(IS_ARM)
           &neon_i8mm, &neon_dot, &neon,
#endif
           &portable})
    if (kernels->supported()) found.push_back(kernels);
  return found;
}

}  // namespace int8
