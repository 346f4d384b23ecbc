// The entries of the library for perceptrons, and the choice of an instruction set.
#include "threads.h"

#include <string>

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

thread_local Buffer buffer;

template <class T>
Layers<T> layers_of(T* const* tensors) {
  return {tensors[0], tensors[1], tensors[2], tensors[3], tensors[4], tensors[5], tensors[6]};
}
constexpr int64_t TENSORS = 7;

int64_t coordinates(const Net& net) { return net.level_count ? net.axes : net.inputs; }

constexpr int64_t SHARE = 256;  // points of a thread are a multiple of it

int64_t share(int64_t n, int64_t part, int64_t parts) {
  const int64_t blocks = (n + SHARE - 1) / SHARE;
  return std::min(n, blocks * part / parts * SHARE);
}

}  // namespace

const Kernel& kernel_of(int set) { return *available().at(set); }

}  // namespace inrfit

using namespace inrfit;

// Names of the instruction sets of this processor, the fastest first, separated by spaces.
INRFIT_ENTRY const char* inrfit_instruction_sets() {
  static const std::string names = [] {
    std::string all;
    for (const Kernel* kernel : available()) all += (all.empty() ? "" : " ") + std::string(kernel->name);
    return all;
  }();
  return names.c_str();
}

// Residuals and gradients of `fields` perceptrons of one shape with instruction set number `set`, each at points of its
// own, of which it has counts[field]. Tensors are those of the fields one after another: TENSORS for each; so are the
// addresses of `points`: coordinates, targets, weights of the loss and residuals of each. The same number of threads
// gives the same results.
INRFIT_ENTRY int inrfit_gradients(int set, const Net* net, int64_t fields, const int64_t* counts,
                                  const float* const* weights, float* const* gradients, float* const* points,
                                  int64_t threads) try {
  const Kernel& kernel = kernel_of(set);
  const int64_t n = counts[0], most = fields > 1 ? fields : (n + SHARE - 1) / SHARE;
  const int64_t team = std::max<int64_t>(1, std::min(threads, most));
  const Memory memory(buffer, kernel, *net, fields > 1 ? team : 1, team);
  auto points_of = [&](int64_t field) {
    float* const* at = points + 4 * field;
    return Points{weights[TENSORS * field + 6], at[0], at[1], at[2], at[3]};
  };
  if (fields > 1) {
    in_parallel(team, [&](int64_t part) {
      for (int64_t field = part; field < fields; field += team) {
        kernel.pack(*net, layers_of(weights + TENSORS * field), memory.weights(part), true, 0, 1);
        kernel.clear(*net, memory.space(part));
        kernel.train(*net, memory.weights(part), memory.space(part), points_of(field), 0, counts[field]);
        kernel.reduce(*net, memory.space(part), 0, 1, layers_of(gradients + TENSORS * field), 0, 1);
      }
    });
    return DONE;
  }
  in_parallel(team, [&](int64_t part) { kernel.pack(*net, layers_of(weights), memory.weights(0), true, part, team); });
  in_parallel(team, [&](int64_t part) {
    kernel.clear(*net, memory.space(part));
    kernel.train(*net, memory.weights(0), memory.space(part), points_of(0), share(n, part, team),
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
  const Kernel& kernel = kernel_of(set);
  const int64_t team = std::max<int64_t>(1, std::min(threads, (n + SHARE - 1) / SHARE));
  const Memory memory(buffer, kernel, *net, 1, team);
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

// One update of Adam of each of `fields` fields, with[field], for tensors of these sizes. Gradients, weights and rates
// are those of the fields one after another; the running means of a field's tensors lie one after another.
INRFIT_ENTRY int inrfit_adam(int set, int64_t fields, const Adam* with, int64_t tensors, const int64_t* sizes,
                             const float* rates, const float* const* gradients, float* const* weights,
                             float* const* mean, float* const* square, int64_t threads) try {
  const Kernel& kernel = kernel_of(set);
  constexpr int64_t PIECE = 1 << 14;  // numbers of a thread are a multiple of it
  int64_t total = 0;
  for (int64_t t = 0; t < tensors; ++t) total += sizes[t];
  const int64_t each = (total + PIECE - 1) / PIECE, pieces = each * fields;
  const int64_t team = std::max<int64_t>(1, std::min(threads, pieces));
  in_parallel(team, [&](int64_t part) {
    for (int64_t piece = pieces * part / team; piece < pieces * (part + 1) / team; ++piece) {
      const int64_t field = piece / each, first = field * tensors;
      const int64_t begin = piece % each * PIECE, end = std::min(begin + PIECE, total);
      for (int64_t t = 0, start = 0; t < tensors; start += sizes[t++]) {
        const int64_t from = std::max(begin, start), to = std::min(end, start + sizes[t]), skipped = from - start;
        if (from < to)
          kernel.adam(with[field], to - from, rates[first + t], gradients[first + t] + skipped,
                      weights[first + t] + skipped, mean[field] + from, square[field] + from);
      }
    }
  });
  return DONE;
} catch (const std::bad_alloc&) {
  return NO_MEMORY;
}
