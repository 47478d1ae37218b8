#pragma once

#include <pybind11/pybind11.h>

// What detectors spend their time on beside layers: the order of scores, boxes, suppression, regions of interest. Each
// function computes what the Python code of caffe2_models/detection and operators/detection.py does in its place where
// the extension is not built, to the bit.
namespace detection {

// Add the functions to the extension.
void define_boxes(pybind11::module_& module);
void define_regions(pybind11::module_& module);

}  // namespace detection
