// The loops over many boxes or channels, for compilers to make vectors of. Included once for each instruction set,
// within a namespace and a region of its own.

// By value, so that compilers make vectors of them.
inline float larger(float a, float b) { return a < b ? b : a; }
inline float smaller(float a, float b) { return b < a ? b : a; }

void stay_beside_first(const std::array<const float*, 5>& columns, float one, float threshold, size_t count,
                       int32_t* RESTRICT stays) {
  const float *x1 = columns[0], *y1 = columns[1], *x2 = columns[2], *y2 = columns[3], *area = columns[4];
  const float left = x1[0], top = y1[0], right = x2[0], bottom = y2[0], first = area[0];
  for (size_t k = 0; k < count; k++) {
    const float w = larger(smaller(x2[k], right) - larger(x1[k], left) + one, 0.0f);
    const float h = larger(smaller(y2[k], bottom) - larger(y1[k], top) + one, 0.0f);
    const float shared = w * h;
    stays[k] = shared / (first + area[k] - shared) <= threshold ? 1 : 0;
  }
}

template <int kChannels>
INLINE_FUNCTION void blend_block(const Sample* samples, int64_t count, const float* pixels, int64_t channels,
                                 float divisor, float* out) {
  float total[kChannels] = {};
  for (const Sample* s = samples; s < samples + count; s++) {
    const float *a = pixels + s->place[0] * channels, *b = pixels + s->place[1] * channels,
                *c = pixels + s->place[2] * channels, *d = pixels + s->place[3] * channels;
    const float w0 = s->weight[0], w1 = s->weight[1], w2 = s->weight[2], w3 = s->weight[3];
    UNROLL
    for (int i = 0; i < kChannels; i++) total[i] += w0 * a[i] + w1 * b[i] + w2 * c[i] + w3 * d[i];
  }
  for (int i = 0; i < kChannels; i++) out[i] = total[i] / divisor;
}

void blend(const Sample* samples, int64_t count, const float* pixels, int64_t channels, float divisor, float* out) {
  int64_t i = 0;
  for (; i + 32 <= channels; i += 32) blend_block<32>(samples, count, pixels + i, channels, divisor, out + i);
  for (; i + 8 <= channels; i += 8) blend_block<8>(samples, count, pixels + i, channels, divisor, out + i);
  for (; i < channels; i++) blend_block<1>(samples, count, pixels + i, channels, divisor, out + i);
}

template <int kChannels>
INLINE_FUNCTION void blend_bytes_block(const ByteSample* samples, int64_t count, const uint8_t* pixels,
                                       int64_t channels, uint32_t start, uint32_t* out) {
  uint32_t total[kChannels];
  for (int i = 0; i < kChannels; i++) total[i] = start;
  for (const ByteSample* s = samples; s < samples + count; s++) {
    const uint8_t *a = pixels + s->place[0] * channels, *b = pixels + s->place[1] * channels,
                  *c = pixels + s->place[2] * channels, *d = pixels + s->place[3] * channels;
    const uint16_t w0 = s->weight[0], w1 = s->weight[1], w2 = s->weight[2], w3 = s->weight[3];
    UNROLL
    for (int i = 0; i < kChannels; i++) {  // two weights add up to 256 at most: 16 bits hold it
      const uint16_t upper = static_cast<uint16_t>(w0 * a[i] + w1 * b[i]);
      const uint16_t lower = static_cast<uint16_t>(w2 * c[i] + w3 * d[i]);
      total[i] += static_cast<uint32_t>(upper) + lower;
    }
  }
  for (int i = 0; i < kChannels; i++) out[i] = total[i];
}

void blend_bytes(const ByteSample* samples, int64_t count, const uint8_t* pixels, int64_t channels, uint32_t start,
                 uint32_t* out) {
  int64_t i = 0;
  for (; i + 32 <= channels; i += 32) blend_bytes_block<32>(samples, count, pixels + i, channels, start, out + i);
  for (; i + 16 <= channels; i += 16) blend_bytes_block<16>(samples, count, pixels + i, channels, start, out + i);
  for (; i < channels; i++) blend_bytes_block<1>(samples, count, pixels + i, channels, start, out + i);
}
