// The entries for fields of tiles: small perceptrons, each at the points of its tile, blended where tiles meet.
//
// The value at a point is the sum of share * net over its tiles: one, or up to 2^axes in the bands where neighbours are
// blended. A pair is a point and one of its tiles. Pairs are sorted by tile; in each tile those of shared points, which
// have several tiles, are first. The formulas are those of fields/tiles/partition.py.
#include "threads.h"

#include <cmath>
#include <cstring>

namespace inrfit {
namespace {

constexpr int MOST_TILES = 16;  // of a point
constexpr int64_t POINTS_OF_A_THREAD = 64;  // at least

thread_local Buffer networks, lists;

template <class T>
Layers<T> layers_of(const Net& net, T* const* tensors, int64_t tile) {
  const int64_t w = net.width;
  return {tensors[0] + tile * w * w,          tensors[1] + tile * w,
          tensors[2] + tile * w * net.inputs, tensors[3] + tile * w,
          tensors[4] + tile * w * net.outputs, tensors[5] + tile * net.outputs,
          nullptr};
}

// The tiles of a point, its coordinates in each, from -1 to 1, and each one's share in its value.
struct Around {
  int count = 1;
  int64_t tile[MOST_TILES] = {};
  float share[MOST_TILES] = {1}, local[MOST_TILES][4];

  Around(const Partition& partition, const float* coords) {
    for (int64_t axis = 0; axis < partition.axes; ++axis) add(partition, axis, coords[axis]);
  }

 private:
  void add(const Partition& partition, int64_t axis, float coord) {
    const int64_t tiles = partition.counts[axis];
    const float overlap = partition.overlap, position = (coord + 1) * (float(tiles) / 2);
    const float own = std::min(std::max(0.0f, std::floor(position)), float(tiles - 1));
    const float low = overlap / 2 - (position - own), high = position - own - (1 - overlap / 2);
    float other = own - float(low > 0) + float(high > 0);
    if (!(other >= 0 && other < float(tiles))) other = own;
    const float depth = other == own ? 0 : std::max(low, high) / overlap, part = depth * depth * (3 - 2 * depth);
    const int before = count;
    for (int i = 0; i < before; ++i) {
      if (part > 0) {
        const int next = count++;
        std::memcpy(local[next], local[i], sizeof local[i]);
        place(next, axis, tile[i] * tiles + int64_t(other), share[i] * part, (position - other) * 2 - 1);
      }
      place(i, axis, tile[i] * tiles + int64_t(own), share[i] * (1 - part), (position - own) * 2 - 1);
    }
  }
  void place(int at, int64_t axis, int64_t of, float with, float where) {
    tile[at] = of, share[at] = with, local[at][axis] = where;
  }
};

// All pairs, sorted. Where a pair is in that order is its slot.
class Pairs {
 public:
  Pairs(const Partition& partition, const Net& net, int64_t n, const float* coords, int64_t threads)
      : partition_(partition), net_(net), n_(n), coords_(coords), tiles_(1),
        team_(std::max<int64_t>(1, std::min(threads, n / POINTS_OF_A_THREAD))) {
    int64_t most = n;
    for (int64_t axis = 0; axis < partition.axes; ++axis) tiles_ *= partition.counts[axis], most *= 2;
    char* end = lists.reserve(bytes(most));
    assign(end, most);
    sort();
  }

  int64_t tiles() const { return tiles_; }
  int64_t begin(int64_t tile) const { return starts_[2 * tile]; }
  int64_t end_of_shared(int64_t tile) const { return starts_[2 * tile + 1]; }
  int64_t end(int64_t tile) const { return starts_[2 * tile + 2]; }
  Points points() const { return {nullptr, local_, targets_, loss_weights_, out_}; }

  // Calls work(part, tile) with tiles that have pairs, or all of them.
  template <class Work>
  void for_tiles(const Work& work) const {
    std::atomic<int64_t> next{0};
    in_parallel(team_, [&](int64_t part) {
      for (int64_t tile; (tile = next.fetch_add(1)) < tiles_;) work(part, tile);
    });
  }
  int64_t team() const { return team_; }

