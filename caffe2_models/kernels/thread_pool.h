// Threads that run a sequence of steps together.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "int8.h"

namespace int8 {

// `tasks` calls of `run` that may go in any order and at the same time; scratch is a thread's own memory.
struct Step {
  int64_t tasks = 1;
  std::function<void(int64_t task, uint8_t* scratch)> run;
};

// The calling thread and its helpers draw tasks from a counter, so that a helper that comes late, or not at
// all (the machine is busy, the process was forked), costs nothing but its share. Between runs helpers sleep.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Runs the steps one after the other; all tasks of a step are done before the next begins. scratch_bytes is
  // what each thread's scratch must hold. One call at a time: others wait.
  void run(const Step* steps, int64_t count, int64_t scratch_bytes);

 private:
  struct alignas(64) Progress {
    std::atomic<int64_t> drawn{0}, done{0};
  };

  void start_helpers();
  void help(int thread);
  void work(int thread);

  const int threads_;
  int64_t process_ = 0;  // in which the helpers run: a forked child has none
  std::mutex one_run_;
  std::vector<AlignedVector<uint8_t>> scratch_;
  std::vector<std::thread> helpers_;

  // The job at hand. Helpers enter while inside_ >= 0, which counts them.
  const Step* steps_ = nullptr;
  int64_t count_ = 0;
  std::unique_ptr<Progress[]> progress_;
  int64_t capacity_ = 0;
  std::atomic<int> inside_{-1};
  std::atomic<uint64_t> job_{0};
  bool closing_ = false;
  std::mutex sleep_;
  std::condition_variable wake_;
};

}  // namespace int8
