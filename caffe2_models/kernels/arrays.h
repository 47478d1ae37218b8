// Arrays of numpy, as the functions of detectors take and give them.
#pragma once

#include <cstdint>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace detection {

namespace py = pybind11;

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Ints = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
using Longs = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;
using Bytes = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;

template <class T>
py::array_t<T, py::array::c_style | py::array::forcecast> to_array(const std::vector<T>& values) {
  return py::array_t<T, py::array::c_style | py::array::forcecast>(static_cast<py::ssize_t>(values.size()),
                                                                  values.data());
}

// Rows of `columns` numbers.
inline Floats to_rows(const std::vector<float>& values, int64_t columns) {
  const auto rows = static_cast<py::ssize_t>(values.size()) / columns;
  return Floats(std::vector<py::ssize_t>{rows, columns}, values.data());
}

}  // namespace detection
