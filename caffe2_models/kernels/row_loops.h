// The loops of rows::Kernels over vectors `Floats`. Included once for each instruction set, within a namespace and a
// region of its own, behind the definition of
//     kLanes, kRegisters, kMaxChannels (of a block), Vector
//     Vector load(const float*), set(float); void store(float*, Vector)
//     Vector load_even(const float*)                          elements 0, 2, 4, ...
//     void store_interleaved(float*, Vector even, Vector odd)
//     Vector add(a, b), multiply_add(a, b, c)                 a + b, a * b + c
//     Vector larger(a, b), smaller(a, b)                      b where either is no number

using Vector = Floats::Vector;
constexpr int kLanes = Floats::kLanes;

constexpr int kMaxVectors = 6;

// Vectors of pixels beside each other in a tile of so many sums a vector: what registers hold beside inputs and a weight.
constexpr int tile_vectors(int sums) {
  int vectors = 1;
  while (vectors < kMaxVectors && (vectors + 1) * (sums + 1) + 1 <= Floats::kRegisters) vectors++;
  return vectors;
}

template <int kStride>
INLINE_FUNCTION Vector load_pixels(const float* x, int64_t stride) {
  if constexpr (kStride == 1) return Floats::load(x);
  if constexpr (kStride == 2) return Floats::load_even(x);
  float pixels[kLanes];
  for (int i = 0; i < kLanes; i++) pixels[i] = x[i * stride];
  return Floats::load(pixels);
}

INLINE_FUNCTION Vector activated(Vector products, const Multiplication& m, int channel) {
  Vector sum = Floats::add(products, Floats::set(m.bias[channel]));
  if (m.slopes != nullptr) {
    const Vector zero = Floats::set(0);
    sum = Floats::multiply_add(Floats::smaller(zero, sum), Floats::set(m.slopes[channel]), Floats::larger(zero, sum));
  }
  return Floats::smaller(Floats::set(m.high), Floats::larger(Floats::set(m.low), sum));
}

// kChannels x kVectors sums from `column` on; kStride is 0 for any.
template <int kChannels, int kVectors, int kStride>
INLINE_FUNCTION void convolve_tile(const Multiplication& m, int64_t column, Vector (&sums)[kChannels][kVectors]) {
  const int64_t stride = kStride != 0 ? kStride : m.stride_w;
  UNROLL
  for (int c = 0; c < kChannels; c++) {
    UNROLL
    for (int v = 0; v < kVectors; v++) sums[c][v] = Floats::set(0);
  }
  for (int64_t channel = 0; channel < m.in_channels; channel++) {
    for (const Tap& tap : m.taps) {
      const float* x = tap.row + channel * m.channel_pitch + column * stride;
      const float* w = tap.weights + channel * m.weights_pitch;
      for (int64_t j = 0; j < m.kernel_w; j++, x += m.dilation_w, w += kChannels) {
        Vector pixels[kVectors];
        UNROLL
        for (int v = 0; v < kVectors; v++) pixels[v] = load_pixels<kStride>(x + v * kLanes * stride, stride);
        UNROLL
        for (int c = 0; c < kChannels; c++) {
          const Vector weight = Floats::set(w[c]);
          UNROLL
          for (int v = 0; v < kVectors; v++) sums[c][v] = Floats::multiply_add(pixels[v], weight, sums[c][v]);
        }
      }
    }
  }
}

template <int kChannels, int kVectors, int kStride>
void convolve_tile_to(const Multiplication& m, int64_t column, float* y, int64_t y_pitch, int64_t width) {
  Vector sums[kChannels][kVectors];
  convolve_tile<kChannels, kVectors, kStride>(m, column, sums);
  UNROLL
  for (int c = 0; c < kChannels; c++) {
    UNROLL
    for (int v = 0; v < kVectors; v++) {
      const Vector result = activated(sums[c][v], m, c);
      float* to = y + c * y_pitch + column + v * kLanes;
      if (kVectors > 1 || width >= kLanes) {
        Floats::store(to, result);
      } else {
        float pixels[kLanes];
        Floats::store(pixels, result);
        for (int64_t i = 0; i < width; i++) to[i] = pixels[i];
      }
    }
  }
}

// A row of so many vectors in tiles of nearly equal width, kMost vectors at most: body(first vector, their number).
template <int kMost, class Body>
INLINE_FUNCTION void each_tile(int64_t vectors, const Body& body) {
  const int64_t tiles = (vectors + kMost - 1) / kMost;
  for (int64_t i = 0, first = 0; i < tiles; i++) {
    const int64_t end = vectors * (i + 1) / tiles;
    [&]<int... kBefore>(std::integer_sequence<int, kBefore...>) {
      (void)((end - first == kBefore + 1 && (body(first, std::integral_constant<int, kBefore + 1>()), true)) || ...);
    }(std::make_integer_sequence<int, kMost>());
    first = end;
  }
}

