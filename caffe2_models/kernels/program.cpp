#include "program.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace int8 {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 36;
constexpr int64_t kMaxScratch = int64_t{1} << 30;  // of each thread
constexpr size_t kMaxLayers = 1 << 14;             // remembered
constexpr int64_t kMaxExtent = (int64_t{1} << 24) - 1;
constexpr int64_t kMaxArea = int64_t{1} << 23;

// The product of dimensions, each at least 1.
int64_t product(std::initializer_list<int64_t> factors) {
  int64_t result = 1;
  for (const int64_t factor : factors) {
    check_range("dimension", factor, 1, kMaxBytes / result);
    result *= factor;
  }
  return result;
}

void check(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

void check_bytes(std::initializer_list<int32_t> values) {
  for (const int32_t value : values) check_range("zero point", value, 0, 255);
}

// First and last + 1 of the i-th of `parts` nearly equal parts.
Range part_of(int64_t total, int64_t parts, int64_t i) {
  return {total * i / parts, total * (i + 1) / parts};
}

}  // namespace

void check_range(const char* what, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    throw std::invalid_argument("invalid " + std::string(what) + " " + std::to_string(value) + ": expected " +
                                std::to_string(low) + " to " + std::to_string(high));
}

void check_window(const Window& w) {
  for (const int64_t value : {w.images, w.in_h, w.in_w, w.out_h, w.out_w, w.kernel_h, w.kernel_w, w.stride_h,
                              w.stride_w, w.dilation_h, w.dilation_w})
    check_range("size of a window", value, 1, kMaxExtent);
  for (const int64_t pad : {w.pad_top, w.pad_left}) check_range("pad of a window", pad, 0, kMaxExtent);
  for (const int64_t extent : {w.rows(), w.columns()}) check_range("extent of a window's input", extent, 1, kMaxExtent);
  check_range("area of a window", w.kernel_h * w.kernel_w, 1, kMaxArea);
}

Filter make_filter(std::span<const uint8_t> weights, std::span<const int32_t> bias, const Window& w,
                   int64_t in_channels, int64_t groups, int32_t weight_zero_point, int32_t x_zero_point,
                   const Requantization& requantization) {
  const int64_t out_channels = static_cast<int64_t>(bias.size());
  check(groups >= 1 && in_channels >= 1 && in_channels % groups == 0 && out_channels >= 1,
        "weights that do not fit");
  check(static_cast<int64_t>(weights.size()) == product({out_channels, w.kernel_h, w.kernel_w, in_channels / groups}),
        "weights that do not fit");
  check_bytes({weight_zero_point, x_zero_point});
  return {weights.data(), bias.data(),       in_channels,  out_channels,
          groups,         weight_zero_point, x_zero_point, requantization};
}

Addition make_addition(int32_t a_multiplier, int32_t a_zero_point, int32_t b_multiplier, int32_t b_zero_point,
                       int32_t shift, int32_t zero_point, int32_t lowest) {
  for (const int32_t multiplier : {a_multiplier, b_multiplier}) check_range("multiplier", multiplier, 0, 1 << 22);
  check_range("shift of an addition", shift, 1, 32);
  check_bytes({a_zero_point, b_zero_point, zero_point, lowest});
  return {a_multiplier, b_multiplier, shift, -a_multiplier * a_zero_point - b_multiplier * b_zero_point,
          zero_point,   lowest};
}

Axes make_axes(std::span<const int64_t> values) {
  Axes axes;
  check(values.size() == 3 * axes.size(), "axes of another number");
  for (size_t i = 0; i < axes.size(); i++) {
    check_range("dimension", values[3 * i], 1, kMaxBytes);
    axes[i] = {values[3 * i], values[3 * i + 1], values[3 * i + 2]};
  }
  return axes;
}

std::shared_ptr<AlignedVector<uint8_t>> Shared::arena(int64_t bytes) {
  if (arena_ == nullptr || static_cast<int64_t>(arena_->size()) < bytes)
    arena_ = std::make_shared<AlignedVector<uint8_t>>(static_cast<size_t>(bytes));
  return arena_;
}

