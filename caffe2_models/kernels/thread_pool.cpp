#include "thread_pool.h"

#ifndef _WIN32
#include <unistd.h>
#endif

namespace int8 {
namespace {

#ifdef _WIN32
int64_t process() { return 1; }
#else
int64_t process() { return getpid(); }
#endif

constexpr int kSpins = 4000;  // some ten microseconds: about a step's length

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

template <class Condition>
void spin_until(const Condition& condition) {
  for (int i = 0; !condition(); i++) {
    if (i < kSpins) pause();
    else std::this_thread::yield();
  }
}

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads), scratch_(static_cast<size_t>(threads)) {}

ThreadPool::~ThreadPool() {
  if (process_ != process()) {  // these threads are another process's
    new std::vector<std::thread>(std::move(helpers_));
    return;
  }
  {
    std::lock_guard<std::mutex> lock(sleep_);
    closing_ = true;
  }
  wake_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void ThreadPool::start_helpers() {
  process_ = process();
  for (int i = 1; i < threads_; i++) helpers_.emplace_back([this, i] { help(i); });
}

void ThreadPool::run(const Step* steps, int64_t count, int64_t scratch_bytes) {
  std::lock_guard<std::mutex> run_lock(one_run_);
  for (auto& scratch : scratch_)
    if (static_cast<int64_t>(scratch.size()) < scratch_bytes)
      scratch.resize(static_cast<size_t>(scratch_bytes));

  if (threads_ == 1) {
    for (int64_t i = 0; i < count; i++)
      for (int64_t task = 0; task < steps[i].tasks; task++) steps[i].run(task, scratch_[0].data());
    return;
  }

  if (helpers_.empty()) start_helpers();
  if (count > capacity_) {
    progress_ = std::make_unique<Progress[]>(static_cast<size_t>(count));
    capacity_ = count;
  }
  for (int64_t i = 0; i < count; i++) {
    progress_[i].drawn.store(0, std::memory_order_relaxed);
    progress_[i].done.store(0, std::memory_order_relaxed);
  }
  steps_ = steps;
  count_ = count;
  inside_.store(0, std::memory_order_release);
  if (process_ == process()) {
    {
      std::lock_guard<std::mutex> lock(sleep_);
      job_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
  }
  work(0);
  spin_until([this] {
    int nobody = 0;
    return inside_.compare_exchange_weak(nobody, -1, std::memory_order_acq_rel);
  });
}

void ThreadPool::help(int thread) {
  uint64_t seen = 0;
  for (;;) {
    for (int i = 0; i < kSpins && job_.load(std::memory_order_acquire) == seen; i++) pause();
    if (job_.load(std::memory_order_acquire) == seen) {
      std::unique_lock<std::mutex> lock(sleep_);
      wake_.wait(lock, [&] { return closing_ || job_.load(std::memory_order_acquire) != seen; });
      if (closing_) return;
    }
    seen = job_.load(std::memory_order_acquire);
    int inside = inside_.load(std::memory_order_acquire);
    while (inside >= 0 && !inside_.compare_exchange_weak(inside, inside + 1, std::memory_order_acq_rel)) {}
    if (inside < 0) continue;  // the run ended before this thread woke
    work(thread);
    inside_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

void ThreadPool::work(int thread) {
  uint8_t* scratch = scratch_[static_cast<size_t>(thread)].data();
  for (int64_t i = 0; i < count_; i++) {
    const Step& step = steps_[i];
    Progress& progress = progress_[i];
    for (int64_t task; (task = progress.drawn.fetch_add(1, std::memory_order_relaxed)) < step.tasks;) {
      step.run(task, scratch);
      progress.done.fetch_add(1, std::memory_order_acq_rel);
    }
    spin_until([&] { return progress.done.load(std::memory_order_acquire) == step.tasks; });
  }
}

}  // namespace int8
