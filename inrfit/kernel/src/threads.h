// Threads, and memory that is kept from call to call.
#pragma once
#include "kernel.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <dlfcn.h>
#include <memory>
#include <new>
#include <thread>
#include <vector>

namespace inrfit {
namespace {

// Takes subnormal numbers for zeros as long as it lives: processors compute them ten to a hundred times slower, and the
// means of Adam, for weights without gradients, become such numbers.
class FlushSubnormals {
#if defined(__x86_64__)
 public:
  FlushSubnormals() : before_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(before_ | RESULTS | OPERANDS); }
  ~FlushSubnormals() { __builtin_ia32_ldmxcsr(before_); }

 private:
  static constexpr unsigned RESULTS = 0x8000, OPERANDS = 0x40;
  const unsigned before_;
#elif defined(__aarch64__)
 public:
  FlushSubnormals() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
    set(before_ | ZEROS);
  }
  ~FlushSubnormals() { set(before_); }

 private:
  static constexpr uint64_t ZEROS = uint64_t(1) << 24;
  static void set(uint64_t value) { __asm__ volatile("msr fpcr, %0" : : "r"(value)); }
  uint64_t before_;
#endif
};

using Region = void (*)(void (*)(void*), void*, unsigned, unsigned);

// Runs work(0) ... work(parts - 1) on as many threads: those of the OpenMP runtime that torch has loaded, because the
// threads of a second one would compete with its waiting threads, or else threads of its own.
template <class Work>
void in_parallel(int64_t parts, const Work& work) {
  if (parts == 1) {
    const FlushSubnormals flush;
    return work(0);
  }
  static const Region region = reinterpret_cast<Region>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  struct Team {
    const Work& work;
    const int64_t parts;
    std::atomic<int64_t> next{0};
    static void run(void* data) {
      Team& team = *static_cast<Team*>(data);
      const FlushSubnormals flush;
      for (int64_t part; (part = team.next.fetch_add(1)) < team.parts;) team.work(part);
    }
  } team{work, parts};
  if (region) return region(Team::run, &team, unsigned(parts), 0);
  std::vector<std::thread> threads;
  for (int64_t t = 1; t < parts; ++t) threads.emplace_back(Team::run, &team);
  Team::run(&team);
  for (std::thread& thread : threads) thread.join();
}

// Memory that is kept from call to call, because allocating pages for every step is slow.
class Buffer {
 public:
  char* reserve(size_t bytes) {
    if (bytes > size_) {
      size_ = 0;
      held_.reset();
      held_.reset(std::aligned_alloc(PAGE, rounded(bytes)));
      if (!held_) throw std::bad_alloc();
      size_ = bytes;
    }
    return static_cast<char*>(held_.get());
  }
  static size_t rounded(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

 private:
  static constexpr size_t PAGE = 4096;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> held_;
  size_t size_ = 0;
};

// The packed weights of each field, then the workspaces of the threads.
struct Memory {
  size_t packed, workspace;
  char* at;
  Memory(Buffer& buffer, const Kernel& kernel, const Net& net, int64_t fields, int64_t threads)
      : packed(Buffer::rounded(kernel.packed_bytes(net))), workspace(Buffer::rounded(kernel.workspace_bytes(net)) + 64),
        at(buffer.reserve(fields * packed + threads * workspace)), fields_(fields) {}
  char* weights(int64_t field) const { return at + field * packed; }
  char* space(int64_t thread) const { return at + fields_ * packed + thread * workspace; }

 private:
  int64_t fields_;
};

constexpr int DONE = 0, NO_MEMORY = 1;  // as in perceptron.py

}  // namespace
}  // namespace inrfit

#define INRFIT_ENTRY extern "C" [[gnu::visibility("default")]]
