#pragma once

#include <pybind11/pybind11.h>

// float32 sums whose order does not depend on the machine.
namespace ordered {

// Add the functions to the extension.
void define(pybind11::module_& module);

}  // namespace ordered
