// The Python module caffe2_models.kernels._int8.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <span>

#include "detection.h"
#include "ordered.h"
#include "program.h"
#include "rows.h"

namespace py = pybind11;
using namespace int8;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

const Kernels& find_kernels(const std::string& name) {
  const auto all = supported_kernels();
  if (name.empty()) return *all.front();
  for (const Kernels* kernels : all)
    if (name == kernels->name) return *kernels;
  throw std::invalid_argument("no kernels named " + name);
}

const void* exactly(const py::array& array, int64_t elements) {
  if (array.size() != elements) throw std::invalid_argument("an array of a size that does not fit");
  return array.data();
}

// The threads of a session, and what its programs share: they run one at a time.
struct Pool {
  std::shared_ptr<ThreadPool> threads;
  std::shared_ptr<Shared> shared;
};

template <class T>
std::span<const T> all_of(const Array<T>& array) {
  return {array.data(), static_cast<size_t>(array.size())};
}

// Float images row by row: rows.h.
void define_rows(py::module_& m) {
  using Floats = Array<float>;
  py::class_<rows::Activation>(m, "Activation")
      .def(py::init([](const Floats& slopes, float low, float high) {
             return rows::Activation{{slopes.data(), slopes.data() + slopes.size()}, low, high};
           }),
           py::arg("slopes"), py::arg("low"), py::arg("high"));

  py::class_<rows::Program>(m, "RowProgram")
      .def(py::init([](const std::string& kernels, const Pool& pool, bool fused) {
             return std::make_unique<rows::Program>(find_kernels(kernels), pool.threads, fused);
           }),
           py::arg("instruction_set"), py::arg("pool"), py::arg("fused") = true)
      .def(
          "input",
          [](rows::Program& p, int64_t channels, int64_t height, int64_t width) {
            return p.input({channels, height, width});
          },
          py::arg("channels"), py::arg("height"), py::arg("width"))
      .def(
          "convolution",
          [](rows::Program& p, int x, const Window& w, int64_t groups, const Floats& weights, const Floats& bias,
             bool by_winograd, const rows::Activation& activation) {
            return p.convolution(x, w, groups, all_of(weights), all_of(bias), activation, by_winograd);
          },
          py::arg("x"), py::arg("window"), py::arg("groups"), py::arg("weights"), py::arg("bias"),
          py::arg("by_winograd"), py::arg("activation"))
      .def(
          "transposed_convolution",
          [](rows::Program& p, int x, const Window& w, int64_t groups, const Floats& weights, const Floats& bias,
             const rows::Activation& activation) {
            return p.transposed_convolution(x, w, groups, all_of(weights), all_of(bias), activation);
          },
          py::arg("x"), py::arg("window"), py::arg("groups"), py::arg("weights"), py::arg("bias"),
          py::arg("activation"))
      .def("average", &rows::Program::average, py::arg("x"), py::arg("window"), py::arg("counts_padding"))
      .def("maximum", &rows::Program::maximum, py::arg("x"), py::arg("window"))
      .def("select", &rows::Program::select, py::arg("x"), py::arg("rows"), py::arg("columns"), py::arg("value"))
      .def("activation", &rows::Program::activation, py::arg("x"), py::arg("activation"))
      .def("add", &rows::Program::add, py::arg("a"), py::arg("b"), py::arg("activation"))
      .def("concat", &rows::Program::concat, py::arg("parts"))
      .def(
          "unpack",
          [](rows::Program& p, int x, const Floats& means, const Floats& noise) {
            return p.unpack(x, all_of(means), all_of(noise));
          },
          py::arg("x"), py::arg("means"), py::arg("noise"))
      .def(
          "pack", [](rows::Program& p, int x, const Floats& means) { return p.pack(x, all_of(means)); }, py::arg("x"),
          py::arg("means"))
      .def("scratch_bytes", &rows::Program::scratch_bytes)
      .def(
          "run",
          [](rows::Program& p, const std::vector<py::array>& inputs, py::array y, int64_t images) {
            check_range("number of images", images, 1, int64_t{1} << 31);
            std::vector<const float*> memory;
            auto check = [&](const py::array& array, int node) {
              const rows::Shape s = p.shape(node);
              if (!(array.flags() & py::array::c_style) || array.nbytes() != images * s.channels * s.height * s.width * 4)
                throw std::invalid_argument("an array of a size that does not fit");
              return static_cast<float*>(const_cast<void*>(array.data()));
            };
            for (size_t i = 0; i < inputs.size(); i++) memory.push_back(check(inputs[i], p.inputs()[i]));
            float* result = check(y, p.result());
            py::gil_scoped_release release;
            p.run(memory, result, images);
          },
          py::arg("inputs"), py::arg("y"), py::arg("images"));
}

}  // namespace

