// AVX-VNNI: the dot products of AVX-512 VNNI in 256 bits, for processors without AVX-512.
#include "int8.h"

#ifdef IS_X86

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "cpu.h"

BEGIN_TARGET("avx2,fma,avxvnni")

#include "avx2.h"

namespace int8 {
namespace {

struct AvxVnni : Avx2Vectors {
  static constexpr Layout kLayout{.lanes = 8, .max_tile_width = 3, .depth = 4, .row_group = 4, .x_offset = 0};
  using Input = uint8_t;
  using Column = uint8_t;
  static constexpr bool kPrepares = false;

  static Inputs load_inputs(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Weights load_weights(const int8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Inputs broadcast(const uint8_t* p) {
    int32_t bytes;
    std::memcpy(&bytes, p, sizeof bytes);
    return _mm256_set1_epi32(bytes);
  }
  static Sums dot(Sums sums, Inputs x, Weights w) { return _mm256_dpbusd_avx_epi32(sums, x, w); }

  static uint8_t column_of(uint8_t byte) { return byte; }
  static void interleave(const uint8_t* const rows[4], uint8_t* out) {
    auto half = [](const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); };
    const __m128i ab = _mm_unpacklo_epi8(half(rows[0]), half(rows[1]));
    const __m128i cd = _mm_unpacklo_epi8(half(rows[2]), half(rows[3]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi16(ab, cd));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16), _mm_unpackhi_epi16(ab, cd));
  }
};

}  // namespace

constinit const Kernels avxvnni = make_kernels<AvxVnni>("avxvnni", has_avxvnni);

}  // namespace int8

END_TARGET

#endif