  // Sums the values of the tiles of each point.
  void blend(float* values) const {
    for_points([&](int64_t point) { blend(point, values + point * net_.outputs); });
  }

  // Gives each pair the values and the loss weight that it is trained with. Those of a shared point, whose tiles have
  // been evaluated, get its share of the loss weight, and such values that the residuals are those of the point.
  void aim(const float* values, const float* loss_weights, float* residuals) {
    const int64_t c = net_.outputs;
    for_points([&](int64_t point) {
      const bool shared = counts_[point] > 1;
      float* residual = residuals + point * c;
      if (shared) blend(point, residual);
      for (int64_t i = 0; shared && i < c; ++i) residual[i] -= values[point * c + i];
      for (int64_t pair = point * width(); pair < point * width() + counts_[point]; ++pair) {
        const int64_t slot = slots_[pair];
        loss_weights_[slot] = loss_weights[point] * shares_[pair];
        for (int64_t i = 0; i < c; ++i)
          targets_[slot * c + i] = shared ? out_[slot * c + i] - residual[i] : values[point * c + i];
      }
    });
  }

  // Writes the residuals of the unshared points, which training has left in their slots.
  void unshared_residuals(float* residuals) const {
    const int64_t c = net_.outputs;
    for_points([&](int64_t point) {
      if (counts_[point] == 1) std::copy_n(out_ + slots_[point * width()] * c, c, residuals + point * c);
    });
  }

 private:
  int64_t width() const { return int64_t(1) << partition_.axes; }

  void blend(int64_t point, float* value) const {
    std::fill_n(value, net_.outputs, 0.0f);
    for (int64_t pair = point * width(); pair < point * width() + counts_[point]; ++pair)
      for (int64_t i = 0; i < net_.outputs; ++i) value[i] += shares_[pair] * out_[slots_[pair] * net_.outputs + i];
  }

  template <class Work>
  void for_points(const Work& work) const {
    in_parallel(team_, [&](int64_t part) {
      for (int64_t point = n_ * part / team_; point < n_ * (part + 1) / team_; ++point) work(point);
    });
  }

  // Counts the pairs of each tile, those of shared points apart, and then gives each its slot.
  void sort() {
    const int64_t kinds = 2 * tiles_;
    in_parallel(team_, [&](int64_t part) {
      int32_t* numbers = numbers_ + part * kinds;
      std::fill_n(numbers, kinds, 0);
      for (int64_t point = n_ * part / team_; point < n_ * (part + 1) / team_; ++point) {
        const Around around(partition_, coords_ + point * partition_.axes);
        for (int i = 0; i < around.count; ++i) ++numbers[2 * around.tile[i] + (around.count == 1)];
      }
    });
    int64_t total = 0;
    for (int64_t kind = 0; kind < kinds; ++kind) {
      starts_[kind] = total;
      for (int64_t part = 0; part < team_; ++part) {
        const int32_t number = numbers_[part * kinds + kind];
        numbers_[part * kinds + kind] = int32_t(total);
        total += number;
      }
    }
    starts_[kinds] = total;
    in_parallel(team_, [&](int64_t part) {
      int32_t* next = numbers_ + part * kinds;
      for (int64_t point = n_ * part / team_; point < n_ * (part + 1) / team_; ++point) {
        const Around around(partition_, coords_ + point * partition_.axes);
        counts_[point] = uint8_t(around.count);
        for (int i = 0; i < around.count; ++i) {
          const int64_t pair = point * width() + i, slot = next[2 * around.tile[i] + (around.count == 1)]++;
          slots_[pair] = int32_t(slot), shares_[pair] = around.share[i];
          std::copy_n(around.local[i], partition_.axes, local_ + slot * partition_.axes);
        }
      }
    });
  }

