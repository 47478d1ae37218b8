#include "thread_pool.h"

#if defined(IS_X86)
#include <immintrin.h>
#elif defined(IS_ARM) && defined(_MSC_VER)
#include <intrin.h>
#endif
#ifndef _WIN32
#include <unistd.h>
#endif
#if defined(__linux__) && !defined(__ANDROID__)
#define PLACES_THREADS
#include <pthread.h>
#include <sched.h>
#endif

namespace int8 {
namespace {

#ifdef _WIN32
int64_t process() { return 1; }
#else
int64_t process() { return getpid(); }
#endif

constexpr int kSpins = 200;       // some ten microseconds: about a step's length
constexpr int kIdleSpins = 2000;  // between runs: about what a caller takes to begin the next

inline void pause() {
#if defined(IS_X86)
  _mm_pause();
#elif defined(IS_ARM) && defined(_MSC_VER)
  __yield();
#elif defined(IS_ARM)
  asm volatile("yield");
#endif
}

}  // namespace

// One run. It is shared with the helpers and outlives the run where one of them is held up. Such a helper
// finds no task left, and so touches nothing else of the run: steps are read by those who have drawn a task
// of them.
struct ThreadPool::Job {
  struct alignas(64) Counter {
    std::atomic<int64_t> value{0};
  };

  Job(int64_t steps, int threads)
      : threads(threads),
        tasks(static_cast<size_t>(steps)),
        counters(static_cast<size_t>(steps * (threads + 1))) {}

  const int threads;
  const Step* steps = nullptr;
  std::vector<int64_t> tasks;     // of each step
  std::vector<Counter> counters;  // of each step: tasks drawn from each thread's share, tasks done
  std::vector<AlignedVector<uint8_t>> scratch;

  // Where the tasks end that are a thread's own: thread 0 has the first ones.
  int64_t share_end(int64_t total, int thread) const {
    return (total * (thread + 1) + threads - 1) / threads;
  }

  void reset(const Step* first, int64_t scratch_bytes) {
    steps = first;
    for (size_t i = 0; i < tasks.size(); i++) tasks[i] = first[i].tasks;
    for (Counter& counter : counters) counter.value.store(0, std::memory_order_relaxed);
    scratch.resize(static_cast<size_t>(threads));
    for (auto& memory : scratch)
      if (static_cast<int64_t>(memory.size()) < scratch_bytes)
        memory.resize(static_cast<size_t>(scratch_bytes));
  }

  void work(int thread) {
    for (size_t i = 0; i < tasks.size(); i++) {
      Counter* drawn = &counters[i * static_cast<size_t>(threads + 1)];
      std::atomic<int64_t>& done = drawn[threads].value;
      int64_t ran = 0;
      for (int k = 0; k < threads; k++) {
        const int owner = (thread + k) % threads;
        const int64_t end = share_end(tasks[i], owner),
                      begin = owner > 0 ? share_end(tasks[i], owner - 1) : 0;
        for (int64_t task; (task = begin + drawn[owner].value.fetch_add(1, std::memory_order_relaxed)) < end;
             ran++)
          steps[i].run(task, scratch[static_cast<size_t>(thread)].data());
      }
      done.fetch_add(ran, std::memory_order_acq_rel);
      for (int spins = 0; done.load(std::memory_order_acquire) != tasks[i]; spins++) {
        if (spins < kSpins) pause();
        else std::this_thread::yield();
      }
    }
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads) {}

ThreadPool::~ThreadPool() {
  if (helpers_.empty()) return;
  if (process_ != process()) {  // these threads are another process's
    new std::vector<std::thread>(std::move(helpers_));
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    jobs_.fetch_add(1, std::memory_order_release);
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
  if (threads_ > 1 && helpers_.empty()) start_helpers();
  if (!spare_ || spare_.use_count() > 1 || static_cast<int64_t>(spare_->tasks.size()) != count)
    spare_ = std::make_shared<Job>(count, threads_);
  const std::shared_ptr<Job> job = spare_;
  job->reset(steps, scratch_bytes);

  const bool helped = threads_ > 1 && process_ == process();
  auto publish = [&](std::shared_ptr<Job> published) {
    std::lock_guard<std::mutex> lock(mutex_);
    job_ = std::move(published);
    if (job_) jobs_.fetch_add(1, std::memory_order_release);
  };
  if (helped) {
    keep_helpers_away();
    publish(job);
    wake_.notify_all();
  }
  job->work(0);
  if (helped) publish(nullptr);
}

// Linux may wake a helper on the very core that wakes it and move it to an idle one only milliseconds later, when
// the run is over. Helpers may use every core that the caller may, but the one it is on. (Android's
// cores differ: its scheduler knows better, and its C library has no such calls.)
void ThreadPool::keep_helpers_away() {
#ifdef PLACES_THREADS
  const int core = sched_getcpu();
  if (core < 0 || core == callers_core_) return;
  cpu_set_t allowed;
  if (pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < threads_) return;
  CPU_CLR(core, &allowed);
  for (std::thread& helper : helpers_) pthread_setaffinity_np(helper.native_handle(), sizeof allowed, &allowed);
  callers_core_ = core;
#endif
}

void ThreadPool::help(int thread) {
  uint64_t seen = 0;
  for (;;) {
    for (int i = 0; i < kIdleSpins && jobs_.load(std::memory_order_acquire) == seen; i++) pause();
    std::shared_ptr<Job> job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return jobs_.load(std::memory_order_acquire) != seen; });
      if (closing_) return;
      seen = jobs_.load(std::memory_order_acquire);
      job = job_;
    }
    if (job) job->work(thread);
  }
}

}  // namespace int8
