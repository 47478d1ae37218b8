// Sums of products in order. Included once for each instruction set, within a namespace and a region of its own, after
// what its vectors do.

// kRows rows of weights by kPixels columns of a panel [depth, kPixels]; the first `count` go to their places in `out`.
template <bool kFused, int kRows>
void add_up(const float* weights, int64_t depth, const float* panel, const int64_t* to, int64_t count, int64_t stride,
            float* out) {
  constexpr int kVectors = kPixels / kLanes;
  Vector total[kRows][kVectors];
  UNROLL
  for (int r = 0; r < kRows; r++)
    UNROLL
    for (int i = 0; i < kVectors; i++) total[r][i] = spread(0.0f);
  for (int64_t k = 0; k < depth; k++, panel += kPixels) {
    Vector x[kVectors];
    UNROLL
    for (int i = 0; i < kVectors; i++) x[i] = load(panel + i * kLanes);
    UNROLL
    for (int r = 0; r < kRows; r++) {
      const Vector weight = spread(weights[r * depth + k]);
      UNROLL
      for (int i = 0; i < kVectors; i++) total[r][i] = plus_product<kFused>(total[r][i], weight, x[i]);
    }
  }
  const bool together = count == kPixels && to[kPixels - 1] - to[0] == kPixels - 1;  // places grow
  UNROLL
  for (int r = 0; r < kRows; r++) {
    alignas(64) float row[kPixels];
    UNROLL
    for (int i = 0; i < kVectors; i++) store(total[r][i], row + i * kLanes);
    if (together)
      std::memcpy(out + to[0] + r * stride, row, sizeof row);
    else
      for (int64_t i = 0; i < count; i++) out[to[i] + r * stride] = row[i];
  }
}

template <bool kFused>
void add_up_rows(int64_t rows, const float* weights, int64_t depth, const float* panel, const int64_t* to,
                 int64_t count, int64_t stride, float* out) {
  for (; rows >= 6; rows -= 6, weights += 6 * depth, out += 6 * stride)
    add_up<kFused, 6>(weights, depth, panel, to, count, stride, out);
  if (rows == 5) add_up<kFused, 5>(weights, depth, panel, to, count, stride, out);
  if (rows == 4) add_up<kFused, 4>(weights, depth, panel, to, count, stride, out);
  if (rows == 3) add_up<kFused, 3>(weights, depth, panel, to, count, stride, out);
  if (rows == 2) add_up<kFused, 2>(weights, depth, panel, to, count, stride, out);
  if (rows == 1) add_up<kFused, 1>(weights, depth, panel, to, count, stride, out);
}

// The pixels of all images, in one row.
template <bool kFused>
void add_up_images(const float* x, const float* weights, const Geometry& g, float* out) {
  std::vector<float> panel(static_cast<size_t>(g.depth * kPixels));
  const int64_t total = g.images * g.pixels;
  for (int64_t start = 0; start < total; start += kPixels) {
    const int64_t count = std::min<int64_t>(kPixels, total - start);
    int64_t from[kPixels], to[kPixels];
    for (int64_t i = 0; i < kPixels; i++) {
      const int64_t at = start + std::min(i, count - 1), image = at / g.pixels, pixel = at % g.pixels;
      from[i] = image * g.image_size + g.places[pixel];
      to[i] = image * g.output_size + pixel;
    }
    const bool together = count == kPixels && from[kPixels - 1] - from[0] == kPixels - 1;  // places grow
    for (int64_t k = 0; k < g.depth; k++) {
      const float* seen = x + g.taps[k];
      float* row = panel.data() + k * kPixels;
      if (together)
        std::memcpy(row, seen + from[0], sizeof(float) * kPixels);
      else
        for (int i = 0; i < kPixels; i++) row[i] = seen[from[i]];
    }
    add_up_rows<kFused>(g.rows, weights, g.depth, panel.data(), to, count, g.pixels, out);
  }
}
