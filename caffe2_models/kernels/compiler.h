// What compilers spell differently.
#pragma once

#if defined(_MSC_VER) && !defined(__clang__)
#define INLINE
#define INLINE_FUNCTION __forceinline
#define NOINLINE __declspec(noinline)
#define RESTRICT __restrict
#define UNROLL
#define PREFETCH(address)
#else
#define INLINE __attribute__((always_inline))  // of a lambda, after its parameters
#define INLINE_FUNCTION __attribute__((always_inline)) inline
#define NOINLINE __attribute__((noinline))
#define RESTRICT __restrict__
#define PREFETCH(address) __builtin_prefetch(address)
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif
#endif

// BEGIN_TARGET("avx2,fma") ... END_TARGET: what is defined in between may use these instructions. MSVC needs no
// leave. Standard headers go before the region: their functions are everybody's.
#define PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define BEGIN_TARGET(features) \
  PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define END_TARGET _Pragma("clang attribute pop")
#elif defined(__GNUC__)
#define BEGIN_TARGET(features) _Pragma("GCC push_options") PRAGMA(GCC target(features))
#define END_TARGET _Pragma("GCC pop_options")
#else
#define BEGIN_TARGET(features)
#define END_TARGET
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define IS_X86 1
#elif defined(__aarch64__) || defined(_M_ARM64)
#define IS_ARM 1
#endif