Layer Shared::layer(const Kernels& kernels, const Window& window, const Filter& f, std::shared_ptr<const void> owner) {
  const auto address = [](const void* memory) { return static_cast<int64_t>(reinterpret_cast<intptr_t>(memory)); };
  const Window& w = window;
  const Requantization& r = f.requantization;
  std::vector<int64_t> key{address(&kernels), address(f.weights), address(f.bias), f.in_channels,   f.out_channels,
                           f.groups,          f.weight_zero_point, f.x_zero_point, r.multiplier,    r.shift,
                           r.zero_point,      r.lowest,            w.in_h,         w.in_w,          w.out_h,
                           w.out_w,           w.kernel_h,          w.kernel_w,     w.stride_h,      w.stride_w,
                           w.dilation_h,      w.dilation_w,        w.pad_top,      w.pad_left};
  if (const auto known = layers_.find(key); known != layers_.end()) return known->second;
  Layer layer{nullptr, nullptr, std::move(owner)};
  if (f.groups == f.in_channels && f.groups == f.out_channels)
    layer.depthwise = std::make_shared<Depthwise>(pack_depthwise(kernels, window, f));
  else layer.convolution = std::make_shared<Convolution>(pack_convolution(kernels, window, f));
  if (layer.owner != nullptr) {
    if (layers_.size() == kMaxLayers) layers_.clear();
    layers_.emplace(std::move(key), layer);
  }
  return layer;
}

Program::Program(const Kernels& kernels, std::shared_ptr<ThreadPool> pool, int64_t arena_bytes,
                 std::shared_ptr<Shared> shared)
    : kernels_(kernels), pool_(std::move(pool)), shared_(std::move(shared)), arena_bytes_(arena_bytes) {
  check_range("size of the arena", arena_bytes, 0, kMaxBytes);
  arena_ = shared_->arena(arena_bytes + kSlack);
}

const Program::Buffer& Program::at(int buffer) const {
  check(buffer >= 0 && buffer < static_cast<int>(buffers_.size()), "no such buffer");
  return buffers_[static_cast<size_t>(buffer)];
}

int Program::buffer(int64_t offset, int64_t bytes) {
  check(offset >= 0 && bytes >= 0 && offset <= arena_bytes_ && bytes <= arena_bytes_ - offset,
        "a buffer outside the arena");
  buffers_.push_back({arena_->data() + offset, bytes, true});
  return static_cast<int>(buffers_.size()) - 1;
}

int Program::external(int64_t bytes) {
  check_range("size of a buffer", bytes, 0, kMaxBytes);
  buffers_.push_back({nullptr, bytes, false});
  return static_cast<int>(buffers_.size()) - 1;
}

void Program::bind(int buffer, uint8_t* memory, int64_t bytes) {
  check(!at(buffer).has_slack && at(buffer).bytes == bytes, "an array that does not fit its buffer");
  buffers_[static_cast<size_t>(buffer)].memory = memory;
}

void Program::require(int buffer, int64_t bytes, bool slack) const {
  check(bytes >= 0 && at(buffer).bytes >= bytes, "a buffer that is too small");
  check(at(buffer).has_slack || !slack, "a buffer without slack");
}

void Program::require_writable(int buffer, int64_t bytes) const {
  require(buffer, bytes);
  check(!is_external(buffer), "a step that writes to the caller's memory");
}

// The caller's own floats are where a C compiler puts them; in the arena they lie as the plan says.
void Program::require_floats(int buffer, int64_t count) const {
  check(count >= 0 && count <= bytes(buffer) / 4, "a buffer that is too small");
  check(reinterpret_cast<uintptr_t>(memory(buffer)) % alignof(float) == 0, "floats that are not aligned");
}

void Program::push(int64_t tasks, std::function<void(int64_t, uint8_t*)> run, int64_t scratch_bytes) {
  check(scratch_bytes <= kMaxScratch, "a step that takes too much memory");
  steps_.push_back({tasks, std::move(run)});
  scratch_bytes_ = std::max(scratch_bytes_, scratch_bytes);
}

