// The entries of the library: the choice of an instruction set, threads, and memory.
#include "kernel.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace inrfit {
namespace {

#if defined(__x86_64__)
// Whether the system keeps the tiles of AMX between threads, for which it must be asked once.
bool tiles_are_permitted() {
#if defined(__linux__)
  constexpr long REQUEST_PERMISSION = 0x1023, TILES = 18;
  static const bool permitted = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILES) == 0;
  return permitted;
#else
  return false;
#endif
}

[[maybe_unused]] bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
[[maybe_unused]] bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
[[maybe_unused]] bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
[[maybe_unused]] bool has_amx() {
  if (!has_avx512_bf16()) return false;
  unsigned a = 7, b = 0, c = 0, d = 0;
  __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return (d >> 22 & 1) && (d >> 24 & 1) && tiles_are_permitted();
}
#endif

// The instruction sets of this processor among those that were compiled, the fastest first.
const std::vector<const Kernel*>& available() {
  static const std::vector<const Kernel*> found = [] {
    std::vector<const Kernel*> kernels;
#if defined(INRFIT_AMX)
    if (has_amx()) kernels.push_back(&amx);
#endif
#if defined(INRFIT_AVX512_BF16)
    if (has_avx512_bf16()) kernels.push_back(&avx512_bf16);
#endif
#if defined(INRFIT_AVX512)
    if (has_avx512()) kernels.push_back(&avx512);
#endif
#if defined(INRFIT_AVX2)
    if (has_avx2()) kernels.push_back(&avx2);
#endif
#if defined(INRFIT_NEON)
    kernels.push_back(&neon);
#endif
    return kernels;
  }();
  return found;
}

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
thread_local Buffer buffer;

template <class T>
Layers<T> layers_of(T* const* tensors) {
  return {tensors[0], tensors[1], tensors[2], tensors[3], tensors[4], tensors[5], tensors[6]};
}
constexpr int64_t TENSORS = 7;

int64_t coordinates(const Net& net) { return net.level_count ? net.axes : net.inputs; }

// The packed weights of each field, then the workspaces of the threads.
struct Memory {
  size_t packed, workspace;
  char* at;
  Memory(const Kernel& kernel, const Net& net, int64_t fields, int64_t threads)
      : packed(Buffer::rounded(kernel.packed_bytes(net))), workspace(Buffer::rounded(kernel.workspace_bytes(net)) + 64),
        at(buffer.reserve(fields * packed + threads * workspace)), fields_(fields) {}
  char* weights(int64_t field) const { return at + field * packed; }
  char* space(int64_t thread) const { return at + fields_ * packed + thread * workspace; }

 private:
  int64_t fields_;
};

constexpr int DONE = 0, NO_MEMORY = 1;  // as in library.py
constexpr int64_t SHARE = 256;          // points of a thread are a multiple of it

int64_t share(int64_t n, int64_t part, int64_t parts) {
  const int64_t blocks = (n + SHARE - 1) / SHARE;
  return std::min(n, blocks * part / parts * SHARE);
}

}  // namespace
}  // namespace inrfit

using namespace inrfit;

#define INRFIT_ENTRY extern "C" [[gnu::visibility("default")]]

// Names of the instruction sets of this processor, the fastest first, separated by spaces.
INRFIT_ENTRY const char* inrfit_instruction_sets() {
  static const std::string names = [] {
    std::string all;
    for (const Kernel* kernel : available()) all += (all.empty() ? "" : " ") + std::string(kernel->name);
    return all;
  }();
  return names.c_str();
}

