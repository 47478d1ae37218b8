#include "compiler.h"
#include "cpu.h"
#include "suppression.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace detection {
namespace portable {
namespace {
#include "detection_loops.h"
}
}  // namespace portable

#ifdef IS_X86
BEGIN_TARGET("avx2,fma")
namespace avx2 {
namespace {
#include "detection_loops.h"
}
}  // namespace avx2
END_TARGET
#endif

const Loops& loops() {
  static constexpr Loops kPortable{portable::stay_beside_first, portable::blend, portable::blend_bytes};
#ifdef IS_X86
  static constexpr Loops kAvx2{avx2::stay_beside_first, avx2::blend, avx2::blend_bytes};
  if (int8::has_avx2()) return kAvx2;
#endif
  return kPortable;
}

}  // namespace detection
