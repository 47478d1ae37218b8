// What kernels of 256 bits share, whatever they multiply with: 8 lanes, their requantization and addition. To be
// included within a region that may use AVX2 and FMA.
#pragma once

#include <immintrin.h>

#include "kernels.h"

namespace int8 {
namespace {

struct Avx2Vectors {
  static constexpr int kLanes = 8;
  static constexpr int rows_of(int width) { return width == 3 ? 4 : width == 2 ? 6 : 12; }

  using Sums = __m256i;
  using Inputs = __m256i;
  using Weights = __m256i;
  using Lanes = __m256i;
  using Bytes = __m256i;

  static Sums load_sums(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Lanes lanes_of(Sums sums) { return sums; }
  static Lanes add(Lanes lanes, int32_t term) { return _mm256_add_epi32(lanes, _mm256_set1_epi32(term)); }

  template <Rounding>
  struct Requantize;

  struct Packing {
    __m256i zero_point, lowest, order;

    Packing(int32_t zero_point, int32_t lowest)
        : zero_point(_mm256_set1_epi16(static_cast<int16_t>(zero_point))),
          lowest(_mm256_set1_epi8(static_cast<char>(lowest))),
          order(_mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)) {}

    Bytes operator()(__m256i a, __m256i b, __m256i c, __m256i d) const {
      const __m256i low = _mm256_adds_epi16(_mm256_packs_epi32(a, b), zero_point);
      const __m256i high = _mm256_adds_epi16(_mm256_packs_epi32(c, d), zero_point);
      const __m256i bytes = _mm256_max_epu8(_mm256_packus_epi16(low, high), lowest);
      return _mm256_permutevar8x32_epi32(bytes, order);
    }
    Bytes without_zero_point(__m256i a, __m256i b, __m256i c, __m256i d) const {
      const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
      return _mm256_permutevar8x32_epi32(_mm256_max_epu8(bytes, lowest), order);
    }
  };

  static void store_all(Bytes bytes, uint8_t* y) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), bytes);
  }

  template <int i>
  static void store_half(Bytes bytes, uint8_t* y) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm256_extracti128_si256(bytes, i));
  }

  template <int i>
  static void store(Bytes bytes, uint8_t* y, int count) {
    const int64_t part = _mm256_extract_epi64(bytes, i);
    if (count == kLanes) std::memcpy(y, &part, kLanes);
    else std::memcpy(y, &part, static_cast<size_t>(count));
  }

  static int32_t sum(const uint8_t* x, const std::vector<int64_t>& tap_offset, int64_t depth) {
    __m256i sums = _mm256_setzero_si256();
    int64_t rest = 0;
    for (const int64_t offset : tap_offset) {
      const uint8_t* run = x + offset;
      int64_t i = 0;
      for (; i + 32 <= depth; i += 32) {
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(run + i));
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(bytes, _mm256_setzero_si256()));
      }
      for (; i < depth; i++) rest += run[i];
    }
    return static_cast<int32_t>(rest + _mm256_extract_epi64(sums, 0) + _mm256_extract_epi64(sums, 1) +
                                _mm256_extract_epi64(sums, 2) + _mm256_extract_epi64(sums, 3));
  }

  static constexpr bool kMultiplies = false;
  static constexpr bool kAddsVectors = true;
  struct Adder {
    __m256i a_multiplier, b_multiplier, bias;
    __m128i shift;
    Packing pack;

    explicit Adder(const Addition& p)
        : a_multiplier(_mm256_set1_epi32(p.a_multiplier)),
          b_multiplier(_mm256_set1_epi32(p.b_multiplier)),
          bias(_mm256_set1_epi32(p.bias)),
          shift(_mm_cvtsi32_si128(p.shift - 1)),
          pack(p.zero_point, p.lowest) {}

    static __m256i load(const uint8_t* p) {
      return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    }
    __m256i sum(const uint8_t* a, const uint8_t* b) const {
      __m256i acc = _mm256_add_epi32(_mm256_mullo_epi32(load(a), a_multiplier), bias);
      acc = _mm256_add_epi32(acc, _mm256_mullo_epi32(load(b), b_multiplier));
      acc = _mm256_sra_epi32(_mm256_add_epi32(acc, _mm256_srai_epi32(acc, 31)), shift);
      return _mm256_srai_epi32(_mm256_sub_epi32(acc, _mm256_set1_epi32(-1)), 1);
    }
    void operator()(const uint8_t* a, const uint8_t* b, uint8_t* y) const {
      store_all(pack(sum(a, b), sum(a + 8, b + 8), sum(a + 16, b + 16), sum(a + 24, b + 24)), y);
    }
  };
};

