// NEON, as every 64-bit ARM has it: products of signed bytes, two of which fit into 16 bits, then widened sums.
#include "int8.h"

#ifdef IS_ARM

#include "cpu.h"
#include "neon.h"

namespace int8 {
namespace {

struct Neon : NeonSigned {
  static constexpr Layout kLayout{
      .lanes = kLanes, .max_tile_width = 2, .depth = 2, .row_group = 2, .x_offset = 128};
  static constexpr int rows_of(int width) { return width == 2 ? 4 : 8; }

  // Depthwise: for each lane, two bytes side by side.
  using Inputs = int8x16_t;
  using Weights = int8x16_t;
  static Inputs load_inputs(const int8_t* p) { return vld1q_s8(p); }
  static Weights load_weights(const int8_t* p) { return vld1q_s8(p); }
  static Sums dot(Sums sums, Inputs x, Weights w) {
    return {vpadalq_s16(sums.low, vmull_s8(vget_low_s8(x), vget_low_s8(w))),
            vpadalq_s16(sums.high, vmull_high_s8(x, w))};
  }
  static void interleave(const uint8_t* const rows[2], int8_t* out) {
    const uint8x8x2_t zipped = vzip_u8(vld1_u8(rows[0]), vld1_u8(rows[1]));
    vst1q_s8(out, centered(vcombine_u8(zipped.val[0], zipped.val[1])));
  }

  static constexpr bool kMultiplies = true;

  // Convolutions: a pair of bytes for each lane, and the pair after it, whose products are added in 16 bits. That
  // is exact but for (-128 * -128) + (-128 * -128): tiles with a weight of -128 widen each product on its own.
  template <int kRows, int kWidth>
  INLINE_FUNCTION static void multiply(const Runs& runs, const int8_t* const* inputs, const int32_t* bias,
                                       const int8_t* weights, bool has_lowest, Lanes (&lanes)[kRows][kWidth]) {
    if (has_lowest) multiply_pairs<kRows, kWidth, false>(runs, inputs, bias, weights, lanes);
    else multiply_pairs<kRows, kWidth, true>(runs, inputs, bias, weights, lanes);
  }

  template <bool kTogether>
  INLINE_FUNCTION static void add_pairs(Sums& sums, int8x16_t x, int8x16_t w, int8x16_t next_x, int8x16_t next_w) {
    if constexpr (kTogether) {
      const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(w)), high = vmull_high_s8(x, w);
      sums.low = vpadalq_s16(sums.low, vmlal_s8(low, vget_low_s8(next_x), vget_low_s8(next_w)));
      sums.high = vpadalq_s16(sums.high, vmlal_high_s8(high, next_x, next_w));
    } else {
      sums = dot(dot(sums, x, w), next_x, next_w);
    }
  }

  template <int kRows, int kWidth, bool kTogether>
  INLINE_FUNCTION static void multiply_pairs(const Runs& runs, const int8_t* const* inputs, const int32_t* bias,
                                             const int8_t* weights, Lanes (&lanes)[kRows][kWidth]) {
    UNROLL
    for (int i = 0; i < kRows; i++) {
      UNROLL
      for (int j = 0; j < kWidth; j++) lanes[i][j] = load_sums(bias + j * kLanes);
    }
    // Four bytes of each row: the pairs `pair` and pair + 1 of x.
    auto four = [&](const int8x16_t (&x)[kRows], auto pair) INLINE {
      int8x16_t w[2][kWidth];
      UNROLL
      for (int j = 0; j < kWidth; j++) {
        w[0][j] = vld1q_s8(weights + 16 * j);
        w[1][j] = vld1q_s8(weights + 16 * (kWidth + j));
      }
      weights += 32 * kWidth;
      UNROLL
      for (int i = 0; i < kRows; i++) {
        const int16x8_t pairs = vreinterpretq_s16_s8(x[i]);
        const int8x16_t first = vreinterpretq_s8_s16(vdupq_laneq_s16(pairs, pair.value)),
                        second = vreinterpretq_s8_s16(vdupq_laneq_s16(pairs, pair.value + 1));
        UNROLL
        for (int j = 0; j < kWidth; j++) add_pairs<kTogether>(lanes[i][j], first, w[0][j], second, w[1][j]);
      }
    };
    int64_t k = 0;
    int8x16_t x[kRows];
    for (; k + 16 <= runs.depth; k += 16) {
      UNROLL
      for (int i = 0; i < kRows; i++) x[i] = vld1q_s8(inputs[i] + k);
      each<4>([&](auto i) INLINE { four(x, std::integral_constant<int, 2 * i.value>()); });
    }
    for (; k + 4 <= runs.depth; k += 4) {
      UNROLL
      for (int i = 0; i < kRows; i++) x[i] = vld1q_s8(inputs[i] + k);
      four(x, std::integral_constant<int, 0>());
    }
    if (k < runs.depth) {
      UNROLL
      for (int i = 0; i < kRows; i++) {
        const int16x8_t pairs = vreinterpretq_s16_s8(vld1q_s8(inputs[i] + k));
        UNROLL
        for (int j = 0; j < kWidth; j++)
          lanes[i][j] = dot(lanes[i][j], vreinterpretq_s8_s16(vdupq_laneq_s16(pairs, 0)),
                            vld1q_s8(weights + 16 * j));
      }
    }
  }
};

}  // namespace

constinit const Kernels neon = make_kernels<Neon>("neon", has_neon);

}  // namespace int8

#endif
