// A program in a file, as caffe2_models/kernels/plan_file.py writes it: for machines without Python.
//
// All numbers are little-endian. An array or a string is its count (int64), then its elements.
//     "CAFFE2PLAN 1\n\0\0\0"
//     int64 arena bytes
//     int64 buffers, for each: int64 offset in the arena, or -1: the caller's memory; int64 bytes
//     int64 inputs, then as many tensors; int64 outputs, then as many tensors
//         a tensor: string name; int64 buffer; int64 1: float32, 0: uint8; int64[] shape; float scale; int64 zero
//         point (both 0 for float32); float[] pixels (see caffe2_plan.h)
//     int64 steps, for each: string method of Program, then its operands in order
// Operands are int64 (i), float (f), arrays of uint8 (u), int32 (d), int64 (q) or float (s), a window (w: the 13
// int64 of Window) or a requantization (r: float scale, int64 zero point, int64 lowest).
#pragma once

#include <memory>
#include <span>
#include <string>

#include "program.h"

namespace int8 {

struct PlanTensor {
  std::string name;
  int buffer;
  bool is_float;
  std::vector<int64_t> shape;
  float scale;
  int32_t zero_point;
  std::vector<float> pixels;
  int64_t bytes;
};

struct Plan {
  std::unique_ptr<Program> program;
  std::vector<PlanTensor> inputs, outputs;
};

// The file is trusted in nothing: throws std::invalid_argument, or what Program throws, where it is no plan, its
// arena is larger than kMaxArena, or a step would leave its buffers.
constexpr int64_t kMaxArena = int64_t{1} << 31;
Plan read_plan(std::span<const uint8_t> file, const Kernels& kernels, std::shared_ptr<ThreadPool> pool);

}  // namespace int8