// Into how many tasks to cut work of so many vector instructions: several for each thread, so that they end
// together though one is held up, but none shorter than what it costs to share.
int64_t Program::parts_of(int64_t instructions) const {
  constexpr int64_t kLeast = 4096, kMostPerThread = 8;  // about 2 microseconds
  if (pool_->threads() == 1) return 1;
  return std::clamp<int64_t>(instructions / kLeast, 1, kMostPerThread * pool_->threads());
}

void Program::run(int64_t first, int64_t last) {
  check(first >= 0 && first <= last && last <= size(), "no such steps");
  for (const Buffer& buffer : buffers_) check(buffer.memory != nullptr, "a buffer is not bound");
  pool_->run(steps_.data() + first, last - first, scratch_bytes_);
}

// ----------------------------------------------------------------------------------------------- steps

int64_t padded_bytes(const Window& w, int64_t in_channels, int64_t out_channels, int64_t groups) {
  if (groups == in_channels && groups == out_channels) return 0;  // depthwise pads itself
  if (w.pad_top == 0 && w.pad_left == 0 && w.rows() <= w.in_h && w.columns() <= w.in_w) return 0;
  return product({w.images, w.rows(), w.columns(), in_channels});
}

void Program::convolution(int x, int y, int padded, Window w, const Filter& filter,
                          std::shared_ptr<const void> owner) {
  const int64_t channels = filter.in_channels, out_channels = filter.out_channels;
  check(filter.groups >= 1 && channels % filter.groups == 0 && out_channels % filter.groups == 0,
        "groups that do not divide");
  require(x, product({w.images, w.in_h, w.in_w, channels}), true);
  require_writable(y, product({w.images, w.out_h, w.out_w, out_channels}));

  if (filter.groups == channels && filter.groups == out_channels) {
    const auto plan = shared_->layer(kernels_, w, filter, std::move(owner)).depthwise;
    const int64_t rows = w.images * w.out_h, lanes = kernels_.layout.lanes, blocks = (channels + lanes - 1) / lanes;
    // Neighbouring blocks share cache lines, neighbouring rows the interleaving: neither goes in too small
    // pieces.
    const int64_t parts = parts_of(rows * blocks * w.out_w * ((w.kernel_h + 1) * w.kernel_w + 12));
    const int64_t block_parts = std::clamp<int64_t>(blocks / 4, 1, parts);
    const int64_t row_parts = std::clamp<int64_t>(rows / 8, 1, parts / block_parts);
    push(
        row_parts * block_parts,
        [=, this](int64_t task, uint8_t* scratch) {
          kernels_.depthwise(*plan, memory(x), memory(y), part_of(rows, row_parts, task / block_parts),
                             part_of(blocks, block_parts, task % block_parts), scratch);
        },
        kernels_.depthwise_scratch(*plan));
    return;
  }

  if (const int64_t bytes = padded_bytes(w, channels, out_channels, filter.groups)) {
    require(padded, bytes, true);
    pad(x, padded, w, channels, static_cast<uint8_t>(filter.x_zero_point));
    x = padded;
    w.in_h = w.rows();
    w.in_w = w.columns();
    w.pad_top = w.pad_left = 0;
  }
  const auto plan = shared_->layer(kernels_, w, filter, std::move(owner)).convolution;
  const int64_t rows = w.images * w.out_h * w.out_w, tiles = static_cast<int64_t>(plan->tiles.size());
  // Weights that outweigh the input are shared out by tiles, so that each is read by one thread; then rows,
  // whole tiles of them.
  const int64_t dots = rows * static_cast<int64_t>(plan->weights.size()) / (kernels_.layout.lanes * kernels_.layout.depth);
  const int64_t parts = parts_of(dots + bytes(y) / 4);
  const int64_t tile_rows = kernels_.rows_of(plan->tiles[0].width),
                bands = (rows + tile_rows - 1) / tile_rows;
  const bool by_tiles = static_cast<int64_t>(plan->weights.size()) > bytes(x) || bands < parts;
  const int64_t tile_parts = by_tiles ? std::min(tiles, parts) : 1;
  const int64_t row_parts = std::clamp<int64_t>(parts / tile_parts, 1, bands);
  push(
      row_parts * tile_parts,
      [=, this](int64_t task, uint8_t* scratch) {
        const Range band = part_of(bands, row_parts, task / tile_parts);
        kernels_.convolution(*plan, memory(x), memory(y),
                             {band.begin * tile_rows, std::min(band.end * tile_rows, rows)},
                             part_of(tiles, tile_parts, task % tile_parts), scratch);
      },
      kernels_.convolution_scratch(*plan));
}

