// Plain C++: for machines without the instructions that the other files use.
#include <algorithm>
#include <cstring>

#include "kernels.h"

namespace int8 {
namespace {

struct Portable {
  static constexpr int kLanes = 8;
  static constexpr int kMaxWidth = 1;
  static constexpr int rows_of(int) { return 4; }

  struct Sums {
    int32_t lane[kLanes];
  };
  using Lanes = Sums;
  struct Inputs {
    uint8_t byte[kLanes * kDepth];
  };
  struct Weights {
    int8_t byte[kLanes * kDepth];
  };
  struct Bytes {
    uint8_t byte[4 * kLanes];
  };

  template <class T>
  static T load(const void* p) {
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
  }
  static Sums load_sums(const int32_t* p) { return load<Sums>(p); }
  static Inputs load_inputs(const uint8_t* p) { return load<Inputs>(p); }
  static Weights load_weights(const int8_t* p) { return load<Weights>(p); }
  static Inputs broadcast(const uint8_t* p) {
    Inputs x;
    for (int i = 0; i < kLanes; i++) std::memcpy(x.byte + i * kDepth, p, kDepth);
    return x;
  }
  static Sums dot(Sums sums, Inputs x, Weights w) {
    for (int i = 0; i < kLanes; i++)
      for (int k = 0; k < kDepth; k++) sums.lane[i] += x.byte[i * kDepth + k] * w.byte[i * kDepth + k];
    return sums;
  }
  static Lanes lanes_of(Sums sums) { return sums; }
  static Lanes add(Lanes lanes, int32_t term) {
    for (int32_t& lane : lanes.lane) lane = static_cast<int32_t>(static_cast<uint32_t>(lane) + static_cast<uint32_t>(term));
    return lanes;
  }

  // The exact form, whatever the plan says: a fused multiply-add is slow where the machine has none.
  template <Rounding>
  struct Requantize {
    const Requantization r;

    explicit Requantize(const Requantization& r) : r(r) {}

    Bytes operator()(const Lanes& a, const Lanes& b, const Lanes& c, const Lanes& d) const {
      Bytes bytes;
      const Lanes* all[] = {&a, &b, &c, &d};
      for (int i = 0; i < 4 * kLanes; i++) {
        const int32_t acc = all[i / kLanes]->lane[i % kLanes];
        const int64_t n = (int64_t{acc} * r.multiplier + (acc < 0 ? r.rounding_negative : r.rounding)) >> r.shift;
        bytes.byte[i] = static_cast<uint8_t>(std::clamp<int64_t>(n + r.zero_point, r.lowest, 255));
      }
      return bytes;
    }
  };

  static void store_all(const Bytes& bytes, uint8_t* y) { std::memcpy(y, bytes.byte, sizeof bytes); }

  template <int i>
  static void store(const Bytes& bytes, uint8_t* y, int count) {
    std::memcpy(y, bytes.byte + i * kLanes, static_cast<size_t>(count));
  }

  static void interleave(const uint8_t* const rows[4], uint8_t* out) {
    for (int i = 0; i < kLanes; i++)
      for (int k = 0; k < kDepth; k++) out[i * kDepth + k] = rows[k][i];
  }

  static int32_t sum(const uint8_t* x, const std::vector<int64_t>& tap_offset, int64_t depth) {
    int32_t total = 0;
    for (const int64_t offset : tap_offset)
      for (int64_t i = 0; i < depth; i++) total += x[offset + i];
    return total;
  }

  static constexpr bool kAddsVectors = false;
};

bool always() { return true; }

}  // namespace

const Kernels portable = make_kernels<Portable>("portable", always);

}  // namespace int8
