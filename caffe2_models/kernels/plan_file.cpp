#include "plan_file.h"

#include <bit>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <unordered_map>

namespace int8 {
namespace {

static_assert(std::endian::native == std::endian::little, "plans are little-endian");

constexpr std::string_view kMagic{"CAFFE2PLAN 1\n\0\0\0", 16};

class Reader {
 public:
  explicit Reader(std::span<const uint8_t> file) : rest_(file) {}

  bool at_end() const { return rest_.empty(); }

  template <class T>
  T value() {
    T result;
    std::memcpy(&result, take(sizeof result), sizeof result);
    return result;
  }
  int64_t integer() { return value<int64_t>(); }
  int32_t small_integer() {
    const int64_t wide = integer();
    check_range("number", wide, INT32_MIN, INT32_MAX);
    return static_cast<int32_t>(wide);
  }
  // Each of what is counted takes a byte of the file at least.
  int64_t count(int64_t bytes_each = 1) {
    const int64_t result = integer();
    if (result < 0 || result > static_cast<int64_t>(rest_.size()) / bytes_each)
      throw std::invalid_argument("a plan that ends early");
    return result;
  }
  template <class T>
  std::vector<T> array() {
    const int64_t elements = count(sizeof(T));
    std::vector<T> result(static_cast<size_t>(elements));
    const uint8_t* from = take(elements * static_cast<int64_t>(sizeof(T)));
    if (elements > 0) std::memcpy(result.data(), from, result.size() * sizeof(T));
    return result;
  }
  std::string text() {
    const std::vector<char> all = array<char>();
    return {all.begin(), all.end()};
  }
  Window window() {
    Window w{};
    for (int64_t* field : {&w.images, &w.in_h, &w.in_w, &w.out_h, &w.out_w, &w.kernel_h, &w.kernel_w, &w.stride_h,
                           &w.stride_w, &w.dilation_h, &w.dilation_w, &w.pad_top, &w.pad_left})
      *field = integer();
    check_window(w);
    return w;
  }
  Requantization requantization() {
    const float scale = value<float>();
    const int32_t zero_point = small_integer();
    return make_requantization(scale, zero_point, small_integer());
  }
  Quantization quantization() {
    const float scale = value<float>();
    return {scale, small_integer()};
  }
  template <class T>
  std::vector<T> array_of(size_t elements) {
    std::vector<T> result = array<T>();
    if (result.size() != elements) throw std::invalid_argument("an array of a size that does not fit");
    return result;
  }

 private:
  const uint8_t* take(int64_t bytes) {
    if (bytes > static_cast<int64_t>(rest_.size())) throw std::invalid_argument("a plan that ends early");
    const uint8_t* from = rest_.data();
    rest_ = rest_.subspan(static_cast<size_t>(bytes));
    return from;
  }