// Residuals and gradients of `fields` perceptrons of one shape with instruction set number `set`, each at n points of
// its own. Tensors are those of the fields one after another: TENSORS for each. The same number of threads gives the
// same results.
INRFIT_ENTRY int inrfit_gradients(int set, const Net* net, int64_t fields, int64_t n, const float* const* weights,
                                  float* const* gradients, const float* coords, const float* values,
                                  const float* loss_weights, float* residuals, int64_t threads) try {
  const Kernel& kernel = *available().at(set);
  const int64_t team = std::max<int64_t>(1, std::min(threads, fields > 1 ? fields : (n + SHARE - 1) / SHARE));
  const Memory memory(kernel, *net, fields, team);
  auto points = [&](int64_t field) {
    return Points{weights[TENSORS * field + 6], coords + field * n * coordinates(*net),
                  values + field * n * net->outputs, loss_weights + field * n, residuals + field * n * net->outputs};
  };
  if (fields > 1) {
    in_parallel(team, [&](int64_t part) {
      for (int64_t field = part; field < fields; field += team) {
        kernel.pack(*net, layers_of(weights + TENSORS * field), memory.weights(field), true, 0, 1);
        kernel.clear(*net, memory.space(part));
        kernel.train(*net, memory.weights(field), memory.space(part), points(field), 0, n);
        kernel.reduce(*net, memory.space(part), 0, 1, layers_of(gradients + TENSORS * field), 0, 1);
      }
    });
    return DONE;
  }
  in_parallel(team, [&](int64_t part) { kernel.pack(*net, layers_of(weights), memory.weights(0), true, part, team); });
  in_parallel(team, [&](int64_t part) {
    kernel.clear(*net, memory.space(part));
    kernel.train(*net, memory.weights(0), memory.space(part), points(0), share(n, part, team),
                 share(n, part + 1, team));
  });
  in_parallel(team, [&](int64_t part) {
    kernel.reduce(*net, memory.space(0), memory.workspace, team, layers_of(gradients), part, team);
  });
  return DONE;
} catch (const std::bad_alloc&) {
  return NO_MEMORY;
}

// Values (n, outputs) of one perceptron.
INRFIT_ENTRY int inrfit_values(int set, const Net* net, int64_t n, const float* const* weights, const float* coords,
                               float* values, int64_t threads) try {
  const Kernel& kernel = *available().at(set);
  const int64_t team = std::max<int64_t>(1, std::min(threads, (n + SHARE - 1) / SHARE));
  const Memory memory(kernel, *net, 1, team);
  in_parallel(team, [&](int64_t part) { kernel.pack(*net, layers_of(weights), memory.weights(0), false, part, team); });
  in_parallel(team, [&](int64_t part) {
    const Points points{weights[6], coords, nullptr, nullptr, values};
    kernel.evaluate(*net, memory.weights(0), memory.space(part), points, share(n, part, team),
                    share(n, part + 1, team));
  });
  return DONE;
} catch (const std::bad_alloc&) {
  return NO_MEMORY;
}

// One update of Adam for tensors of these sizes, each with its rate; their running means lie one after another.
INRFIT_ENTRY int inrfit_adam(int set, const Adam* with, int64_t tensors, const int64_t* sizes, const float* rates,
                             const float* const* gradients, float* const* weights, float* mean, float* square,
                             int64_t threads) try {
  const Kernel& kernel = *available().at(set);
  constexpr int64_t PIECE = 1 << 14;  // numbers of a thread are a multiple of it
  int64_t total = 0;
  for (int64_t t = 0; t < tensors; ++t) total += sizes[t];
  const int64_t pieces = (total + PIECE - 1) / PIECE, team = std::max<int64_t>(1, std::min(threads, pieces));
  in_parallel(team, [&](int64_t part) {
    const int64_t begin = pieces * part / team * PIECE, end = std::min(pieces * (part + 1) / team * PIECE, total);
    for (int64_t t = 0, start = 0; t < tensors; start += sizes[t++]) {
      const int64_t from = std::max(begin, start), to = std::min(end, start + sizes[t]), skipped = from - start;
      if (from < to)
        kernel.adam(*with, to - from, rates[t], gradients[t] + skipped, weights[t] + skipped, mean + from,
                    square + from);
    }
  });
  return DONE;
} catch (const std::bad_alloc&) {
  return NO_MEMORY;
}
