// NEON with the dot product of Armv8.2: four products of signed bytes for each lane in one instruction.
#include "int8.h"

#ifdef IS_ARM

#include <arm_neon.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

#include "cpu.h"

#ifdef __clang__
BEGIN_TARGET("dotprod")
#else
BEGIN_TARGET("arch=armv8.2-a+dotprod")
#endif

#include "neon.h"

namespace int8 {
namespace {

struct NeonDot : NeonSigned {
  static constexpr Layout kLayout{
      .lanes = kLanes, .max_tile_width = 2, .depth = 4, .row_group = 4, .x_offset = 128};
  static constexpr int rows_of(int width) { return width == 2 ? 6 : 8; }

  // Depthwise: for each lane, four bytes side by side.
  using Inputs = int8x16x2_t;
  using Weights = int8x16x2_t;
  static Inputs load_inputs(const int8_t* p) { return {{vld1q_s8(p), vld1q_s8(p + 16)}}; }
  static Weights load_weights(const int8_t* p) { return load_inputs(p); }
  static Sums dot(Sums sums, Inputs x, Weights w) {
    return {vdotq_s32(sums.low, x.val[0], w.val[0]), vdotq_s32(sums.high, x.val[1], w.val[1])};
  }
  static void interleave(const uint8_t* const rows[4], int8_t* out) {
    const uint8x16x2_t all = interleave_four(rows);
    vst1q_s8(out, centered(all.val[0]));
    vst1q_s8(out + 16, centered(all.val[1]));
  }

  // Convolutions: four bytes of a row are a lane of a register that holds sixteen.
  static constexpr bool kMultiplies = true;
  template <int kRows, int kWidth>
  INLINE_FUNCTION static void multiply(const Runs& runs, const int8_t* const* inputs, const int32_t* bias,
                                       const int8_t* weights, bool, Lanes (&lanes)[kRows][kWidth]) {
    UNROLL
    for (int i = 0; i < kRows; i++) {
      UNROLL
      for (int j = 0; j < kWidth; j++) lanes[i][j] = load_sums(bias + j * kLanes);
    }
    auto four = [&](const int8x16_t (&x)[kRows], auto lane) INLINE {
      UNROLL
      for (int j = 0; j < kWidth; j++) {
        const Weights w = load_weights(weights + 32 * j);
        UNROLL
        for (int i = 0; i < kRows; i++) {
          lanes[i][j].low = vdotq_laneq_s32(lanes[i][j].low, w.val[0], x[i], lane.value);
          lanes[i][j].high = vdotq_laneq_s32(lanes[i][j].high, w.val[1], x[i], lane.value);
        }
      }
      weights += 32 * kWidth;
    };
    int64_t k = 0;
    int8x16_t x[kRows];
    for (; k + 16 <= runs.depth; k += 16) {
      UNROLL
      for (int i = 0; i < kRows; i++) x[i] = vld1q_s8(inputs[i] + k);
      each<4>([&](auto lane) INLINE { four(x, lane); });
    }
    for (; k < runs.depth; k += 4) {
      UNROLL
      for (int i = 0; i < kRows; i++) x[i] = vld1q_s8(inputs[i] + k);
      four(x, std::integral_constant<int, 0>());
    }
  }
};

}  // namespace

constinit const Kernels neon_dot = make_kernels<NeonDot>("neon_dot", has_neon_dot);

}  // namespace int8

END_TARGET

#endif
