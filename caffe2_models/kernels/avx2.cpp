// AVX2 with FMA: 8 lanes; bytes are widened to 16 bits, where products and their pairwise sums are exact.
#include "int8.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace int8 {
namespace {

// Outside the region: asked on every machine.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

}  // namespace
}  // namespace int8

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#include "kernels.h"

namespace int8 {
namespace {

struct Avx2 {
  static constexpr int kLanes = 8;
  static constexpr int kMaxWidth = 2;
  static constexpr int rows_of(int width) { return width == 2 ? 2 : 4; }

  // A lane's sum is the sum of two neighbours: of lanes 0 to 3 in `low`, of lanes 4 to 7 in `high`.
  struct Sums {
    __m256i low, high;
  };
  // 4 values of 16 bits for each lane, in the same order.
  struct Inputs {
    __m256i low, high;
  };
  using Weights = Inputs;
  using Lanes = __m256i;
  using Bytes = __m256i;

  static __m128i load(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

  static Sums load_sums(const int32_t* p) {
    return {_mm256_cvtepu32_epi64(load(p)), _mm256_cvtepu32_epi64(load(p + 4))};
  }
  static Inputs load_inputs(const uint8_t* p) {
    return {_mm256_cvtepu8_epi16(load(p)), _mm256_cvtepu8_epi16(load(p + 16))};
  }
  static Weights load_weights(const int8_t* p) {
    return {_mm256_cvtepi8_epi16(load(p)), _mm256_cvtepi8_epi16(load(p + 16))};
  }
  static Inputs broadcast(const uint8_t* p) {
    int32_t bytes;
    std::memcpy(&bytes, p, sizeof bytes);
    const __m256i x = _mm256_cvtepu8_epi16(_mm_set1_epi32(bytes));
    return {x, x};
  }
  static Sums dot(Sums sums, Inputs x, Weights w) {
    return {_mm256_add_epi32(sums.low, _mm256_madd_epi16(x.low, w.low)),
            _mm256_add_epi32(sums.high, _mm256_madd_epi16(x.high, w.high))};
  }
  static Lanes lanes_of(Sums sums) {
    return _mm256_permute4x64_epi64(_mm256_hadd_epi32(sums.low, sums.high), 0xD8);
  }
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
  static void store(Bytes bytes, uint8_t* y, int count) {
    const int64_t part = _mm256_extract_epi64(bytes, i);
    if (count == kLanes) std::memcpy(y, &part, kLanes);
    else std::memcpy(y, &part, static_cast<size_t>(count));
  }

  static void interleave(const uint8_t* const rows[4], uint8_t* out) {
    auto half = [](const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); };
    const __m128i ab = _mm_unpacklo_epi8(half(rows[0]), half(rows[1]));
    const __m128i cd = _mm_unpacklo_epi8(half(rows[2]), half(rows[3]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi16(ab, cd));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16), _mm_unpackhi_epi16(ab, cd));
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

  static constexpr bool kAddsVectors = false;
};

template <>
struct Avx2::Requantize<Rounding::kFloatRelu> {
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
struct Avx2::Requantize<Rounding::kFloat> {
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
struct Avx2::Requantize<Rounding::kExact> {
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

constinit const Kernels avx2 = make_kernels<Avx2>("avx2", has_avx2);

}  // namespace int8

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