// A copy of the images with pads all around: exactly the rows and columns that the window touches.
void Program::pad(int x, int y, const Window& w, int64_t channels, uint8_t value) {
  const int64_t rows = w.rows(), pitch = w.columns() * channels;
  const int64_t left = std::min(w.pad_left * channels, pitch),
                inside = std::min(w.in_w * channels, pitch - left);
  const int64_t total = w.images * rows, parts = parts_of(total * pitch / 32);
  push(parts, [=, this](int64_t task, uint8_t*) {
    const Range range = part_of(total, parts, task);
    for (int64_t i = range.begin; i < range.end; i++) {
      uint8_t* to = memory(y) + i * pitch;
      const int64_t row = i % rows - w.pad_top;
      if (row < 0 || row >= w.in_h) {
        std::memset(to, value, static_cast<size_t>(pitch));
        continue;
      }
      const uint8_t* from = memory(x) + (i / rows * w.in_h + row) * w.in_w * channels;
      std::memset(to, value, static_cast<size_t>(left));
      std::memcpy(to + left, from, static_cast<size_t>(inside));
      std::memset(to + left + inside, value, static_cast<size_t>(pitch - left - inside));
    }
  });
}

void Program::add(int a, int b, int y, int64_t elements, const Addition& addition) {
  for (const int buffer : {a, b}) require(buffer, elements);
  require_writable(y, elements);
  const int64_t parts = parts_of(elements);
  push(parts, [=, this](int64_t task, uint8_t*) {
    kernels_.add(addition, memory(a), memory(b), memory(y), part_of(elements, parts, task));
  });
}

void Program::pool(int x, int y, const Pooling& pooling) {
  if (pooling.mean) check_range("shift of a mean", pooling.shift, 1, 62);
  check_bytes({pooling.x_zero_point, pooling.zero_point, pooling.lowest});
  const Window& w = pooling.window;
  require(x, product({w.images, w.in_h, w.in_w, pooling.channels}));
  require_writable(y, product({w.images, w.out_h, w.out_w, pooling.channels}));
  const int64_t rows = w.images * w.out_h,
                parts = std::min(rows, parts_of(bytes(y) * (w.kernel_h * w.kernel_w + 8) / 16));
  push(
      parts,
      [=, this](int64_t task, uint8_t* scratch) {
        kernels_.pool(pooling, memory(x), memory(y), part_of(rows, parts, task),
                      reinterpret_cast<int32_t*>(scratch));
      },
      pooling.channels * static_cast<int64_t>(sizeof(int32_t)));
}

void Program::quantize(int x, int y, int64_t elements, const Quantization& quantization) {
  check_bytes({quantization.zero_point});
  require_floats(x, elements);
  require_writable(y, elements);
  const int64_t parts = parts_of(elements);
  push(parts, [=, this](int64_t task, uint8_t*) {
    const Range range = part_of(elements, parts, task);
    const float* from = reinterpret_cast<const float*>(memory(x)) + range.begin;
    kernels_.quantize(quantization, from, memory(y) + range.begin, range.end - range.begin);
  });
}

void Program::quantize_planes(int x, int y, int64_t images, int64_t channels, int64_t pixels,
                              const Quantization& quantization) {
  check_bytes({quantization.zero_point});
  const int64_t elements = product({images, channels, pixels});
  require_floats(x, elements);
  require_writable(y, elements);
  constexpr int64_t kRun = 1024;  // pixels whose quantized planes stay in the first-level cache
  const int64_t runs = (pixels + kRun - 1) / kRun, total = images * runs;
  const int64_t parts = std::min(total, parts_of(elements));
  push(
      parts,
      [=, this](int64_t task, uint8_t* scratch) {
        const Range range = part_of(total, parts, task);
        for (int64_t i = range.begin; i < range.end; i++) {
          const int64_t first = i % runs * kRun, count = std::min(kRun, pixels - first);
          const float* from =
              reinterpret_cast<const float*>(memory(x)) + i / runs * channels * pixels + first;
          uint8_t* to = memory(y) + (i / runs * pixels + first) * channels;
          kernels_.quantize_planes(quantization, from, pixels, channels, to, count, scratch);
        }
      },
      kRun * channels);
}

