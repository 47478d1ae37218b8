#include "cpu.h"

#include <cstdint>

#include "compiler.h"

#ifdef IS_X86
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

#ifdef IS_ARM
#ifdef __linux__
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#define NOMINMAX
#include <windows.h>
#endif
#endif

namespace int8 {
namespace {

struct Features {
  bool avx2 = false, avxvnni = false, avx512vnni = false, avx512vbmi = false;
  bool neon = false, dot = false, i8mm = false;
};

#if defined(IS_X86)

struct Registers {
  uint32_t eax, ebx, ecx, edx;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r{};
#ifdef _MSC_VER
  int values[4];
  __cpuidex(values, static_cast<int>(leaf), static_cast<int>(subleaf));
  r = {static_cast<uint32_t>(values[0]), static_cast<uint32_t>(values[1]), static_cast<uint32_t>(values[2]),
       static_cast<uint32_t>(values[3])};
#else
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
#endif
  return r;
}

// Which registers the operating system saves.
uint64_t saved_registers() {
#ifdef _MSC_VER
  return _xgetbv(0);
#else
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low | static_cast<uint64_t>(high) << 32;
#endif
}

// Bits as in Intel's manual, volume 2, CPUID.
Features find_features() {
  Features found;
  auto bit = [](uint32_t value, int i) { return (value >> i & 1) != 0; };
  const Registers basic = cpuid(1, 0);
  const bool osxsave = bit(basic.ecx, 27);
  const uint64_t saved = osxsave ? saved_registers() : 0;
  if ((saved & 0x6) != 0x6 || cpuid(0, 0).eax < 7) return found;
  const Registers seven = cpuid(7, 0);
  found.avx2 = bit(basic.ecx, 12) && bit(seven.ebx, 5);
  found.avxvnni = found.avx2 && seven.eax >= 1 && bit(cpuid(7, 1).eax, 4);
  if ((saved & 0xE6) != 0xE6) return found;
  found.avx512vnni = bit(seven.ebx, 16) && bit(seven.ebx, 17) && bit(seven.ebx, 30) && bit(seven.ebx, 31) &&
                     bit(seven.ecx, 11);
  found.avx512vbmi = found.avx512vnni && bit(seven.ecx, 1);
  return found;
}

#elif defined(IS_ARM)

Features find_features() {
  Features found;
  found.neon = true;  // part of every 64-bit ARM that runs an operating system of these
#if defined(__linux__)
  found.dot = (getauxval(AT_HWCAP) >> 20 & 1) != 0;    // HWCAP_ASIMDDP
  found.i8mm = (getauxval(AT_HWCAP2) >> 13 & 1) != 0;  // HWCAP2_I8MM
#elif defined(__APPLE__)
  auto has = [](const char* name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
  };
  found.dot = has("hw.optional.arm.FEAT_DotProd");
  found.i8mm = has("hw.optional.arm.FEAT_I8MM");
#elif defined(_WIN32)
  found.dot = IsProcessorFeaturePresent(43) != 0;   // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
  found.i8mm = IsProcessorFeaturePresent(66) != 0;  // PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE
#endif
  found.i8mm = found.i8mm && found.dot;
  return found;
}

#else

Features find_features() { return {}; }

#endif

const Features& features() {
  static const Features found = find_features();
  return found;
}

}  // namespace

bool has_avx2() { return features().avx2; }
bool has_avxvnni() { return features().avxvnni; }
bool has_avx512vnni() { return features().avx512vnni; }
bool has_avx512vbmi() { return features().avx512vbmi; }
bool has_neon() { return features().neon; }
bool has_neon_dot() { return features().dot; }
bool has_neon_i8mm() { return features().i8mm; }

}  // namespace int8
