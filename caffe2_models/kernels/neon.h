// What the kernels of 64-bit ARM share, whatever they multiply with: 8 lanes in two registers, their
// requantization and addition. To be included within the region of an instruction set.
#pragma once

#include <arm_neon.h>

#include <utility>

#include "kernels.h"

namespace int8 {
namespace {

struct NeonVectors {
  static constexpr int kLanes = 8;

  struct Sums {
    int32x4_t low, high;
  };
  using Lanes = Sums;
  struct Bytes {
    uint8x16_t low, high;
  };

  static Sums load_sums(const int32_t* p) { return {vld1q_s32(p), vld1q_s32(p + 4)}; }
  static Lanes lanes_of(Sums sums) { return sums; }
  static Lanes add(Lanes lanes, int32_t term) {
    const int32x4_t terms = vdupq_n_s32(term);
    return {vaddq_s32(lanes.low, terms), vaddq_s32(lanes.high, terms)};
  }

  template <Rounding>
  struct Requantize;

  struct Packing {
    int16x8_t zero_point;
    uint8x16_t lowest;

    Packing(int32_t zero_point, int32_t lowest)
        : zero_point(vdupq_n_s16(static_cast<int16_t>(zero_point))),
          lowest(vdupq_n_u8(static_cast<uint8_t>(lowest))) {}

    static int16x8_t narrow(Lanes v) { return vqmovn_high_s32(vqmovn_s32(v.low), v.high); }
    uint8x16_t half(int16x8_t a, int16x8_t b) const {
      return vmaxq_u8(vqmovun_high_s16(vqmovun_s16(a), b), lowest);
    }
    Bytes operator()(Lanes a, Lanes b, Lanes c, Lanes d) const {
      auto shifted = [&](Lanes v) INLINE { return vqaddq_s16(narrow(v), zero_point); };
      return {half(shifted(a), shifted(b)), half(shifted(c), shifted(d))};
    }
    Bytes without_zero_point(Lanes a, Lanes b, Lanes c, Lanes d) const {
      return {half(narrow(a), narrow(b)), half(narrow(c), narrow(d))};
    }
  };

  static void store_all(Bytes bytes, uint8_t* y) {
    vst1q_u8(y, bytes.low);
    vst1q_u8(y + 16, bytes.high);
  }

  template <int i>
  static void store(Bytes bytes, uint8_t* y, int count) {
    const uint8x16_t half = i < 2 ? bytes.low : bytes.high;
    const uint8x8_t part = i % 2 == 0 ? vget_low_u8(half) : vget_high_u8(half);
    if (count == kLanes) {
      vst1_u8(y, part);
      return;
    }
    uint8_t all[kLanes];
    vst1_u8(all, part);
    std::memcpy(y, all, static_cast<size_t>(count));
  }

  static int32_t sum(const uint8_t* x, const std::vector<int64_t>& tap_offset, int64_t depth) {
    uint32x4_t sums = vdupq_n_u32(0);
    uint32_t rest = 0;
    for (const int64_t offset : tap_offset) {
      const uint8_t* run = x + offset;
      int64_t i = 0;
      for (; i + 16 <= depth; i += 16) sums = vpadalq_u16(sums, vpaddlq_u8(vld1q_u8(run + i)));
      for (; i < depth; i++) rest += run[i];
    }
    return static_cast<int32_t>(rest + vaddvq_u32(sums));
  }

  static constexpr bool kAddsVectors = true;
  struct Adder {
    int32_t a_multiplier, b_multiplier;
    int32x4_t bias, shift;
    Packing pack;

    explicit Adder(const Addition& p)
        : a_multiplier(p.a_multiplier),
          b_multiplier(p.b_multiplier),
          bias(vdupq_n_s32(p.bias)),
          shift(vdupq_n_s32(1 - p.shift)),
          pack(p.zero_point, p.lowest) {}

    int32x4_t sum(uint16x4_t a, uint16x4_t b) const {
      int32x4_t acc = vmlaq_n_s32(bias, vreinterpretq_s32_u32(vmovl_u16(a)), a_multiplier);
      acc = vmlaq_n_s32(acc, vreinterpretq_s32_u32(vmovl_u16(b)), b_multiplier);
      acc = vshlq_s32(vaddq_s32(acc, vshrq_n_s32(acc, 31)), shift);
      return vshrq_n_s32(vaddq_s32(acc, vdupq_n_s32(1)), 1);
    }
    Lanes sum(const uint8_t* a, const uint8_t* b) const {
      const uint16x8_t x = vmovl_u8(vld1_u8(a)), y = vmovl_u8(vld1_u8(b));
      return {sum(vget_low_u16(x), vget_low_u16(y)), sum(vget_high_u16(x), vget_high_u16(y))};
    }
    void operator()(const uint8_t* a, const uint8_t* b, uint8_t* y) const {
      store_all(pack(sum(a, b), sum(a + 8, b + 8), sum(a + 16, b + 16), sum(a + 24, b + 24)), y);
    }
  };
};

template <>
struct NeonVectors::Requantize<Rounding::kFloatRelu> {
  float32x4_t scale, offset;
  Packing pack;

