// AVX-512 with VNNI: 16 lanes, one instruction for 16 dot products of 4 bytes.
#include "int8.h"

#ifdef IS_X86

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "cpu.h"

#ifdef __clang__
BEGIN_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#else
BEGIN_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prefer-vector-width=512")
#endif

#include "kernels.h"

namespace int8 {
namespace {

struct Avx512Vnni {
  static constexpr int kLanes = 16;
  static constexpr Layout kLayout{
      .lanes = kLanes, .max_tile_width = 4, .depth = 4, .row_group = 4, .x_offset = 0};
  static constexpr int rows_of(int width) { return width == 4 ? 6 : width == 3 ? 8 : width == 2 ? 12 : 16; }

  using Input = uint8_t;
  using Column = uint8_t;
  using Sums = __m512i;
  using Lanes = __m512i;
  using Inputs = __m512i;
  using Weights = __m512i;
  using Bytes = __m512i;

  static Sums load_sums(const int32_t* p) { return _mm512_loadu_si512(p); }
  static Inputs load_inputs(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static Weights load_weights(const int8_t* p) { return _mm512_loadu_si512(p); }
  static Inputs broadcast(const uint8_t* p) {
    int32_t bytes;
    std::memcpy(&bytes, p, sizeof bytes);
    return _mm512_set1_epi32(bytes);
  }
  static Sums dot(Sums sums, Inputs x, Weights w) { return _mm512_dpbusd_epi32(sums, x, w); }
  static Lanes lanes_of(Sums sums) { return sums; }
  static Lanes add(Lanes lanes, int32_t term) { return _mm512_add_epi32(lanes, _mm512_set1_epi32(term)); }

  template <Rounding>
  struct Requantize;

  struct Packing {
    __m512i zero_point, lowest, order;

    Packing(int32_t zero_point, int32_t lowest)
        : zero_point(_mm512_set1_epi16(static_cast<int16_t>(zero_point))),
          lowest(_mm512_set1_epi8(static_cast<char>(lowest))),
          order(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)) {}

    Bytes operator()(__m512i a, __m512i b, __m512i c, __m512i d) const {
      const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero_point);
      const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(c, d), zero_point);
      const __m512i bytes = _mm512_max_epu8(_mm512_packus_epi16(low, high), lowest);
      return _mm512_permutexvar_epi32(order, bytes);
    }
    Bytes without_zero_point(__m512i a, __m512i b, __m512i c, __m512i d) const {
      const __m512i bytes = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
      return _mm512_permutexvar_epi32(order, _mm512_max_epu8(bytes, lowest));
    }
  };

  static void store_all(Bytes bytes, uint8_t* y) { _mm512_storeu_si512(y, bytes); }

  template <int i>
  static void store(Bytes bytes, uint8_t* y, int count) {
    const __m128i part = _mm512_extracti32x4_epi32(bytes, i);
    if (count == kLanes) _mm_storeu_si128(reinterpret_cast<__m128i*>(y), part);
    else _mm_mask_storeu_epi8(y, static_cast<__mmask16>((1u << count) - 1), part);
  }

  static uint8_t column_of(uint8_t byte) { return byte; }
  static void interleave(const uint8_t* const rows[4], uint8_t* out) {
    auto load = [](const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
    auto store = [out](int i, __m128i v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(out) + i, v); };
    const __m128i a = load(rows[0]), b = load(rows[1]), c = load(rows[2]), d = load(rows[3]);
    const __m128i ab = _mm_unpacklo_epi8(a, b), AB = _mm_unpackhi_epi8(a, b);
    const __m128i cd = _mm_unpacklo_epi8(c, d), CD = _mm_unpackhi_epi8(c, d);
    store(0, _mm_unpacklo_epi16(ab, cd));
    store(1, _mm_unpackhi_epi16(ab, cd));
    store(2, _mm_unpacklo_epi16(AB, CD));
    store(3, _mm_unpackhi_epi16(AB, CD));
  }

  static int32_t sum(const uint8_t* x, const std::vector<int64_t>& tap_offset, int64_t depth) {
    if (depth <= 16) {
      const __mmask16 mask = static_cast<__mmask16>((1u << depth) - 1);
      __m128i sums = _mm_setzero_si128();
      for (const int64_t offset : tap_offset)
        sums = _mm_add_epi64(sums, _mm_sad_epu8(_mm_maskz_loadu_epi8(mask, x + offset), _mm_setzero_si128()));
      return _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_unpackhi_epi64(sums, sums)));
    }
    __m512i sums = _mm512_setzero_si512();
    for (const int64_t offset : tap_offset)
      for (int64_t i = 0; i < depth; i += 64) {
        const __mmask64 mask = ~uint64_t{0} >> (64 - std::min<int64_t>(depth - i, 64));
        const __m512i bytes = _mm512_maskz_loadu_epi8(mask, x + offset + i);
        sums = _mm512_add_epi64(sums, _mm512_sad_epu8(bytes, _mm512_setzero_si512()));
      }
    return static_cast<int32_t>(_mm512_reduce_add_epi64(sums));
  }

  static constexpr bool kPrepares = false, kMultiplies = false;

  static constexpr bool kAddsVectors = true;
  struct Adder {
    __m512i a_multiplier, b_multiplier, bias;
    __m128i shift;
    Packing pack;

    explicit Adder(const Addition& p)
        : a_multiplier(_mm512_set1_epi32(p.a_multiplier)),
          b_multiplier(_mm512_set1_epi32(p.b_multiplier)),
          bias(_mm512_set1_epi32(p.bias)),
          shift(_mm_cvtsi32_si128(p.shift - 1)),
          pack(p.zero_point, p.lowest) {}

    static __m512i load(const uint8_t* p) {
      return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    __m512i sum(const uint8_t* a, const uint8_t* b) const {
      __m512i acc = _mm512_add_epi32(_mm512_mullo_epi32(load(a), a_multiplier), bias);
      acc = _mm512_add_epi32(acc, _mm512_mullo_epi32(load(b), b_multiplier));
      acc = _mm512_sra_epi32(_mm512_add_epi32(acc, _mm512_srai_epi32(acc, 31)), shift);
      return _mm512_srai_epi32(_mm512_sub_epi32(acc, _mm512_set1_epi32(-1)), 1);
    }
    void operator()(const uint8_t* a, const uint8_t* b, uint8_t* y) const {
      store_all(pack(sum(a, b), sum(a + 16, b + 16), sum(a + 32, b + 32), sum(a + 48, b + 48)), y);
    }
  };
};

