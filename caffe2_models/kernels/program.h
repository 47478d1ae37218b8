// A net's int8 operators as a list of steps over buffers.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "int8.h"
#include "pack.h"
#include "thread_pool.h"

namespace int8 {

// Throws std::invalid_argument, "invalid WHAT VALUE: expected LOW to HIGH", for a value outside these ends.
void check_range(const char* what, int64_t value, int64_t low, int64_t high);

// Throws std::invalid_argument for sizes below 1, and for absurd ones: what is computed from the others stays within 64
// bits, the sum of a window's bytes within 31. Windows given to the functions below must be checked.
void check_window(const Window& window);

// What a convolution's padded input takes; 0 where it needs none.
int64_t padded_bytes(const Window& window, int64_t in_channels, int64_t out_channels, int64_t groups);

// These throw std::invalid_argument for invalid parameters.
Filter make_filter(std::span<const uint8_t> weights, std::span<const int32_t> bias, const Window& window,
                   int64_t in_channels, int64_t groups, int32_t weight_zero_point, int32_t x_zero_point,
                   const Requantization& requantization);
Addition make_addition(int32_t a_multiplier, int32_t a_zero_point, int32_t b_multiplier, int32_t b_zero_point,
                       int32_t shift, int32_t zero_point, int32_t lowest);

// A layer with weights, packed: one of the two. The number of images is not in it.
struct Layer {
  std::shared_ptr<const Depthwise> depthwise;
  std::shared_ptr<const Convolution> convolution;
  std::shared_ptr<const void> owner;  // of what it was packed from
};

// What programs that run one at a time share: memory for activations, and the layers packed so far, so that a program
// for another number of images packs nothing again.
class Shared {
 public:
  // At least so many bytes. A program holds on to what it got, though a later one asks for more.
  std::shared_ptr<AlignedVector<uint8_t>> arena(int64_t bytes);
  // The layer, packed now or before. What the filter points to stays as it is for as long as `owner` lives; without
  // an owner nothing is remembered.
  Layer layer(const Kernels& kernels, const Window& window, const Filter& filter, std::shared_ptr<const void> owner);

 private:
  std::shared_ptr<AlignedVector<uint8_t>> arena_;
  std::map<std::vector<int64_t>, Layer> layers_;
};

// An axis of an output: its extent, and how many elements apart its neighbours are in either input, 0 where that has
// one for all.
struct Axis {
  int64_t extent, x_pitch, gate_pitch;
};
using Axes = std::array<Axis, 4>;

// Of 12 numbers, three for each axis. Throws std::invalid_argument for an extent below 1.
Axes make_axes(std::span<const int64_t> values);

// Buffers are numbers. Most lie in one arena, at offsets that the caller chooses so that they share its
// memory; others are bound to the caller's own memory before a run. Every method that adds a step checks that
// the step stays within its buffers, and throws std::invalid_argument where it does not.
class Program {
 public:
  Program(const Kernels& kernels, std::shared_ptr<ThreadPool> pool, int64_t arena_bytes,
          std::shared_ptr<Shared> shared = std::make_shared<Shared>());

  int buffer(int64_t offset, int64_t bytes);  // in the arena
  int external(int64_t bytes);
  void bind(int buffer, uint8_t* memory, int64_t bytes);
  uint8_t* memory(int buffer) const { return at(buffer).memory; }
  int64_t bytes(int buffer) const { return at(buffer).bytes; }
  bool is_external(int buffer) const { return !at(buffer).has_slack; }

  // padded: a buffer of padded_bytes, or any number where that is 0. owner: see Shared.
  void convolution(int x, int y, int padded, Window window, const Filter& filter,
                   std::shared_ptr<const void> owner = nullptr);
  void add(int a, int b, int y, int64_t elements, const Addition& addition);
  void pool(int x, int y, const Pooling& pooling);
  void quantize(int x, int y, int64_t elements, const Quantization& quantization);
  // From float32 NCHW to uint8 NHWC.
  void quantize_planes(int x, int y, int64_t images, int64_t channels, int64_t pixels,
                       const Quantization& quantization);
  void dequantize(int x, int y, int64_t elements, const Quantization& quantization);
  void look_up(int x, int y, int64_t elements, const uint8_t* table);
  void look_up_floats(int x, int y, int64_t elements, const float* table);
  // y = table[gate][x] for each element of y, whose axes these are; table: 256 x 256.
  void look_up_pairs(int x, int gate, int y, const Axes& axes, const uint8_t* table);
  // From uint8 to float32; table: of each byte.
  void average_floats(int x, int y, const FloatPooling& pooling, const float* table);
  // Softmax over rows of `channels`: see caffe2_models.int8.softmax.
  void softmax(int x, int y, int64_t rows, int64_t channels, const int64_t* table);
  // Runs of bytes from given positions, one after the other.
  void gather(int x, int y, int64_t run, std::vector<int32_t> positions);
  // Copies `rows` runs of `run` bytes: from x at x_offset every x_pitch bytes to y at y_offset every y_pitch
  // bytes.
  void copy(int x, int y, int64_t rows, int64_t run, int64_t x_offset, int64_t x_pitch, int64_t y_offset,
            int64_t y_pitch);

  int64_t size() const { return static_cast<int64_t>(steps_.size()); }
  void run(int64_t first, int64_t last);

 private:
  struct Buffer {
    uint8_t* memory;
    int64_t bytes;
    bool has_slack;  // in the arena: kSlack bytes may be read past its end, and steps may write to it
  };

  const Buffer& at(int buffer) const;
  void require(int buffer, int64_t bytes, bool slack = false) const;
  void require_writable(int buffer, int64_t bytes) const;
  void require_floats(int buffer, int64_t count) const;
  void pad(int x, int y, const Window& window, int64_t channels, uint8_t value);
  void push(int64_t tasks, std::function<void(int64_t, uint8_t*)> run, int64_t scratch_bytes = 0);
  int64_t parts_of(int64_t instructions) const;

  const Kernels& kernels_;
  std::shared_ptr<ThreadPool> pool_;
  std::shared_ptr<Shared> shared_;
  std::shared_ptr<AlignedVector<uint8_t>> arena_;
  int64_t arena_bytes_;
  std::vector<Buffer> buffers_;
  std::vector<Step> steps_;
  int64_t scratch_bytes_ = 0;
};

}  // namespace int8
