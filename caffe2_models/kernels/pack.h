// Plans from an operator's own parameters: weights packed for a set of kernels, constants folded.
#pragma once

#include "int8.h"

namespace int8 {

// Parameters of a convolution or a fully connected layer. Weights: [out][kernel_h][kernel_w][in / groups].
struct Filter {
  const uint8_t* weights;
  const int32_t* bias;
  int64_t in_channels, out_channels, groups;
  int32_t weight_zero_point, x_zero_point;
  Requantization requantization;
};

// The input has no padding: window.pad_top and pad_left are zero, and every tap lies within the image.
Convolution pack_convolution(const Kernels& kernels, const Window& window, const Filter& filter);

// filter.groups = in_channels = out_channels.
Depthwise pack_depthwise(const Kernels& kernels, const Window& window, const Filter& filter);

}  // namespace int8