template <>
struct Avx512Vnni::Requantize<Rounding::kFloatRelu> {
  __m512 scale, offset;
  Packing pack;

  explicit Requantize(const Requantization& r)
      : scale(_mm512_set1_ps(r.scale)), offset(_mm512_set1_ps(r.offset)), pack(r.zero_point, r.lowest) {}

  __m512i round(Lanes acc) const {
    return _mm512_cvttps_epi32(_mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), scale, offset));
  }
  Bytes operator()(Lanes a, Lanes b, Lanes c, Lanes d) const {
    return pack.without_zero_point(round(a), round(b), round(c), round(d));
  }
};

template <>
struct Avx512Vnni::Requantize<Rounding::kFloat> {
  __m512 scale, offset, sign;
  Packing pack;

  explicit Requantize(const Requantization& r)
      : scale(_mm512_set1_ps(r.scale)),
        offset(_mm512_set1_ps(r.offset)),
        sign(_mm512_set1_ps(-0.0f)),
        pack(r.zero_point, r.lowest) {}

  __m512i round(Lanes acc) const {
    const __m512 x = _mm512_cvtepi32_ps(acc);
    const __m512i signed_offset =
        _mm512_ternarylogic_epi32(_mm512_castps_si512(sign), _mm512_castps_si512(x),
                                  _mm512_castps_si512(offset), 0xEA);  // (sign & x) | offset
    return _mm512_cvttps_epi32(_mm512_fmadd_ps(x, scale, _mm512_castsi512_ps(signed_offset)));
  }
  Bytes operator()(Lanes a, Lanes b, Lanes c, Lanes d) const {
    return pack(round(a), round(b), round(c), round(d));
  }
};

template <>
struct Avx512Vnni::Requantize<Rounding::kExact> {
  __m512i multiplier, positive, negative;
  __m128i shift;
  Packing pack;

  explicit Requantize(const Requantization& r)
      : multiplier(_mm512_set1_epi64(r.multiplier)),
        positive(_mm512_set1_epi64(r.rounding)),
        negative(_mm512_set1_epi64(r.rounding_negative)),
        shift(_mm_cvtsi32_si128(r.shift)),
        pack(r.zero_point, r.lowest) {}

  // Of the even lanes, into the low half of each 64 bits.
  __m512i even(__m512i acc) const {
    const __m512i product = _mm512_mul_epi32(acc, multiplier);
    const __m512i sign = _mm512_srai_epi64(product, 63);
    const __m512i rounding =
        _mm512_ternarylogic_epi64(sign, negative, positive, 0xCA);  // sign ? negative : positive
    return _mm512_sra_epi64(_mm512_add_epi64(product, rounding), shift);
  }
  __m512i round(Lanes acc) const {
    const __m512i low = even(acc), high = even(_mm512_srli_epi64(acc, 32));
    return _mm512_mask_mov_epi32(low, 0xAAAA, _mm512_slli_epi64(high, 32));
  }
  Bytes operator()(Lanes a, Lanes b, Lanes c, Lanes d) const {
    return pack(round(a), round(b), round(c), round(d));
  }
};

#ifdef __GNUC__
#define VBMI __attribute__((target("avx512f,avx512bw,avx512vbmi")))
#else
#define VBMI
#endif

// A table of 256 bytes is four registers.
VBMI void look_up_vbmi(const uint8_t* table, const uint8_t* x, uint8_t* y, int64_t count) {
  const __m512i first = _mm512_loadu_si512(table), second = _mm512_loadu_si512(table + 64);
  const __m512i third = _mm512_loadu_si512(table + 128), fourth = _mm512_loadu_si512(table + 192);
  int64_t i = 0;
  for (; i + 64 <= count; i += 64) {
    const __m512i bytes = _mm512_loadu_si512(x + i);
    const __m512i low = _mm512_permutex2var_epi8(first, bytes, second);
    const __m512i high = _mm512_permutex2var_epi8(third, bytes, fourth);
    _mm512_storeu_si512(y + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), low, high));
  }
  look_up(table, x + i, y + i, count - i);
}

void look_up_fastest(const uint8_t* table, const uint8_t* x, uint8_t* y, int64_t count) {
  (has_avx512vbmi() ? look_up_vbmi : look_up)(table, x, y, count);
}

constexpr Kernels make_avx512vnni() {
  Kernels kernels = make_kernels<Avx512Vnni>("avx512vnni", has_avx512vnni);
  kernels.look_up = look_up_fastest;
  return kernels;
}

}  // namespace

constinit const Kernels avx512vnni = make_avx512vnni();

}  // namespace int8

END_TARGET

#endif