template <>
struct Avx2Vectors::Requantize<Rounding::kFloatRelu> {
  __m256 scale, offset;
  Packing pack;

  explicit Requantize(const Requantization& r)
      : scale(_mm256_set1_ps(r.scale)), offset(_mm256_set1_ps(r.offset)), pack(r.zero_point, r.lowest) {}

  __m256i round(Lanes acc) const {
    return _mm256_cvttps_epi32(_mm256_fmadd_ps(_mm256_cvtepi32_ps(acc), scale, offset));
  }
  Bytes operator()(Lanes a, Lanes b, Lanes c, Lanes d) const {
    return pack.without_zero_point(round(a), round(b), round(c), round(d));
  }
};

template <>
struct Avx2Vectors::Requantize<Rounding::kFloat> {
  __m256 scale, offset, sign;
  Packing pack;

  explicit Requantize(const Requantization& r)
      : scale(_mm256_set1_ps(r.scale)),
        offset(_mm256_set1_ps(r.offset)),
        sign(_mm256_set1_ps(-0.0f)),
        pack(r.zero_point, r.lowest) {}

  __m256i round(Lanes acc) const {
    const __m256 x = _mm256_cvtepi32_ps(acc);
    return _mm256_cvttps_epi32(_mm256_fmadd_ps(x, scale, _mm256_or_ps(_mm256_and_ps(sign, x), offset)));
  }
  Bytes operator()(Lanes a, Lanes b, Lanes c, Lanes d) const {
    return pack(round(a), round(b), round(c), round(d));
  }
};

template <>
struct Avx2Vectors::Requantize<Rounding::kExact> {
  __m256i multiplier, rounding, difference, unbias;
  __m128i shift;
  Packing pack;

  // AVX2 shifts 64 bits only logically: a bias of 2^62, a multiple of 2^shift, keeps what is shifted
  // positive.
  explicit Requantize(const Requantization& r)
      : multiplier(_mm256_set1_epi64x(r.multiplier)),
        rounding(_mm256_set1_epi64x(r.rounding + (int64_t{1} << 62))),
        difference(_mm256_set1_epi64x(r.rounding_negative - r.rounding)),
        unbias(_mm256_set1_epi64x(int64_t{1} << (62 - r.shift))),
        shift(_mm_cvtsi32_si128(r.shift)),
        pack(r.zero_point, r.lowest) {}

  // Of the even lanes, into the low half of each 64 bits.
  __m256i even(__m256i acc) const {
    const __m256i product = _mm256_mul_epi32(acc, multiplier);
    const __m256i sign = _mm256_cmpgt_epi64(_mm256_setzero_si256(), product);
    const __m256i constant = _mm256_add_epi64(rounding, _mm256_and_si256(sign, difference));
    return _mm256_sub_epi64(_mm256_srl_epi64(_mm256_add_epi64(product, constant), shift), unbias);
  }
  __m256i round(Lanes acc) const {
    const __m256i low = even(acc), high = even(_mm256_srli_epi64(acc, 32));
    return _mm256_blend_epi32(low, _mm256_slli_epi64(high, 32), 0xAA);
  }
  Bytes operator()(Lanes a, Lanes b, Lanes c, Lanes d) const {
    return pack(round(a), round(b), round(c), round(d));
  }
};

}  // namespace
}  // namespace int8
