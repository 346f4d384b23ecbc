// The entry for networks at the places of a stack of maps, which tell the distributions of coefficients.
#include "threads.h"

using namespace inrfit;

// Outputs (outputs, rows, columns) of the network, for places in these rows and net.columns of the maps.
INRFIT_ENTRY int inrfit_stencil(int set, const Stencil* net, const int8_t* maps, int64_t rows, float* out,
                                int64_t threads) try {
  const Kernel& kernel = kernel_of(set);
  const int64_t team = std::max<int64_t>(1, std::min(threads, rows * net->columns / 4096));
  in_parallel(team, [&](int64_t part) {
    kernel.stencil(*net, maps, rows, rows * part / team, rows * (part + 1) / team, out);
  });
  return DONE;
} catch (const std::bad_alloc&) {
  return NO_MEMORY;
}