void Program::dequantize(int x, int y, int64_t elements, const Quantization& quantization) {
  check_bytes({quantization.zero_point});
  require(x, elements);
  require_floats(y, elements);
  require_writable(y, elements);
  const int64_t parts = parts_of(elements);
  push(parts, [=, this](int64_t task, uint8_t*) {
    const Range range = part_of(elements, parts, task);
    float* to = reinterpret_cast<float*>(memory(y)) + range.begin;
    kernels_.dequantize(quantization, memory(x) + range.begin, to, range.end - range.begin);
  });
}

void Program::look_up(int x, int y, int64_t elements, const uint8_t* table) {
  require(x, elements);
  require_writable(y, elements);
  auto own = std::make_shared<std::vector<uint8_t>>(table, table + 256);
  const int64_t parts = parts_of(elements);
  push(parts, [=, this](int64_t task, uint8_t*) {
    const Range range = part_of(elements, parts, task);
    kernels_.look_up(own->data(), memory(x) + range.begin, memory(y) + range.begin, range.end - range.begin);
  });
}

void Program::look_up_floats(int x, int y, int64_t elements, const float* table) {
  require(x, elements);
  require_floats(y, elements);
  require_writable(y, elements);
  auto own = std::make_shared<std::vector<float>>(table, table + 256);
  const int64_t parts = parts_of(elements);
  push(parts, [=, this](int64_t task, uint8_t*) {
    const Range range = part_of(elements, parts, task);
    const uint8_t* from = memory(x);
    float* to = reinterpret_cast<float*>(memory(y));
    for (int64_t i = range.begin; i < range.end; i++) to[i] = (*own)[from[i]];
  });
}

void Program::look_up_pairs(int x, int gate, int y, const Axes& axes, const uint8_t* table) {
  int64_t x_last = 0, gate_last = 0;
  const int64_t elements = product({axes[0].extent, axes[1].extent, axes[2].extent, axes[3].extent});
  for (const Axis& axis : axes) {
    for (const int64_t pitch : {axis.x_pitch, axis.gate_pitch}) check_range("pitch", pitch, 0, kMaxBytes / axis.extent);
    x_last += (axis.extent - 1) * axis.x_pitch;
    gate_last += (axis.extent - 1) * axis.gate_pitch;
  }
  require(x, x_last + 1);
  require(gate, gate_last + 1);
  require_writable(y, elements);
  auto own = std::make_shared<std::vector<uint8_t>>(table, table + 256 * 256);
  const auto [count, x_pitch, gate_pitch] = axes[3];
  const int64_t rows = elements / count, parts = std::min(rows, parts_of(2 * elements));
  push(parts, [=, this, count = count, x_pitch = x_pitch, gate_pitch = gate_pitch](int64_t task, uint8_t*) {
    const Range range = part_of(rows, parts, task);
    for (int64_t row = range.begin; row < range.end; row++) {
      const uint8_t *from = memory(x), *gates = memory(gate);
      int64_t rest = row;
      for (const int axis : {2, 1, 0}) {
        const int64_t i = rest % axes[axis].extent;
        rest /= axes[axis].extent;
        from += i * axes[axis].x_pitch;
        gates += i * axes[axis].gate_pitch;
      }
      uint8_t* to = memory(y) + row * count;
      const uint8_t* by_gate = own->data();
      if (gate_pitch == 0 && x_pitch == 1) kernels_.look_up(by_gate + *gates * 256, from, to, count);
      else if (gate_pitch == 1 && x_pitch == 1)
        for (int64_t c = 0; c < count; c++) to[c] = by_gate[gates[c] * 256 + from[c]];
      else
        for (int64_t c = 0; c < count; c++) to[c] = by_gate[gates[c * gate_pitch] * 256 + from[c * x_pitch]];
    }
  });
}