// The last tile overlaps the one before.
template <int kChannels, int kStride>
void convolve_row(const Multiplication& m, float* y, int64_t y_pitch, int64_t width) {
  constexpr int kMost = kStride == 0 ? 1 : tile_vectors(kChannels);
  auto tile = [&](int64_t first, auto vectors) {
    const int64_t column = std::max<int64_t>(std::min((first + vectors.value) * kLanes, width) - vectors.value * kLanes, 0);
    convolve_tile_to<kChannels, vectors.value, kStride>(m, column, y, y_pitch, width);
  };
  const int64_t vectors = (width + kLanes - 1) / kLanes;
  if (vectors <= kMost && vectors * kLanes > width) each_tile<1>(vectors, tile);  // too narrow for an overlap
  else each_tile<kMost>(vectors, tile);
}

template <int kChannels>
void convolve_channels(const Multiplication& m, float* y, int64_t y_pitch, int64_t width) {
  if (m.stride_w == 1) convolve_row<kChannels, 1>(m, y, y_pitch, width);
  else if (m.stride_w == 2) convolve_row<kChannels, 2>(m, y, y_pitch, width);
  else convolve_row<kChannels, 0>(m, y, y_pitch, width);
}

// Calls body with the number of a block's channels as a constant.
template <class Body>
INLINE_FUNCTION void with_channels(int64_t channels, const Body& body) {
  switch (channels) {
    case 1:
      return body(std::integral_constant<int, 1>());
    case 2:
      return body(std::integral_constant<int, 2>());
    case 3:
      return body(std::integral_constant<int, 3>());
    case 4:
      return body(std::integral_constant<int, 4>());
    case 6:
      return body(std::integral_constant<int, 6>());
  }
  if constexpr (Floats::kMaxChannels > 6) {
    if (channels == 8) return body(std::integral_constant<int, 8>());
    if (channels == 12) return body(std::integral_constant<int, 12>());
  }
}

void convolve(const Multiplication& m, int64_t channels, float* y, int64_t y_pitch, int64_t width) {
  with_channels(channels, [&](auto c) { convolve_channels<c.value>(m, y, y_pitch, width); });
}

// Of each place q from `column` on the sums of one phase, which become column q * stride_w + phase: of every tap of the
// kernel the products of all input channels, then all taps.
template <int kChannels, int kVectors>
INLINE_FUNCTION void transposed_phase(const Multiplication& m, int64_t phase, int64_t column,
                                      Vector (&sums)[kChannels][kVectors]) {
  UNROLL
  for (int c = 0; c < kChannels; c++) {
    UNROLL
    for (int v = 0; v < kVectors; v++) sums[c][v] = Floats::set(0);
  }
  for (const Tap& tap : m.taps) {
    const float* first = tap.row + column;
    for (int64_t j = phase; j < m.kernel_w; j += m.stride_w, first--) {
      Vector products[kChannels][kVectors];
      UNROLL
      for (int c = 0; c < kChannels; c++) {
        UNROLL
        for (int v = 0; v < kVectors; v++) products[c][v] = Floats::set(0);
      }
      const float *x = first, *w = tap.weights + j * kChannels;
      for (int64_t channel = 0; channel < m.in_channels; channel++, x += m.channel_pitch, w += m.weights_pitch) {
        Vector pixels[kVectors];
        UNROLL
        for (int v = 0; v < kVectors; v++) pixels[v] = Floats::load(x + v * kLanes);
        UNROLL
        for (int c = 0; c < kChannels; c++) {
          const Vector weight = Floats::set(w[c]);
          UNROLL
          for (int v = 0; v < kVectors; v++) products[c][v] = Floats::multiply_add(pixels[v], weight, products[c][v]);
        }
      }
      UNROLL
      for (int c = 0; c < kChannels; c++) {
        UNROLL
        for (int v = 0; v < kVectors; v++) sums[c][v] = Floats::add(sums[c][v], products[c][v]);
      }
    }
  }
}

// kPhases phases from first_phase on, which are all of two or any one.
template <int kChannels, int kVectors, int kPhases>
void transposed_tile(const Multiplication& m, int64_t first_phase, int64_t column, float* y, int64_t y_pitch) {
  Vector sums[kPhases][kChannels][kVectors];
  for (int p = 0; p < kPhases; p++) transposed_phase<kChannels, kVectors>(m, first_phase + p, column, sums[p]);
  UNROLL
  for (int c = 0; c < kChannels; c++) {
    UNROLL
    for (int v = 0; v < kVectors; v++) {
      float* to = y + c * y_pitch + (column + v * kLanes) * m.stride_w + first_phase;
      const Vector first = activated(sums[0][c][v], m, c);
      if constexpr (kPhases == 2) {
        Floats::store_interleaved(to, first, activated(sums[1][c][v], m, c));
      } else {
        float pixels[kLanes];
        Floats::store(pixels, first);
        for (int i = 0; i < kLanes; i++) to[i * m.stride_w] = pixels[i];
      }
    }
  }
}

