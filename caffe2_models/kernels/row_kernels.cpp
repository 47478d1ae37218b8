// The loops over rows, for each instruction set.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include "rows.h"

#if defined(IS_X86)
#include <immintrin.h>
#elif defined(IS_ARM)
#include <arm_neon.h>
#endif

namespace rows {

namespace portable {
namespace {

#ifdef IS_ARM

struct Floats {
  static constexpr int kLanes = 4, kRegisters = 32, kMaxChannels = 12;
  using Vector = float32x4_t;
  static Vector load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Vector v) { vst1q_f32(p, v); }
  static Vector set(float value) { return vdupq_n_f32(value); }
  static Vector even(Vector a, Vector b) { return vuzp1q_f32(a, b); }
  static Vector odd(Vector a, Vector b) { return vuzp2q_f32(a, b); }
  static Vector lower(Vector a, Vector b) { return vzip1q_f32(a, b); }
  static Vector upper(Vector a, Vector b) { return vzip2q_f32(a, b); }
  static Vector add(Vector a, Vector b) { return vaddq_f32(a, b); }
  static Vector subtract(Vector a, Vector b) { return vsubq_f32(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
  static Vector larger(Vector a, Vector b) { return vmaxq_f32(a, b); }
  static Vector smaller(Vector a, Vector b) { return vminq_f32(a, b); }
};

#else

// Vectors of 16 bytes, which the compiler makes of whatever the machine has.
struct Floats {
  static constexpr int kLanes = 4, kRegisters = 16, kMaxChannels = 6;
  using Vector = float __attribute__((vector_size(16)));
  static Vector load(const float* p) {
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store(float* p, Vector v) { std::memcpy(p, &v, sizeof v); }
  static Vector set(float value) { return Vector{value, value, value, value}; }
  static Vector even(Vector a, Vector b) { return Vector{a[0], a[2], b[0], b[2]}; }
  static Vector odd(Vector a, Vector b) { return Vector{a[1], a[3], b[1], b[3]}; }
  static Vector lower(Vector a, Vector b) { return Vector{a[0], b[0], a[1], b[1]}; }
  static Vector upper(Vector a, Vector b) { return Vector{a[2], b[2], a[3], b[3]}; }
  static Vector add(Vector a, Vector b) { return a + b; }
  static Vector subtract(Vector a, Vector b) { return a - b; }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }
  static Vector larger(Vector a, Vector b) { return a > b ? a : b; }
  static Vector smaller(Vector a, Vector b) { return a < b ? a : b; }
};

#endif

#include "row_loops.h"

}  // namespace
}  // namespace portable

namespace portable_rounding {
namespace {

struct Floats : portable::Floats {
  static Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }
};

#include "row_loops.h"

}  // namespace
}  // namespace portable_rounding

#ifdef IS_X86

BEGIN_TARGET("avx2,fma")
namespace avx2 {
namespace {

struct Floats {
  static constexpr int kLanes = 8, kRegisters = 16, kMaxChannels = 6;
  using Vector = __m256;
  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
  static Vector set(float value) { return _mm256_set1_ps(value); }
  static Vector in_order(Vector halves) {  // of elements 0 1 4 5 2 3 6 7
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(halves), 0xD8));
  }
  static Vector even(Vector a, Vector b) { return in_order(_mm256_shuffle_ps(a, b, 0x88)); }
  static Vector odd(Vector a, Vector b) { return in_order(_mm256_shuffle_ps(a, b, 0xDD)); }
  static Vector lower(Vector a, Vector b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
  }
  static Vector upper(Vector a, Vector b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
  }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector larger(Vector a, Vector b) { return _mm256_max_ps(a, b); }
  static Vector smaller(Vector a, Vector b) { return _mm256_min_ps(a, b); }
};

#include "row_loops.h"

}  // namespace
}  // namespace avx2

namespace avx2_rounding {
namespace {

struct Floats : avx2::Floats {
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_add_ps(c, _mm256_mul_ps(a, b)); }
};

#include "row_loops.h"

}  // namespace
}  // namespace avx2_rounding
END_TARGET

#ifdef __clang__
BEGIN_TARGET("avx512f,avx512bw,avx512dq,avx512vl")
#else
BEGIN_TARGET("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
namespace avx512 {
namespace {

struct Floats {
  static constexpr int kLanes = 16, kRegisters = 32, kMaxChannels = 12;
  using Vector = __m512;
  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
  static Vector set(float value) { return _mm512_set1_ps(value); }
  static Vector even(Vector a, Vector b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b);
  }
  static Vector odd(Vector a, Vector b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b);
  }
  static Vector lower(Vector a, Vector b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
  }
  static Vector upper(Vector a, Vector b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b);
  }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector larger(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  static Vector smaller(Vector a, Vector b) { return _mm512_min_ps(a, b); }
};

#include "row_loops.h"

}  // namespace
}  // namespace avx512

namespace avx512_rounding {
namespace {

struct Floats : avx512::Floats {
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_add_ps(c, _mm512_mul_ps(a, b)); }
};

#include "row_loops.h"

}  // namespace
}  // namespace avx512_rounding
END_TARGET

#endif

const Kernels& kernels_of(const int8::Kernels& set, bool fused) {
#ifdef IS_X86
  const std::string_view name = set.name;
  if (name.starts_with("avx512")) return fused ? avx512::kLoops : avx512_rounding::kLoops;
  if (name.starts_with("avx")) return fused ? avx2::kLoops : avx2_rounding::kLoops;
#endif
  (void)set;
  return fused ? portable::kLoops : portable_rounding::kLoops;
}

}  // namespace rows