PYBIND11_MODULE(_int8, m) {
  m.doc() = "Int8 kernels; see caffe2_models.kernels";
  detection::define_boxes(m);
  detection::define_regions(m);
  ordered::define(m);

  m.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (const Kernels* kernels : supported_kernels()) names.emplace_back(kernels->name);
    return names;
  });
  m.attr("SLACK") = kSlack;

  py::class_<Pool>(m, "ThreadPool").def(py::init([](int threads) {
    check_range("number of threads", threads, 1, 1024);
    return Pool{std::make_shared<ThreadPool>(threads), std::make_shared<Shared>()};
  }));

  py::class_<Requantization>(m, "Requantization")
      .def(py::init([](float scale, int32_t zero_point, int32_t lowest) {
             return make_requantization(scale, zero_point, lowest);
           }),
           py::arg("scale"), py::arg("zero_point"), py::arg("lowest"))
      .def_property_readonly("parameters",
                             [](const Requantization& r) {
                               return py::make_tuple(std::ldexp(static_cast<float>(r.multiplier), -r.shift),
                                                     r.zero_point, r.lowest);
                             })
      .def_property_readonly("is_float", [](const Requantization& r) { return r.form != Rounding::kExact; })
      .def("__call__", [](const Requantization& r, const Array<int32_t>& acc) {
        py::array_t<uint8_t> y(acc.size());
        for (py::ssize_t i = 0; i < acc.size(); i++) y.mutable_data()[i] = requantize(acc.data()[i], r);
        return y;
      });

  py::class_<Window>(m, "Window")
      .def(py::init([](int64_t images, std::array<int64_t, 2> input, std::array<int64_t, 2> output,
                       std::array<int64_t, 2> kernel, std::array<int64_t, 2> stride,
                       std::array<int64_t, 2> dilation, std::array<int64_t, 2> pads) {
             const Window w{images,    input[0],  input[1],    output[0],   output[1], kernel[0], kernel[1],
                            stride[0], stride[1], dilation[0], dilation[1], pads[0],   pads[1]};
             check_window(w);
             return w;
           }),
           py::arg("images"), py::arg("input"), py::arg("output"), py::arg("kernel"), py::arg("stride"),
           py::arg("dilation"), py::arg("pads"))
      .def_property_readonly("parameters", [](const Window& w) {  // in the order of the struct
        return std::array<int64_t, 13>{w.images,   w.in_h,     w.in_w,       w.out_h,      w.out_w,   w.kernel_h, w.kernel_w,
                                       w.stride_h, w.stride_w, w.dilation_h, w.dilation_w, w.pad_top, w.pad_left};
      });

  define_rows(m);

  m.def("padded_bytes", &padded_bytes, py::arg("window"), py::arg("in_channels"), py::arg("out_channels"),
        py::arg("groups"));

  py::class_<Program>(m, "Program")
      .def(py::init([](const std::string& kernels, const Pool& pool, int64_t arena_bytes) {
             return std::make_unique<Program>(find_kernels(kernels), pool.threads, arena_bytes, pool.shared);
           }),
           py::arg("instruction_set"), py::arg("pool"), py::arg("arena_bytes"))
      .def("buffer", &Program::buffer, py::arg("offset"), py::arg("bytes"))
      .def("external", &Program::external, py::arg("bytes"))
      .def("bind",
           [](Program& p, int buffer, py::array array) {
             if (!(array.flags() & py::array::c_style))
               throw std::invalid_argument("an array that is not contiguous");
             p.bind(buffer, static_cast<uint8_t*>(const_cast<void*>(array.data())), array.nbytes());
           })
      .def("array",
           [](py::object self, int buffer) {  // a view that keeps the program alive
             const Program& p = self.cast<const Program&>();
             return py::array_t<uint8_t>({p.bytes(buffer)}, {int64_t{1}}, p.memory(buffer), self);
           })
      .def(
          "convolution",
          [](Program& p, int x, int y, int padded, const Window& w, int64_t in_channels, int64_t groups,
             const Array<uint8_t>& weights, const Array<int32_t>& bias, int32_t weight_zero_point,
             int32_t x_zero_point, const Requantization& requantization) {
            p.convolution(x, y, padded, w,
                          make_filter(all_of(weights), all_of(bias), w, in_channels, groups, weight_zero_point,
                                      x_zero_point, requantization),
                          std::make_shared<std::pair<py::object, py::object>>(weights, bias));
          },
          py::arg("x"), py::arg("y"), py::arg("padded"), py::arg("window"), py::arg("in_channels"),
          py::arg("groups"), py::arg("weights"), py::arg("bias"), py::arg("weight_zero_point"),
          py::arg("x_zero_point"), py::arg("requantization"))
      .def(
          "add",
          [](Program& p, int a, int b, int y, int64_t elements, int32_t a_multiplier, int32_t a_zero_point,
             int32_t b_multiplier, int32_t b_zero_point, int32_t shift, int32_t zero_point, int32_t lowest) {
            p.add(a, b, y, elements,
                  make_addition(a_multiplier, a_zero_point, b_multiplier, b_zero_point, shift, zero_point, lowest));
          },
          py::arg("a"), py::arg("b"), py::arg("y"), py::arg("elements"), py::arg("a_multiplier"),
          py::arg("a_zero_point"), py::arg("b_multiplier"), py::arg("b_zero_point"), py::arg("shift"),
          py::arg("zero_point"), py::arg("lowest"))
      .def(
          "average",
          [](Program& p, int x, int y, const Window& w, int64_t channels, int32_t x_zero_point,
             int32_t multiplier, int32_t shift, int32_t zero_point, int32_t lowest) {
            p.pool(x, y, {true, w, channels, x_zero_point, multiplier, shift, zero_point, lowest});
          },
          py::arg("x"), py::arg("y"), py::arg("window"), py::arg("channels"), py::arg("x_zero_point"),
          py::arg("multiplier"), py::arg("shift"), py::arg("zero_point"), py::arg("lowest"))
      .def(
          "maximum",
          [](Program& p, int x, int y, const Window& w, int64_t channels, int32_t lowest) {
            p.pool(x, y, {false, w, channels, 0, 0, 0, 0, lowest});
          },
          py::arg("x"), py::arg("y"), py::arg("window"), py::arg("channels"), py::arg("lowest"))
      .def(
          "quantize",
          [](Program& p, int x, int y, int64_t elements, float scale, int32_t zero_point) {
            p.quantize(x, y, elements, {scale, zero_point});
          },
          py::arg("x"), py::arg("y"), py::arg("elements"), py::arg("scale"), py::arg("zero_point"))
      .def(
          "quantize_planes",
          [](Program& p, int x, int y, int64_t images, int64_t channels, int64_t pixels, float scale,
             int32_t zero_point) { p.quantize_planes(x, y, images, channels, pixels, {scale, zero_point}); },
          py::arg("x"), py::arg("y"), py::arg("images"), py::arg("channels"), py::arg("pixels"),
          py::arg("scale"), py::arg("zero_point"))
      .def(
          "dequantize",
          [](Program& p, int x, int y, int64_t elements, float scale, int32_t zero_point) {
            p.dequantize(x, y, elements, {scale, zero_point});
          },
          py::arg("x"), py::arg("y"), py::arg("elements"), py::arg("scale"), py::arg("zero_point"))
      .def(
          "look_up",
          [](Program& p, int x, int y, int64_t elements, const Array<uint8_t>& table) {
            p.look_up(x, y, elements, static_cast<const uint8_t*>(exactly(table, 256)));
          },
          py::arg("x"), py::arg("y"), py::arg("elements"), py::arg("table"))
      .def(
          "look_up_floats",
          [](Program& p, int x, int y, int64_t elements, const Array<float>& table) {
            p.look_up_floats(x, y, elements, static_cast<const float*>(exactly(table, 256)));
          },
          py::arg("x"), py::arg("y"), py::arg("elements"), py::arg("table"))
      .def(
          "look_up_pairs",
          [](Program& p, int x, int gate, int y, const Array<int64_t>& axes, const Array<uint8_t>& table) {
            const auto* values = static_cast<const int64_t*>(exactly(axes, 12));
            p.look_up_pairs(x, gate, y, make_axes({values, 12}), static_cast<const uint8_t*>(exactly(table, 256 * 256)));
          },
          py::arg("x"), py::arg("gate"), py::arg("y"), py::arg("axes"), py::arg("table"))
      .def(
          "average_floats",
          [](Program& p, int x, int y, const Window& w, int64_t channels, bool counts_padding, const Array<float>& table) {
            p.average_floats(x, y, {w, channels, counts_padding}, static_cast<const float*>(exactly(table, 256)));
          },
          py::arg("x"), py::arg("y"), py::arg("window"), py::arg("channels"), py::arg("counts_padding"),
          py::arg("table"))
      .def(
          "softmax",
          [](Program& p, int x, int y, int64_t rows, int64_t channels, const Array<int64_t>& table) {
            p.softmax(x, y, rows, channels, static_cast<const int64_t*>(exactly(table, 256)));
          },
          py::arg("x"), py::arg("y"), py::arg("rows"), py::arg("channels"), py::arg("table"))
      .def(
          "gather",
          [](Program& p, int x, int y, int64_t run, const Array<int32_t>& positions) {
            p.gather(x, y, run, std::vector<int32_t>(positions.data(), positions.data() + positions.size()));
          },
          py::arg("x"), py::arg("y"), py::arg("run"), py::arg("positions"))
      .def("copy", &Program::copy, py::arg("x"), py::arg("y"), py::arg("rows"), py::arg("run"),
           py::arg("x_offset"), py::arg("x_pitch"), py::arg("y_offset"), py::arg("y_pitch"))
      .def("__len__", &Program::size)
      .def("run", &Program::run, py::arg("first"), py::arg("last"), py::call_guard<py::gil_scoped_release>());
}