  size_t bytes(int64_t most) {
    char* none = nullptr;
    return assign(none, most) - none;
  }
  char* assign(char* end, int64_t most) {
    take(end, starts_, 2 * tiles_ + 1), take(end, numbers_, team_ * 2 * tiles_), take(end, counts_, n_);
    take(end, slots_, most), take(end, shares_, most), take(end, local_, most * partition_.axes);
    take(end, targets_, most * net_.outputs), take(end, out_, most * net_.outputs), take(end, loss_weights_, most);
    return end;
  }
  template <class T>
  static void take(char*& end, T*& place, int64_t count) {
    place = reinterpret_cast<T*>(end);
    end += (count * sizeof(T) + 63) / 64 * 64;
  }

  const Partition partition_;
  const Net net_;
  const int64_t n_;
  const float* const coords_;
  int64_t tiles_;
  const int64_t team_;
  int64_t* starts_;    // of the two kinds of pairs of each tile
  int32_t* numbers_;   // of each thread, tile and kind: how many; then where the next one goes
  uint8_t* counts_;    // pairs of each point
  int32_t* slots_;     // of the pairs of each point
  float* shares_;      // likewise
  float *local_, *targets_, *out_, *loss_weights_;  // of each pair, sorted
};

}  // namespace
}  // namespace inrfit

using namespace inrfit;

// Residuals and gradients of a field of tiles at n points. Tensors hold all tiles, one after another; hidden matrices
// those of the first hidden layer, then those of the next.
INRFIT_ENTRY int inrfit_tile_gradients(int set, const Net* net, const Partition* partition, int64_t n,
                                       const float* const* weights, float* const* gradients, const float* coords,
                                       const float* values, const float* loss_weights, float* residuals,
                                       int64_t threads) try {
  const Kernel& kernel = kernel_of(set);
  Pairs pairs(*partition, *net, n, coords, threads);
  const Memory memory(networks, kernel, *net, pairs.team(), pairs.team());
  pairs.for_tiles([&](int64_t part, int64_t tile) {
    if (pairs.begin(tile) == pairs.end_of_shared(tile)) return;
    kernel.pack(*net, layers_of(*net, weights, tile), memory.weights(part), false, 0, 1);
    kernel.evaluate(*net, memory.weights(part), memory.space(part), pairs.points(), pairs.begin(tile),
                    pairs.end_of_shared(tile));
  });
  pairs.aim(values, loss_weights, residuals);
  pairs.for_tiles([&](int64_t part, int64_t tile) {
    kernel.clear(*net, memory.space(part));
    if (pairs.begin(tile) < pairs.end(tile)) {
      kernel.pack(*net, layers_of(*net, weights, tile), memory.weights(part), true, 0, 1);
      kernel.train(*net, memory.weights(part), memory.space(part), pairs.points(), pairs.begin(tile), pairs.end(tile));
    }
    kernel.reduce(*net, memory.space(part), 0, 1, layers_of(*net, gradients, tile), 0, 1);
  });
  pairs.unshared_residuals(residuals);
  return DONE;
} catch (const std::bad_alloc&) {
  return NO_MEMORY;
}

// Values (n, outputs) of a field of tiles.
INRFIT_ENTRY int inrfit_tile_values(int set, const Net* net, const Partition* partition, int64_t n,
                                    const float* const* weights, const float* coords, float* values,
                                    int64_t threads) try {
  const Kernel& kernel = kernel_of(set);
  const Pairs pairs(*partition, *net, n, coords, threads);
  const Memory memory(networks, kernel, *net, pairs.team(), pairs.team());
  pairs.for_tiles([&](int64_t part, int64_t tile) {
    if (pairs.begin(tile) == pairs.end(tile)) return;
    kernel.pack(*net, layers_of(*net, weights, tile), memory.weights(part), false, 0, 1);
    kernel.evaluate(*net, memory.weights(part), memory.space(part), pairs.points(), pairs.begin(tile), pairs.end(tile));
  });
  pairs.blend(values);
  return DONE;
} catch (const std::bad_alloc&) {
  return NO_MEMORY;
}
