// The entries for a map of errors: draws in proportion to it at regular intervals, and its update.
//
// Sums are of whole numbers, or of pieces of fixed size in a fixed order, so that any number of threads gives the same
// result.
#include "threads.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace inrfit {
namespace {

constexpr int64_t PIECE = 1 << 14;  // entries
constexpr int64_t NO_INDEX = -1;
constexpr int OUTSIDE = 2;          // as in sampling.py
constexpr int MOST_ROUNDS = 50;     // in which probabilities above 1 are found: one, unless most entries are drawn

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
    *capped = std::accumulate(others.begin(), others.end(), int64_t(0));
    return std::accumulate(sums.begin(), sums.end(), 0.0);
  }

  // Writes the probabilities min(1, scale * density) to `each`, and their sums before every piece to `sums`, whose
  // last one is that of all. Sets the scale with which this is `count`, which depends on how many are above 1.
  void set_probabilities(Density& by, int64_t count, int32_t* each, std::vector<int64_t>& sums) const {
    by.scale = float(count) / float(n_);
    std::vector<int64_t> others(pieces_);
    for (int64_t round = 0, capped = 0, found = -1; round < MOST_ROUNDS && capped != found; ++round) {
      const double sum = measure(by, &capped);
      if (sum > 0 && capped < count) by.scale = float((count - capped) / sum);
      for_pieces([&](int64_t piece, int64_t from, int64_t entries) {
        sums[piece + 1] = kernel_.probabilities(by, entries, errors_ + from, each + from, &others[piece]);
      });
      for (int64_t piece = 0; piece < pieces_; ++piece) sums[piece + 1] += sums[piece];
      found = std::accumulate(others.begin(), others.end(), int64_t(0));
    }
  }

  // Divides the entries, in their order, into `count` stretches over each of which the probabilities sum to 1; the
  // share `start` of the first one is at the end of the map. Writes `before` plus the probability of each entry to
  // `due`, takes 1 from the largest of each stretch and calls hit(stretch, that entry). A stretch belongs to the piece
  // in which it begins.
  template <class Hit>
  void walk(Density& by, int64_t count, float start, const float* before, float* due, const Hit& hit) const {
    int32_t* each = reinterpret_cast<int32_t*>(probabilities.reserve(n_ * sizeof(int32_t)));
    std::vector<int64_t> sums(pieces_ + 1);
    set_probabilities(by, count, each, sums);
    int64_t first = 0, last = 0;  // both parts of the first stretch
    const int64_t step = std::max<int64_t>(1, sums[pieces_] / count);
    const int64_t missing = start > 0 && start < 1 ? int64_t(double(start) * step) : 0;
    const auto stretch_of = [&](int64_t sum) { return std::min(sum / step, count); };
    for_pieces([&](int64_t piece, int64_t from, int64_t entries) {
      int64_t sum = sums[piece] + missing, i = from;
      if (piece && stretch_of(sum - each[i - 1]) == stretch_of(sum))
        for (const int64_t begun = stretch_of(sum); i < n_ && stretch_of(sum) == begun; ++i) sum += each[i];
      for (int64_t stretch = stretch_of(sum); i < from + entries; ++stretch) {
        if (sum >= (stretch + 1) * step) stretch = stretch_of(sum);  // rounding left one empty
        const int64_t end = stretch < count ? (stretch + 1) * step : INT64_MAX;
        int64_t longest = i;
        float most = -HUGE_VALF;
        for (; i < n_ && sum < end; ++i) {  // without branches, which would be mispredicted
          sum += each[i];
          const float waited = before[i] + float(each[i]) * (1.0f / ONE);
          due[i] = waited;
          longest = waited > most ? i : longest;
          most = waited > most ? waited : most;
        }
        if (stretch % count == 0) {
          (stretch ? last : first) = longest;
          continue;
        }
        due[longest] -= 1;
        hit(stretch, longest);
      }
    });
    const int64_t longest = due[last] > due[first] ? last : first;
    due[longest] -= 1;
    hit(0, longest);
  }

 private:
  const Kernel& kernel_;
  const int64_t n_;
  const float* const errors_;
  const int64_t pieces_, team_;
};

// Calls fill(place, entry) for the places whose index is NO_INDEX, with entries whose order[entry] is none of the
// indices. Rounding, or errors that are no numbers, can leave a stretch empty.
template <class Fill>
void fill_gaps(int64_t n, const int32_t* order, int64_t count, const int64_t* indices, const Fill& fill) {
  if (std::find(indices, indices + count, NO_INDEX) == indices + count) return;
  std::vector<bool> drawn(n);
  const auto inside = [&](int64_t index) { return index >= 0 && index < n; };
  for (int64_t place = 0; place < count; ++place)
    if (inside(indices[place])) drawn[indices[place]] = true;
  int64_t entry = 0;
  for (int64_t place = 0; place < count; ++place) {
    if (indices[place] != NO_INDEX) continue;
    while (entry < n - 1 && inside(order[entry]) && drawn[order[entry]]) ++entry;
    fill(place, entry);
    entry = std::min(entry + 1, n - 1);
  }
}

}  // namespace
}  // namespace inrfit

using namespace inrfit;

// Draws `count` of the n entries of a map of errors, with the relative density (1 - hard) + hard * error / mean,
// between `lowest` and `highest`: of each stretch of entries that is due one draw the one that is most overdue.
// `before` has the draws that each entry is due, and `due` gets those afterwards. `start` shifts the stretches by a
// share of one; `turns` are random, for each entry of a batch, from 0 to batches - 1. Writes order[entry] and the
// density, in the order of `batches` batches that each hold one entry of every `batches` consecutive stretches.
INRFIT_ENTRY int inrfit_draw(int set, int64_t n, const float* errors, const int32_t* order, float hard, float lowest,
                             float highest, int64_t count, float start, const float* before, float* due,
                             int64_t batches, const int64_t* turns, int64_t* indices, float* densities,
                             int64_t threads) try {
  const Map map(kernel_of(set), n, errors, threads);
  int64_t none;
  const double mean = map.measure({1, 0, 0, HUGE_VALF, 0}, &none) / n;
  Density by{hard / float(std::max(mean, 1e-12)), 1 - hard, lowest, highest, 0};
  const int64_t batch = count / batches;
  const uint32_t turn = uint32_t(batches);
  const auto draw = [&](int64_t place, int64_t entry) {
    indices[place] = order[entry];
    densities[place] = std::min(std::max(by.rest + by.share * errors[entry], lowest), highest);
  };
  std::fill(indices, indices + count, NO_INDEX);
  map.walk(by, count, start, before, due, [&](int64_t stretch, int64_t entry) {
    const uint32_t place = uint32_t(stretch) / turn, turned = uint32_t(stretch) % turn + turn - uint32_t(turns[place]);
    draw((turned < turn ? turned : turned - turn) * batch + place, entry);
  });
  fill_gaps(n, order, count, indices, draw);
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
