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

// Each thread first takes its own share of a step's tasks, the same part of every step, so that it finds in
// its cache what it wrote there; then what is left of others' shares. A helper that comes late, or not at all
// (the machine is busy, the process was forked), costs nothing but its share. Between runs helpers sleep.
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
  struct Job;

  void start_helpers();
  void keep_helpers_away();
  void help(int thread);

  const int threads_;
  int64_t process_ = 0;  // in which the helpers run: a forked child has none
  std::vector<std::thread> helpers_;
  [[maybe_unused]] int callers_core_ = -1;  // where helpers may not run
  std::mutex one_run_;
  std::shared_ptr<Job> spare_;  // the last run's

  std::mutex mutex_;  // of what follows
  std::condition_variable wake_;
  std::shared_ptr<Job> job_;  // null between runs
  std::atomic<uint64_t> jobs_{0};
  bool closing_ = false;
};

}  // namespace int8
