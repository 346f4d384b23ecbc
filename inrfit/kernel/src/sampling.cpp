// The entries for a map of errors: systematic sampling in proportion to it, and its update.
//
// Sums are of whole numbers, or of pieces of fixed size in a fixed order, so that any number of threads gives the same
// result.
#include "threads.h"

#include <cmath>
#include <vector>

namespace inrfit {
namespace {

constexpr int64_t PIECE = 1 << 14;  // entries
constexpr int OUTSIDE = 2;          // as in sampling.py
constexpr int MOST_ROUNDS = 50;     // in which probabilities above 1 are found: one or two, unless most entries are drawn

thread_local Buffer probabilities;

class Map {
 public:
  Map(const Kernel& kernel, int64_t n, const float* errors, int64_t threads)
      : kernel_(kernel), n_(n), errors_(errors), pieces_((n + PIECE - 1) / PIECE),
        team_(std::max<int64_t>(1, std::min(threads, pieces_))) {}

  template <class Work>
  void for_pieces(const Work& work) const {  // work(piece, first entry, entries)
    in_parallel(team_, [&](int64_t part) {
      for (int64_t piece = pieces_ * part / team_; piece < pieces_ * (part + 1) / team_; ++piece)
        work(piece, piece * PIECE, std::min(PIECE, n_ - piece * PIECE));
    });
  }

  // The sum of the densities below 1 / scale, and how many others there are.
  double measure(const Density& by, int64_t* capped) const {
    std::vector<double> sums(pieces_);
    std::vector<int64_t> others(pieces_);
    for_pieces([&](int64_t piece, int64_t from, int64_t count) {
      sums[piece] = kernel_.measure(by, count, errors_ + from, &others[piece]);
    });
    double sum = 0;
    *capped = 0;
    for (int64_t piece = 0; piece < pieces_; ++piece) sum += sums[piece], *capped += others[piece];
    return sum;
  }

  // Sets the scale by which the probabilities min(1, scale * density) sum to `count`.
  void set_scale(Density& by, int64_t count) const {
    by.scale = 0;
    for (int64_t round = 0, capped = -1, before = -2; round < MOST_ROUNDS && capped != before; ++round) {
      before = capped;
      const double sum = measure(by, &capped);
      if (sum > 0 && capped < count) by.scale = float((count - capped) / sum);
    }
  }

  // Calls hit(number, entry) for `count` entries, with equal steps along the sums of the probabilities.
  template <class Hit>
  void walk(const Density& by, int64_t count, float start, const Hit& hit) const {
    int32_t* each = reinterpret_cast<int32_t*>(probabilities.reserve(n_ * sizeof(int32_t)));
    std::vector<int64_t> sums(pieces_ + 1);
    for_pieces([&](int64_t piece, int64_t from, int64_t entries) {
      sums[piece + 1] = kernel_.probabilities(by, entries, errors_ + from, each + from);
    });
    for (int64_t piece = 0; piece < pieces_; ++piece) sums[piece + 1] += sums[piece];
    const int64_t step = std::max<int64_t>(1, sums[pieces_] / count);
    const int64_t first = std::min(step, 1 + int64_t(double(start) * step));
    for_pieces([&](int64_t piece, int64_t from, int64_t entries) {
      int64_t sum = sums[piece], number = sum < first ? 0 : (sum - first) / step + 1, next = first + number * step;
      for (int64_t i = from; i < from + entries; ++i)
        for (sum += each[i]; sum >= next && number < count; next += step) hit(number++, i);
    });
  }

  float error(int64_t entry) const { return errors_[entry]; }

 private:
  const Kernel& kernel_;
  const int64_t n_;
  const float* const errors_;
  const int64_t pieces_, team_;
};

}  // namespace
}  // namespace inrfit

using namespace inrfit;

// Systematic sampling of `count` of the n entries of a map of errors, with the relative density (1 - hard) + hard *
// error / mean, between `lowest` and `highest`. `start` and `turns` are random: from 0 to 1 and, for each entry of a
// batch, from 0 to batches - 1. Writes order[entry] and the density, in the order of `batches` batches that each hold
// one entry of every stretch of `batches` consecutive ones.
INRFIT_ENTRY int inrfit_draw(int set, int64_t n, const float* errors, const int32_t* order, float hard, float lowest,
                             float highest, int64_t count, float start, int64_t batches, const int64_t* turns,
                             int64_t* indices, float* densities, int64_t threads) try {
  const Map map(kernel_of(set), n, errors, threads);
  int64_t none;
  const double mean = map.measure({1, 0, 0, HUGE_VALF, 0}, &none) / n;
  Density by{hard / float(std::max(mean, 1e-12)), 1 - hard, lowest, highest, 0};
  map.set_scale(by, count);
  const int64_t batch = count / batches;
  map.walk(by, count, start, [&](int64_t number, int64_t entry) {
    const int64_t stretch = number / batches, turned = number % batches + batches - turns[stretch];
    const int64_t place = turned % batches * batch + stretch;
    indices[place] = order[entry];
    densities[place] = std::min(std::max(by.rest + by.share * map.error(entry), lowest), highest);
  });
  return DONE;
} catch (const std::bad_alloc&) {
  return NO_MEMORY;
}

// errors[rank[index]] = min(L1 norm of the residuals, most)^power of n trained points, 0 for residuals that are no
// numbers. The map and the ranks have m entries. Returns OUTSIDE if an index or a rank is none of them.
INRFIT_ENTRY int inrfit_record(int64_t n, int64_t channels, const int64_t* indices, const float* residuals, int64_t m,
                               const int32_t* rank, float most, float power, float* errors, int64_t threads) {
  const int64_t team = std::max<int64_t>(1, std::min(threads, n / 1024));
  std::atomic<bool> outside{false};
  in_parallel(team, [&](int64_t part) {
    for (int64_t i = n * part / team; i < n * (part + 1) / team; ++i) {
      float error = 0;
      for (int64_t c = 0; c < channels; ++c) error += std::fabs(residuals[i * channels + c]);
      error = error == error ? std::min(error, most) : 0;
      const int64_t index = indices[i], entry = index >= 0 && index < m ? rank[index] : -1;
      if (entry >= 0 && entry < m) errors[entry] = power == 1.5f ? error * std::sqrt(error) : std::pow(error, power);
      else outside = true;
    }
  });
  return outside ? OUTSIDE : DONE;
}
