// Plain C++: for machines without the instructions that the other files use.
#include <algorithm>
#include <cstring>

#include "kernels.h"

namespace int8 {
namespace {

// Vectors of 16 bytes, which the compiler makes of whatever the machine has.
using Uint16x8 = uint16_t __attribute__((vector_size(16)));
using Int16x8 = int16_t __attribute__((vector_size(16)));
using Uint32x4 = uint32_t __attribute__((vector_size(16)));
using Int32x4 = int32_t __attribute__((vector_size(16)));

struct Portable {
  static constexpr int kLanes = 4;
  static constexpr Layout kLayout{
      .lanes = kLanes, .max_tile_width = 2, .depth = 4, .row_group = 4, .x_offset = 0};
  static constexpr int rows_of(int width) { return width == 2 ? 2 : 4; }

  using Input = uint8_t;
  using Column = uint8_t;
  using Sums = Int32x4;
  struct Inputs {
    Int16x8 even, odd;  // of 16 bytes, widened
  };
  using Weights = Inputs;
  struct Lanes {
    int32_t lane[kLanes];
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
  static Inputs widen(Uint16x8 bytes) { return {(Int16x8)(bytes & 0xFF), (Int16x8)(bytes >> 8)}; }
  static Inputs load_inputs(const uint8_t* p) { return widen(load<Uint16x8>(p)); }
  static Inputs broadcast(const uint8_t* p) { return widen((Uint16x8)(Int32x4{} + load<int32_t>(p))); }
  static Weights load_weights(const int8_t* p) {
    const auto bytes = load<Uint16x8>(p);
    return {(Int16x8)(bytes << 8) >> 8, (Int16x8)bytes >> 8};
  }
  // Each product of uint8 and int8 fits into int16; two of them share one int32 lane.
  static Sums add_pairs(Sums sums, Int16x8 products) {
    const auto first = (Int32x4)((Uint32x4)products << 16) >> 16, second = (Int32x4)products >> 16;
    return sums + first + second;
  }
  static Sums dot(Sums sums, const Inputs& x, const Weights& w) {
    return add_pairs(add_pairs(sums, x.even * w.even), x.odd * w.odd);
  }
  static Lanes lanes_of(const Sums& sums) { return {{sums[0], sums[1], sums[2], sums[3]}}; }
  static Lanes add(Lanes lanes, int32_t term) {
    for (int32_t& lane : lanes.lane) lane += term;
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
        const int64_t n =
            (int64_t{acc} * r.multiplier + (acc < 0 ? r.rounding_negative : r.rounding)) >> r.shift;
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

  static uint8_t column_of(uint8_t byte) { return byte; }
  static void interleave(const uint8_t* const rows[4], uint8_t* out) {
    for (int i = 0; i < kLanes; i++)
      for (int k = 0; k < 4; k++) out[i * 4 + k] = rows[k][i];
  }

  static int32_t sum(const uint8_t* x, const std::vector<int64_t>& tap_offset, int64_t depth) {
    int32_t total = 0;
    for (const int64_t offset : tap_offset)
      for (int64_t i = 0; i < depth; i++) total += x[offset + i];
    return total;
  }

  static constexpr bool kPrepares = false, kMultiplies = false, kAddsVectors = false;
};

bool always() { return true; }

}  // namespace

constinit const Kernels portable = make_kernels<Portable>("portable", always);

}  // namespace int8