void Program::average_floats(int x, int y, const FloatPooling& pooling, const float* table) {
  const Window& w = pooling.window;
  const int64_t channels = pooling.channels, outputs = product({w.images, w.out_h, w.out_w, channels});
  require(x, product({w.images, w.in_h, w.in_w, channels}));
  require_floats(y, outputs);
  require_writable(y, 4 * outputs);
  check(w.dilation_h == 1 && w.dilation_w == 1, "a pool with dilation");
  auto own = std::make_shared<std::vector<float>>(table, table + 256);
  const int64_t rows = w.images * w.out_h;
  const int64_t parts = parts_of(outputs * std::min(w.kernel_h, w.in_h) * std::min(w.kernel_w, w.in_w));
  const int64_t blocks = std::clamp<int64_t>(parts / rows, 1, (channels + 15) / 16);  // of channels
  push(rows * blocks, [=, this](int64_t task, uint8_t*) {
    kernels_.pool_floats(pooling, own->data(), memory(x), reinterpret_cast<float*>(memory(y)), task / blocks,
                         part_of(channels, blocks, task % blocks));
  });
}

void Program::softmax(int x, int y, int64_t rows, int64_t channels, const int64_t* table) {
  const int64_t elements = product({rows, channels});
  require(x, elements);
  require_writable(y, elements);
  for (int i = 0; i < 256; i++) check_range("exponential", table[i], 0, UINT32_MAX);
  auto own = std::make_shared<std::vector<int64_t>>(table, table + 256);
  push(1, [=, this](int64_t, uint8_t*) {
    for (int64_t row = 0; row < rows; row++) {
      const uint8_t* from = memory(x) + row * channels;
      const int64_t* values = own->data() + 255 - *std::max_element(from, from + channels);
      int64_t total = 0;
      for (int64_t c = 0; c < channels; c++) total += values[from[c]];
      total = std::max<int64_t>(total & 0xFFFFFFFF, 1);  // QNNPACK sums in uint32
      uint8_t results[256];
      bool known[256] = {};
      for (int64_t c = 0; c < channels; c++) {
        const uint8_t byte = from[c];
        if (!known[byte]) {
          known[byte] = true;
          results[byte] =
              static_cast<uint8_t>(std::min<int64_t>((256 * values[byte] + (total >> 1)) / total, 255));
        }
        memory(y)[row * channels + c] = results[byte];
      }
    }
  });
}

void Program::gather(int x, int y, int64_t run, std::vector<int32_t> positions) {
  const int64_t runs = static_cast<int64_t>(positions.size());
  require_writable(y, product({runs, run}));
  const auto [first, last] = std::minmax_element(positions.begin(), positions.end());
  check_range("position", *first, 0, INT32_MAX);
  require(x, *last + run);
  auto own = std::make_shared<std::vector<int32_t>>(std::move(positions));
  const int64_t parts = parts_of(runs * (1 + run / 32));
  push(parts, [=, this](int64_t task, uint8_t*) {
    const Range range = part_of(runs, parts, task);
    const uint8_t* from = memory(x);
    uint8_t* to = memory(y) + range.begin * run;
    for (int64_t i = range.begin; i < range.end; i++, to += run) {
      if (run == 1) *to = from[(*own)[i]];
      else std::memcpy(to, from + (*own)[i], static_cast<size_t>(run));
    }
  });
}

void Program::copy(int x, int y, int64_t rows, int64_t run, int64_t x_offset, int64_t x_pitch,
                   int64_t y_offset, int64_t y_pitch) {
  for (const int64_t offset : {x_offset, y_offset}) check_range("offset of a copy", offset, 0, kMaxBytes - 1);
  check_range("length of a copy", run, 1, kMaxBytes);
  require(x, x_offset + product({rows, x_pitch}) - x_pitch + run);
  require_writable(y, y_offset + product({rows, y_pitch}) - y_pitch + run);
  const int64_t parts = std::min(rows, parts_of(rows * run / 32));
  push(parts, [=, this](int64_t task, uint8_t*) {
    const Range range = part_of(rows, parts, task);
    for (int64_t i = range.begin; i < range.end; i++)
      std::memcpy(memory(y) + y_offset + i * y_pitch, memory(x) + x_offset + i * x_pitch,
                  static_cast<size_t>(run));
  });
}

}  // namespace int8