  explicit Requantize(const Requantization& r)
      : scale(vdupq_n_f32(r.scale)), offset(vdupq_n_f32(r.offset)), pack(r.zero_point, r.lowest) {}

  int32x4_t round(int32x4_t acc) const { return vcvtq_s32_f32(vfmaq_f32(offset, vcvtq_f32_s32(acc), scale)); }
  Lanes round(Lanes acc) const { return {round(acc.low), round(acc.high)}; }
  Bytes operator()(Lanes a, Lanes b, Lanes c, Lanes d) const {
    return pack.without_zero_point(round(a), round(b), round(c), round(d));
  }
};

template <>
struct NeonVectors::Requantize<Rounding::kFloat> {
  float32x4_t scale, offset;
  Packing pack;

  explicit Requantize(const Requantization& r)
      : scale(vdupq_n_f32(r.scale)), offset(vdupq_n_f32(r.offset)), pack(r.zero_point, r.lowest) {}

  int32x4_t round(int32x4_t acc) const {
    const float32x4_t x = vcvtq_f32_s32(acc);
    const float32x4_t signed_offset = vbslq_f32(vdupq_n_u32(0x80000000u), x, offset);
    return vcvtq_s32_f32(vfmaq_f32(signed_offset, x, scale));
  }
  Lanes round(Lanes acc) const { return {round(acc.low), round(acc.high)}; }
  Bytes operator()(Lanes a, Lanes b, Lanes c, Lanes d) const {
    return pack(round(a), round(b), round(c), round(d));
  }
};

template <>
struct NeonVectors::Requantize<Rounding::kExact> {
  int32_t multiplier;
  int64x2_t positive, difference, shift;
  Packing pack;

  explicit Requantize(const Requantization& r)
      : multiplier(r.multiplier),
        positive(vdupq_n_s64(r.rounding)),
        difference(vdupq_n_s64(r.rounding_negative - r.rounding)),
        shift(vdupq_n_s64(-r.shift)),
        pack(r.zero_point, r.lowest) {}

  int32x2_t round(int32x2_t acc) const {
    const int64x2_t product = vmull_n_s32(acc, multiplier);
    const int64x2_t constant = vaddq_s64(positive, vandq_s64(vshrq_n_s64(product, 63), difference));
    return vmovn_s64(vshlq_s64(vaddq_s64(product, constant), shift));
  }
  int32x4_t round(int32x4_t acc) const {
    return vcombine_s32(round(vget_low_s32(acc)), round(vget_high_s32(acc)));
  }
  Lanes round(Lanes acc) const { return {round(acc.low), round(acc.high)}; }
  Bytes operator()(Lanes a, Lanes b, Lanes c, Lanes d) const {
    return pack(round(a), round(b), round(c), round(d));
  }
};

// 8 bytes of each of four rows, interleaved.
inline uint8x16x2_t interleave_four(const uint8_t* const rows[4]) {
  const uint8x8x2_t ab = vzip_u8(vld1_u8(rows[0]), vld1_u8(rows[1])),
                    cd = vzip_u8(vld1_u8(rows[2]), vld1_u8(rows[3]));
  const uint16x8x2_t all = vzipq_u16(vreinterpretq_u16_u8(vcombine_u8(ab.val[0], ab.val[1])),
                                     vreinterpretq_u16_u8(vcombine_u8(cd.val[0], cd.val[1])));
  return {{vreinterpretq_u8_u16(all.val[0]), vreinterpretq_u8_u16(all.val[1])}};
}

// Bytes less 128, as signed ones.
inline int8x16_t centered(uint8x16_t bytes) { return vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(128))); }

// body(0), body(1), ... as compile-time constants: for lanes of instructions.
template <class Body, int... i>
INLINE_FUNCTION void each(std::integer_sequence<int, i...>, const Body& body) {
  (body(std::integral_constant<int, i>()), ...);
}
template <int count, class Body>
INLINE_FUNCTION void each(const Body& body) {
  each(std::make_integer_sequence<int, count>(), body);
}

// A convolution's rows, and a depthwise one's columns, less 128: for instructions that want signed bytes.
struct NeonSigned : NeonVectors {
  using Input = int8_t;
  using Column = int8_t;

  static constexpr bool kPrepares = true;
  static void prepare(const uint8_t* x, int64_t count, int8_t* out) {
    for (int64_t i = 0; i < count; i += 16) vst1q_s8(out + i, centered(vld1q_u8(x + i)));
  }
  static int8_t column_of(uint8_t byte) { return static_cast<int8_t>(byte ^ 128); }
};

}  // namespace
}  // namespace int8
