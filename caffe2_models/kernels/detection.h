#pragma once

#include <pybind11/pybind11.h>

// Adds the kernels of detectors to the extension.
void define_detection(pybind11::module_& module);
