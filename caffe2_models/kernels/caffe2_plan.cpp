#include "caffe2_plan.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>

#include "plan_file.h"

using namespace int8;

struct caffe2_plan {
  Plan plan;
  const Kernels* kernels;
  std::vector<caffe2_tensor> inputs, outputs;
  std::mutex one_run;
};

namespace {

thread_local std::string last_error;

// What `body` returns, or `failed` where it throws.
template <class Result, class Body>
Result guarded(Result failed, const Body& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    last_error = "not enough memory";
  } catch (const std::exception& error) {
    last_error = error.what();
  }
  return failed;
}

std::vector<uint8_t> read_file(const char* path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path, "rb"), std::fclose);
  if (!file) throw std::runtime_error(std::string(path) + ": cannot be opened");
  std::vector<uint8_t> content;
  uint8_t chunk[1 << 16];
  while (const size_t count = std::fread(chunk, 1, sizeof chunk, file.get()))
    content.insert(content.end(), chunk, chunk + count);
  if (std::ferror(file.get())) throw std::runtime_error(std::string(path) + ": cannot be read");
  return content;
}

caffe2_plan* open(std::span<const uint8_t> content, int32_t threads) {
  check_range("number of threads", threads, 1, 1024);
  auto opened = std::make_unique<caffe2_plan>();
  opened->kernels = supported_kernels().front();
  opened->plan = read_plan(content, *opened->kernels, std::make_shared<ThreadPool>(threads));
  auto describe = [](const std::vector<PlanTensor>& tensors, std::vector<caffe2_tensor>& described) {
    for (const PlanTensor& t : tensors)
      described.push_back({t.name.c_str(), t.is_float ? CAFFE2_FLOAT32 : CAFFE2_UINT8,
                           static_cast<int32_t>(t.shape.size()), t.shape.data(), t.bytes, t.scale, t.zero_point,
                           t.pixels.empty() ? nullptr : t.pixels.data()});
  };
  describe(opened->plan.inputs, opened->inputs);
  describe(opened->plan.outputs, opened->outputs);
  return opened.release();
}

const caffe2_tensor* at(const std::vector<caffe2_tensor>& tensors, int32_t index) {
  return index >= 0 && index < static_cast<int32_t>(tensors.size()) ? &tensors[static_cast<size_t>(index)] : nullptr;
}

void run(caffe2_plan& opened, const void* const* inputs, void* const* outputs) {
  const std::lock_guard<std::mutex> lock(opened.one_run);
  Program& program = *opened.plan.program;
  for (size_t i = 0; i < opened.plan.inputs.size(); i++) {
    const PlanTensor& tensor = opened.plan.inputs[i];
    if (program.is_external(tensor.buffer))  // read where it is, never written
      program.bind(tensor.buffer, static_cast<uint8_t*>(const_cast<void*>(inputs[i])), tensor.bytes);
    else std::memcpy(program.memory(tensor.buffer), inputs[i], static_cast<size_t>(tensor.bytes));
  }
  program.run(0, program.size());
  for (size_t i = 0; i < opened.plan.outputs.size(); i++) {
    const PlanTensor& tensor = opened.plan.outputs[i];
    std::memcpy(outputs[i], program.memory(tensor.buffer), static_cast<size_t>(tensor.bytes));
  }
}

}  // namespace

caffe2_plan* caffe2_plan_open(const char* path, int32_t threads) {
  return guarded<caffe2_plan*>(nullptr, [&] {
    const std::vector<uint8_t> content = read_file(path);
    try {
      return open(content, threads);
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      throw std::runtime_error(std::string(path) + ": " + error.what());
    }
  });
}

caffe2_plan* caffe2_plan_read(const void* content, int64_t bytes, int32_t threads) {
  return guarded<caffe2_plan*>(nullptr, [&] {
    if (bytes < 0) throw std::invalid_argument("a negative size");
    return open({static_cast<const uint8_t*>(content), static_cast<size_t>(bytes)}, threads);
  });
}

void caffe2_plan_close(caffe2_plan* plan) { delete plan; }

const char* caffe2_plan_error(void) { return last_error.c_str(); }

const char* caffe2_plan_instruction_set(const caffe2_plan* plan) { return plan->kernels->name; }

const caffe2_tensor* caffe2_plan_input(const caffe2_plan* plan, int32_t index) { return at(plan->inputs, index); }

const caffe2_tensor* caffe2_plan_output(const caffe2_plan* plan, int32_t index) { return at(plan->outputs, index); }

int32_t caffe2_plan_run(caffe2_plan* plan, const void* const* inputs, void* const* outputs) {
  return guarded<int32_t>(1, [&] {
    run(*plan, inputs, outputs);
    return 0;
  });
}
