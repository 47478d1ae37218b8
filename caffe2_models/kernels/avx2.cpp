// AVX2: bytes are widened to 16 bits, where a product of two pairs is exact. The only multiplication of bytes that
// AVX2 has (vpmaddubsw) saturates, and splitting weights so that it cannot takes as many multiplications.
#include "int8.h"

#ifdef IS_X86

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "cpu.h"

BEGIN_TARGET("avx2,fma")

#include "avx2.h"

namespace int8 {
namespace {

struct Avx2 : Avx2Vectors {
  static constexpr Layout kLayout{.lanes = 8, .max_tile_width = 2, .depth = 2, .row_group = 2, .x_offset = 0};
  using Input = int16_t;
  using Column = int16_t;

  static __m256i widen(const uint8_t* p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void store(__m256i v, int16_t* p) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  using Avx2Vectors::store;

  static constexpr bool kPrepares = true;
  static void prepare(const uint8_t* x, int64_t count, int16_t* out) {
    for (int64_t i = 0; i < count; i += 16) store(widen(x + i), out + i);
  }
  static Inputs broadcast(const int16_t* p) {
    int32_t pair;
    std::memcpy(&pair, p, sizeof pair);
    return _mm256_set1_epi32(pair);
  }
  static Inputs load_inputs(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Weights load_weights(const int8_t* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Sums dot(Sums sums, Inputs x, Weights w) { return _mm256_add_epi32(sums, _mm256_madd_epi16(x, w)); }

  static int16_t column_of(uint8_t byte) { return byte; }
  static void interleave(const uint8_t* const rows[2], int16_t* out) {
    auto half = [](const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); };
    store(_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(half(rows[0]), half(rows[1]))), out);
  }
};

}  // namespace

constinit const Kernels avx2 = make_kernels<Avx2>("avx2", has_avx2);

}  // namespace int8

END_TARGET

#endif
