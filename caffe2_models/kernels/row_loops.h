// The loops of rows::Kernels over vectors `Floats`. Included once for each instruction set, within a namespace and a
// region of its own, behind the definition of
//     kLanes, kRegisters, kMaxChannels (of a block), Vector
//     Vector load(const float*), set(float); void store(float*, Vector)
//     Vector even(a, b), odd(a, b)                            every other element of both, one after the other
//     Vector lower(a, b), upper(a, b)                         the halves of a0, b0, a1, b1, ...
//     Vector add(a, b), subtract(a, b), multiply_add(a, b, c)   a + b, a - b, a * b + c
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
  if constexpr (kStride == 2) return Floats::even(Floats::load(x), Floats::load(x + kLanes));
  float pixels[kLanes];
  for (int i = 0; i < kLanes; i++) pixels[i] = x[i * stride];
  return Floats::load(pixels);
}

INLINE_FUNCTION Vector activated(Vector products, float bias, const float* slope, float low, float high) {
  Vector sum = Floats::add(products, Floats::set(bias));
  if (slope != nullptr) {
    const Vector zero = Floats::set(0);
    sum = Floats::multiply_add(Floats::smaller(zero, sum), Floats::set(*slope), Floats::larger(zero, sum));
  }
  return Floats::smaller(Floats::set(high), Floats::larger(Floats::set(low), sum));
}

INLINE_FUNCTION Vector activated(Vector products, const Multiplication& m, int channel) {
  return activated(products, m.bias[channel], m.slopes != nullptr ? m.slopes + channel : nullptr, m.low, m.high);
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
        const Vector second = activated(sums[1][c][v], m, c);
        Floats::store(to, Floats::lower(first, second));
        Floats::store(to + kLanes, Floats::upper(first, second));
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

// ---------------------------------------------------------------------------------------------- Winograd's F(4, 3)

// Every fourth pixel from x, x + 1, x + 2 and x + 3 on.
INLINE_FUNCTION void load_fourths(const float* x, Vector (&fourths)[4]) {
  const Vector a = Floats::load(x), b = Floats::load(x + kLanes), c = Floats::load(x + 2 * kLanes),
               d = Floats::load(x + 3 * kLanes);
  const Vector even_low = Floats::even(a, b), even_high = Floats::even(c, d);
  const Vector odd_low = Floats::odd(a, b), odd_high = Floats::odd(c, d);
  fourths[0] = Floats::even(even_low, even_high);
  fourths[1] = Floats::even(odd_low, odd_high);
  fourths[2] = Floats::odd(even_low, even_high);
  fourths[3] = Floats::odd(odd_low, odd_high);
}

void transform(const float* x, float* y, int64_t y_pitch, int64_t tiles) {
  const Vector minus_four = Floats::set(-4), four = Floats::set(4), minus_five = Floats::set(-5), two = Floats::set(2);
  for (int64_t i = 0; i < tiles; i += kLanes) {
    Vector d[4], next[4];
    load_fourths(x + 4 * i, d);
    load_fourths(x + 4 * i + 4, next);
    const Vector d4 = next[0], d5 = next[1];
    const Vector even = Floats::multiply_add(d[2], minus_four, d4), odd = Floats::multiply_add(d[1], minus_four, d[3]);
    const Vector near = Floats::subtract(d4, d[2]), far = Floats::multiply_add(Floats::subtract(d[3], d[1]), two, Floats::set(0));
    float* to = y + i;
    Floats::store(to, Floats::multiply_add(d[0], four, Floats::multiply_add(d[2], minus_five, d4)));
    Floats::store(to + y_pitch, Floats::add(even, odd));
    Floats::store(to + 2 * y_pitch, Floats::subtract(even, odd));
    Floats::store(to + 3 * y_pitch, Floats::add(near, far));
    Floats::store(to + 4 * y_pitch, Floats::subtract(near, far));
    Floats::store(to + 5 * y_pitch, Floats::multiply_add(d[1], four, Floats::multiply_add(d[3], minus_five, d5)));
  }
}

void transform_back(const float* m, int64_t m_pitch, const Activated& a, float* y, int64_t tiles) {
  for (int64_t i = 0; i < tiles; i += kLanes) {
    auto plane = [&](int64_t k) INLINE { return Floats::load(m + k * m_pitch + i); };
    const Vector near_sum = Floats::add(plane(1), plane(2)), near = Floats::subtract(plane(1), plane(2));
    const Vector far_sum = Floats::add(plane(3), plane(4)), far = Floats::subtract(plane(3), plane(4));
    auto made = [&](Vector sum) INLINE { return activated(sum, a.bias, a.slope, a.low, a.high); };
    const Vector y0 = made(Floats::add(Floats::add(plane(0), near_sum), far_sum));
    const Vector y1 = made(Floats::multiply_add(far, Floats::set(2), near));
    const Vector y2 = made(Floats::multiply_add(far_sum, Floats::set(4), near_sum));
    const Vector y3 = made(Floats::add(Floats::multiply_add(far, Floats::set(8), near), plane(5)));
    const Vector even[2] = {Floats::lower(y0, y2), Floats::upper(y0, y2)};
    const Vector odd[2] = {Floats::lower(y1, y3), Floats::upper(y1, y3)};
    UNROLL
    for (int half = 0; half < 2; half++) {
      Floats::store(y + 4 * i + 2 * half * kLanes, Floats::lower(even[half], odd[half]));
      Floats::store(y + 4 * i + (2 * half + 1) * kLanes, Floats::upper(even[half], odd[half]));
    }
  }
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
    for (int64_t i = 0; i < count; i++) y[i] = larger(x[i * stride], y[i]);
  });
}

void keep_no_numbers(const float* x, int64_t any_stride, float* RESTRICT y, int64_t count) {
  with_stride(any_stride, [=](auto stride) {
    for (int64_t i = 0; i < count; i++) y[i] = x[i * stride] == x[i * stride] ? y[i] : x[i * stride];
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
    .lanes = kLanes,
    .max_channels = Floats::kMaxChannels,
    .convolve = convolve,
    .convolve_transposed = convolve_transposed,
    .activate = activate,
    .add = add,
    .largest = largest,
    .add_every = add_every,
    .largest_every = largest_every,
    .keep_no_numbers = keep_no_numbers,
    .sum_four = sum_four,
    .scale = scale,
    .pick = pick,
    .transform = transform,
    .transform_back = transform_back,
    .unpack = unpack,
    .pack = pack,
};
