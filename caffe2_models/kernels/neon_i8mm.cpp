// NEON with I8MM (Armv8.6): products of 2 x 8 and 8 x 2 bytes in one instruction, unsigned by signed.
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
BEGIN_TARGET("dotprod,i8mm")
#else
BEGIN_TARGET("arch=armv8.2-a+dotprod+i8mm")
#endif

#include "neon.h"

namespace int8 {
namespace {

struct NeonI8mm : NeonVectors {
  static constexpr Layout kLayout{
      .lanes = kLanes, .max_tile_width = 2, .depth = 8, .row_group = 4, .x_offset = 0};
  static constexpr int rows_of(int width) { return width == 2 ? 6 : 8; }
  using Input = uint8_t;
  using Column = uint8_t;
  static constexpr bool kPrepares = false;

  // Depthwise: for each lane, four bytes side by side.
  using Inputs = uint8x16x2_t;
  using Weights = int8x16x2_t;
  static Inputs load_inputs(const uint8_t* p) { return {{vld1q_u8(p), vld1q_u8(p + 16)}}; }
  static Weights load_weights(const int8_t* p) { return {{vld1q_s8(p), vld1q_s8(p + 16)}}; }
  static Sums dot(Sums sums, Inputs x, Weights w) {
    return {vusdotq_s32(sums.low, x.val[0], w.val[0]), vusdotq_s32(sums.high, x.val[1], w.val[1])};
  }
  static uint8_t column_of(uint8_t byte) { return byte; }
  static void interleave(const uint8_t* const rows[4], uint8_t* out) {
    const uint8x16x2_t all = interleave_four(rows);
    vst1q_u8(out, all.val[0]);
    vst1q_u8(out + 16, all.val[1]);
  }

  // Convolutions: two rows and two lanes at a time, eight bytes of each. A register of sums holds
  // {first row, second row} x {even lane, odd lane}.
  static constexpr bool kMultiplies = true;
  template <int kRows, int kWidth>
  INLINE_FUNCTION static void multiply(const Runs& runs, const uint8_t* const* inputs, const int32_t* bias,
                                       const int8_t* weights, bool, Lanes (&lanes)[kRows][kWidth]) {
    constexpr int kPairs = (kRows + 1) / 2, kLanePairs = kWidth * kLanes / 2;
    int32x4_t sums[kPairs][kLanePairs];
    UNROLL
    for (int j = 0; j < kLanePairs; j++) {
      const int32x2_t both = vld1_s32(bias + 2 * j);
      UNROLL
      for (int i = 0; i < kPairs; i++) sums[i][j] = vcombine_s32(both, both);
    }
    auto eight = [&](const uint8x16_t (&x)[kPairs]) INLINE {
      UNROLL
      for (int j = 0; j < kLanePairs; j++) {
        const int8x16_t w = vld1q_s8(weights + 16 * j);
        UNROLL
        for (int i = 0; i < kPairs; i++) sums[i][j] = vusmmlaq_s32(sums[i][j], x[i], w);
      }
      weights += 16 * kLanePairs;
    };
    constexpr auto second = [](int pair) { return std::min(2 * pair + 1, kRows - 1); };
    for (const int64_t offset : runs.offsets) {
      int64_t k = 0;
      for (; k + 16 <= runs.depth; k += 16) {
        uint8x16_t x[kPairs], next[kPairs];
        UNROLL
        for (int i = 0; i < kPairs; i++) {
          const uint64x2_t a = vreinterpretq_u64_u8(vld1q_u8(inputs[2 * i] + offset + k)),
                           b = vreinterpretq_u64_u8(vld1q_u8(inputs[second(i)] + offset + k));
          x[i] = vreinterpretq_u8_u64(vzip1q_u64(a, b));
          next[i] = vreinterpretq_u8_u64(vzip2q_u64(a, b));
        }
        eight(x);
        eight(next);
      }
      for (; k < runs.depth; k += 8) {
        uint8x16_t x[kPairs];
        UNROLL
        for (int i = 0; i < kPairs; i++)
          x[i] = vcombine_u8(vld1_u8(inputs[2 * i] + offset + k), vld1_u8(inputs[second(i)] + offset + k));
        eight(x);
      }
    }
    auto row_of = [&](int row, int quad) INLINE {  // four lanes of one row
      const int64x2_t a = vreinterpretq_s64_s32(sums[row / 2][2 * quad]),
                      b = vreinterpretq_s64_s32(sums[row / 2][2 * quad + 1]);
      return vreinterpretq_s32_s64(row % 2 == 0 ? vzip1q_s64(a, b) : vzip2q_s64(a, b));
    };
    UNROLL
    for (int i = 0; i < kRows; i++) {
      UNROLL
      for (int j = 0; j < kWidth; j++) lanes[i][j] = {row_of(i, 2 * j), row_of(i, 2 * j + 1)};
    }
  }
};

}  // namespace

constinit const Kernels neon_i8mm = make_kernels<NeonI8mm>("neon_i8mm", has_neon_i8mm);

}  // namespace int8

END_TARGET

#endif