  std::span<const uint8_t> rest_;
};

// Reads a step's operands and adds it. Braces read from left to right.
using AddStep = void (*)(Program&, Reader&);

struct Buffers {
  int x, y;
};
Buffers two(Reader& r) {
  const int x = r.small_integer();
  return {x, r.small_integer()};
}

const std::unordered_map<std::string, AddStep>& methods() {
  static const std::unordered_map<std::string, AddStep> all{
      {"convolution",
       [](Program& p, Reader& r) {
         const auto [x, y] = two(r);
         const int padded = r.small_integer();
         const Window window = r.window();
         const int64_t in_channels = r.integer(), groups = r.integer();
         const auto weights = r.array<uint8_t>();
         const auto bias = r.array<int32_t>();
         const int32_t weight_zero_point = r.small_integer(), x_zero_point = r.small_integer();
         p.convolution(x, y, padded, window,
                       make_filter(weights, bias, window, in_channels, groups, weight_zero_point, x_zero_point,
                                   r.requantization()));
       }},
      {"add",
       [](Program& p, Reader& r) {
         const auto [a, b] = two(r);
         const int y = r.small_integer();
         const int64_t elements = r.integer();
         int32_t values[7];
         for (int32_t& value : values) value = r.small_integer();
         const auto [am, az, bm, bz, shift, zero_point, lowest] = values;
         p.add(a, b, y, elements, make_addition(am, az, bm, bz, shift, zero_point, lowest));
       }},
      {"average",
       [](Program& p, Reader& r) {
         const auto [x, y] = two(r);
         const Window window = r.window();
         const int64_t channels = r.integer();
         int32_t values[5];
         for (int32_t& value : values) value = r.small_integer();
         const auto [x_zero_point, multiplier, shift, zero_point, lowest] = values;
         p.pool(x, y, {true, window, channels, x_zero_point, multiplier, shift, zero_point, lowest});
       }},
      {"maximum",
       [](Program& p, Reader& r) {
         const auto [x, y] = two(r);
         const Window window = r.window();
         const int64_t channels = r.integer();
         p.pool(x, y, {false, window, channels, 0, 0, 0, 0, r.small_integer()});
       }},
      {"quantize",
       [](Program& p, Reader& r) {
         const auto [x, y] = two(r);
         const int64_t elements = r.integer();
         p.quantize(x, y, elements, r.quantization());
       }},
      {"quantize_planes",
       [](Program& p, Reader& r) {
         const auto [x, y] = two(r);
         const int64_t images = r.integer(), channels = r.integer(), pixels = r.integer();
         p.quantize_planes(x, y, images, channels, pixels, r.quantization());
       }},
      {"dequantize",
       [](Program& p, Reader& r) {
         const auto [x, y] = two(r);
         const int64_t elements = r.integer();
         p.dequantize(x, y, elements, r.quantization());
       }},
      {"look_up",
       [](Program& p, Reader& r) {
         const auto [x, y] = two(r);
         const int64_t elements = r.integer();
         p.look_up(x, y, elements, r.array_of<uint8_t>(256).data());
       }},
      {"look_up_floats",
       [](Program& p, Reader& r) {
         const auto [x, y] = two(r);
         const int64_t elements = r.integer();
         p.look_up_floats(x, y, elements, r.array_of<float>(256).data());
       }},
      {"look_up_pairs",
       [](Program& p, Reader& r) {
         const auto [x, gate] = two(r);
         const int y = r.small_integer();
         const Axes axes = make_axes(r.array<int64_t>());
         p.look_up_pairs(x, gate, y, axes, r.array_of<uint8_t>(256 * 256).data());
       }},
      {"average_floats",
       [](Program& p, Reader& r) {
         const auto [x, y] = two(r);
         const Window window = r.window();
         const int64_t channels = r.integer();
         const bool counts_padding = r.integer() != 0;
         p.average_floats(x, y, {window, channels, counts_padding}, r.array_of<float>(256).data());
       }},
      {"softmax",
       [](Program& p, Reader& r) {
         const auto [x, y] = two(r);
         const int64_t rows = r.integer(), channels = r.integer();
         p.softmax(x, y, rows, channels, r.array_of<int64_t>(256).data());
       }},
      {"gather",
       [](Program& p, Reader& r) {
         const auto [x, y] = two(r);
         const int64_t run = r.integer();
         p.gather(x, y, run, r.array<int32_t>());
       }},
      {"copy",
       [](Program& p, Reader& r) {
         const auto [x, y] = two(r);
         int64_t values[6];
         for (int64_t& value : values) value = r.integer();
         const auto [rows, run, x_offset, x_pitch, y_offset, y_pitch] = values;
         p.copy(x, y, rows, run, x_offset, x_pitch, y_offset, y_pitch);
       }},
  };
  return all;
}

PlanTensor read_tensor(Reader& r, const Program& program) {
  PlanTensor tensor{};
  tensor.name = r.text();
  tensor.buffer = r.small_integer();
  tensor.is_float = r.integer() != 0;
  tensor.shape = r.array<int64_t>();
  tensor.scale = r.value<float>();
  tensor.zero_point = r.small_integer();
  tensor.pixels = r.array<float>();
  const int64_t available = program.bytes(tensor.buffer);
  tensor.bytes = tensor.is_float ? 4 : 1;
  for (const int64_t dim : tensor.shape) {
    if (dim < 1 || dim > available / tensor.bytes) throw std::invalid_argument("a tensor that is no buffer's size");
    tensor.bytes *= dim;
  }
  if (tensor.bytes > available) throw std::invalid_argument("a tensor that is no buffer's size");
  if (!tensor.pixels.empty() &&
      (tensor.shape.size() != 4 || static_cast<int64_t>(tensor.pixels.size()) != 256 * tensor.shape[1]))
    throw std::invalid_argument("pixels that do not fit their tensor");
  return tensor;
}

}  // namespace

Plan read_plan(std::span<const uint8_t> file, const Kernels& kernels, std::shared_ptr<ThreadPool> pool) {
  if (file.size() < kMagic.size() || std::memcmp(file.data(), kMagic.data(), kMagic.size()) != 0)
    throw std::invalid_argument("no plan of this version");
  Reader reader(file.subspan(kMagic.size()));
  const int64_t arena = reader.integer();
  check_range("size of the arena", arena, 0, kMaxArena);

  Plan plan;
  plan.program = std::make_unique<Program>(kernels, std::move(pool), arena);
  for (int64_t i = reader.count(16); i > 0; i--) {
    const int64_t offset = reader.integer(), bytes = reader.integer();
    if (offset == -1) plan.program->external(bytes);
    else plan.program->buffer(offset, bytes);
  }
  for (auto* tensors : {&plan.inputs, &plan.outputs})
    for (int64_t i = reader.count(); i > 0; i--) tensors->push_back(read_tensor(reader, *plan.program));
  for (int64_t i = reader.count(); i > 0; i--) {
    const auto method = methods().find(reader.text());
    if (method == methods().end()) throw std::invalid_argument("a step of an unknown kind");
    method->second(*plan.program, reader);
  }
  if (!reader.at_end()) throw std::invalid_argument("a plan that goes on behind its end");
  return plan;
}

}  // namespace int8