template <int kChannels, int kPhases>
void transposed_row(const Multiplication& m, int64_t phase, float* y, int64_t y_pitch, int64_t count) {
  each_tile<tile_vectors(kChannels)>((count + kLanes - 1) / kLanes, [&](int64_t first, auto vectors) {
    transposed_tile<kChannels, vectors.value, kPhases>(m, phase, first * kLanes, y, y_pitch);
  });
}

void convolve_transposed(const Multiplication& m, int64_t channels, float* y, int64_t y_pitch, int64_t count) {
  with_channels(channels, [&](auto c) {
    if (m.stride_w == 2) return transposed_row<c.value, 2>(m, 0, y, y_pitch, count);
    for (int64_t phase = 0; phase < m.stride_w; phase++) transposed_row<c.value, 1>(m, phase, y, y_pitch, count);
  });
}

// ------------------------------------------------------------------------ plain loops, for compilers to make vectors of

inline float larger(float a, float b) { return a > b ? a : b; }   // b where either is no number
inline float smaller(float a, float b) { return a < b ? a : b; }

void activate(const float* x, float slope, float low, float high, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    const float scaled = x[i] < 0 ? x[i] * slope : x[i];
    y[i] = smaller(high, larger(low, scaled));
  }
}

void add(const float* a, const float* b, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i++) y[i] = a[i] + b[i];
}

void largest(const float* a, const float* b, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i++) y[i] = larger(a[i], b[i]);
}

// body(stride), as a constant where it is a usual one
template <class Body>
INLINE_FUNCTION void with_stride(int64_t stride, const Body& body) {
  switch (stride) {
    case 1:
      return body(std::integral_constant<int64_t, 1>());
    case 2:
      return body(std::integral_constant<int64_t, 2>());
    case 4:
      return body(std::integral_constant<int64_t, 4>());
    default:
      return body(stride);
  }
}

void add_every(const float* x, int64_t any_stride, float* RESTRICT y, int64_t count) {
  with_stride(any_stride, [=](auto stride) {
    for (int64_t i = 0; i < count; i++) y[i] += x[i * stride];
  });
}

void largest_every(const float* x, int64_t any_stride, float* RESTRICT y, int64_t count) {
  with_stride(any_stride, [=](auto stride) {
    for (int64_t i = 0; i < count; i++) y[i] = larger(y[i], x[i * stride]);
  });
}

void sum_four(const float* x, int64_t any_stride, float* RESTRICT y, int64_t count) {
  with_stride(any_stride, [=](auto stride) {
    for (int64_t i = 0; i < count; i++) {
      const float* four = x + i * stride;
      y[i] = (four[0] + four[2]) + (four[1] + four[3]);
    }
  });
}

void scale(const float* factors, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i++) y[i] *= factors[i];
}

void pick(const float* x, const int32_t* columns, float* RESTRICT y, int64_t count) {
  for (int64_t i = 0; i < count; i++) y[i] = x[columns[i]];
}

void unpack(const uint32_t* pixels, int colour, float mean, const float* noise, float* RESTRICT y, int64_t count) {
  const int shift = 8 * colour;
  if (noise == nullptr) {
    for (int64_t i = 0; i < count; i++) y[i] = static_cast<float>(static_cast<int32_t>(pixels[i] >> shift & 255)) - mean;
    return;
  }
  for (int64_t i = 0; i < count; i++)
    y[i] = static_cast<float>(static_cast<int32_t>(pixels[i] >> shift & 255)) - mean + noise[i];
}

inline uint32_t byte_of(float value) {
  return static_cast<uint32_t>(static_cast<int32_t>(smaller(255.0f, larger(value, 0.0f))));
}

void pack(const float* const colours[3], const float means[3], uint32_t* RESTRICT pixels, int64_t count) {
  const float *first = colours[0], *second = colours[1], *third = colours[2];
  const float a = means[0], b = means[1], c = means[2];
  for (int64_t i = 0; i < count; i++)
    pixels[i] = byte_of(first[i] + a) | byte_of(second[i] + b) << 8 | byte_of(third[i] + c) << 16 | 255u << 24;
}

constexpr Kernels kLoops{
    .max_channels = Floats::kMaxChannels,
    .convolve = convolve,
    .convolve_transposed = convolve_transposed,
    .activate = activate,
    .add = add,
    .largest = largest,
    .add_every = add_every,
    .largest_every = largest_every,
    .sum_four = sum_four,
    .scale = scale,
    .pick = pick,
    .unpack = unpack,
    .pack = pack,
};
