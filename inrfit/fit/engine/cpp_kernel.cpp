// Residuals and gradients of a perceptron with sines, in bfloat16 between its hidden layers, on x86 processors.
//
// POINTS points at a time go through the whole network and back within one core's cache. Activations lie feature by
// feature: every product then finds its left factor in plain rows, and its right factor in the pairs of rows that the
// processor's bfloat16 instructions want, as the activation function has written them. The products are oneDNN's, by
// way of torch (at::native::cpublas::brgemm); phases, sums and all of the first and the last layer are float32.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <omp.h>
#include <utility>
#include <vector>

namespace c10 {
struct BFloat16;
}
namespace at::native::cpublas {
void brgemm(int64_t m, int64_t n, int64_t k, int64_t ld_a, int64_t ld_b, int64_t ld_c, bool add, const c10::BFloat16* a,
            const c10::BFloat16* b, float* c, bool in_pairs);
void brgemm_release(bool in_pairs);
}  // namespace at::native::cpublas

namespace {

using half = uint16_t;  // the upper half of a float32
using pair = uint32_t;  // two of them: of an even row below, of the odd row after it above
constexpr int POINTS = 256;
constexpr int GAP = 32;  // after rows: a power of two apart they would compete for the same lines of the cache
constexpr int STRIDE = POINTS + GAP;

// Memory that a thread keeps from call to call: fresh pages would cost a tenth of a step.
class Buffer {
 public:
  char* of(size_t bytes) {
    if (bytes > size_) {
      size_ = 0;
      held_.reset();
      held_.reset(std::aligned_alloc(PAGE, in_pages(bytes)));
      if (!held_) throw std::bad_alloc();
      size_ = bytes;
    }
    return static_cast<char*>(held_.get());
  }
  static size_t in_pages(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

 private:
  static constexpr size_t PAGE = 4096;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> held_;
  size_t size_ = 0;
};
thread_local Buffer kept;

inline uint32_t rounded(float x) {  // to the nearest; what lies in the middle, outwards
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return (bits + 0x8000) >> 16;
}

inline float wide(half x) {
  uint32_t bits = uint32_t(x) << 16;
  float number;
  std::memcpy(&number, &bits, 4);
  return number;
}

// sin(u + u |u| curve), and what a gradient is multiplied by (SIREN: curve 0; FINER: 1 / omega). The polynomials and
// the two parts of a full turn are those of fields/sines.py.
inline void activation(float u, float curve, float& value, float& slope) {
  float bend = std::fabs(u) * curve, phase = u + u * bend;
  float turns = std::nearbyint(phase * 0.15915494309189535f);
  float x = phase - turns * 6.28125f - turns * 0.0019353071795864769f, q = x * x;
  value = x * (0.99999958f + q * (-0.16666554f + q * (0.0083324080f +
          q * (-1.9808741e-04f + q * (2.6998227e-06f + q * -2.0366231e-08f)))));
  slope = (1 + bend) * (1.0f + q * (-0.49999988f + q * (0.041666489f +
          q * (-0.0013887808f + q * (2.4769967e-05f + q * (-2.7079776e-07f + q * 1.7247607e-09f))))));
}

struct Net {
  int64_t inputs, width, hidden, outputs;
  float first_curve, curve;
  int64_t square() const { return width * width; }
  int64_t area() const { return width * STRIDE; }
};

struct Layers {  // their weights, or the sums of their gradients
  float *hidden, *hidden_bias, *first, *first_bias, *last, *last_bias;
};

int64_t counted(const Net& net) {
  return net.hidden * (net.square() + net.width) + net.width * (net.inputs + 1) + net.outputs * (net.width + 1);
}

Layers laid_out(const Net& net, float* at) {
  auto take = [&at](int64_t count) { return std::exchange(at, at + count); };
  Layers found;
  found.hidden = take(net.hidden * net.square());
  found.hidden_bias = take(net.hidden * net.width);
  found.first = take(net.width * net.inputs);
  found.first_bias = take(net.width);
  found.last = take(net.outputs * net.width);
  found.last_bias = take(net.outputs);
  return found;
}

// One thread's workplace. Rows are features and columns points, unless said otherwise.
struct Place {
  float* sums;      // of gradients, as laid_out
  float* phases;    // width x POINTS: phases, last activations, or gradients at activations
  half* activated;  // hidden x width / 2 x POINTS pairs of rows: what each hidden layer saw
  half* slopes;     // (hidden + 1) x width x POINTS
  half* grad_phase;     // width x POINTS: gradients at phases
  half* grad_pairs;
  half* across;  // POINTS / 2 x width pairs of points: activations turned
  float* coords;  // inputs x POINTS
  float* grad_output;    // outputs x POINTS: gradients at the outputs

  Place(const Net& net, char* at) : end_(at) {
    auto take = [this](size_t bytes) { return std::exchange(end_, end_ + (bytes + 63) / 64 * 64); };
    const size_t area = net.area();
    sums = reinterpret_cast<float*>(take(4 * counted(net)));
    phases = reinterpret_cast<float*>(take(4 * area));
    activated = reinterpret_cast<half*>(take(2 * net.hidden * area));
    slopes = reinterpret_cast<half*>(take(2 * (net.hidden + 1) * area));
    grad_phase = reinterpret_cast<half*>(take(2 * area));
    grad_pairs = reinterpret_cast<half*>(take(2 * area));
    across = reinterpret_cast<half*>(take(2 * POINTS * (net.width + GAP)));
    coords = reinterpret_cast<float*>(take(4 * POINTS * net.inputs));
    grad_output = reinterpret_cast<float*>(take(4 * POINTS * net.outputs));
  }
  static size_t bytes(const Net& net) { return size_t(Place(net, nullptr).end_); }

 private:
  char* end_;
};

template <class T>
struct Rows {
  T* first;
  int64_t apart;
};

// c (m, n) = or += a (m, k) b (k, n), with b in pairs of rows.
void product(int64_t m, int64_t n, int64_t k, bool add, Rows<const half> a, Rows<const half> b, Rows<float> c) {
  at::native::cpublas::brgemm(m, n, k, a.apart, b.apart, c.apart, add, reinterpret_cast<const c10::BFloat16*>(a.first),
                              reinterpret_cast<const c10::BFloat16*>(b.first), c.first, true);
}

inline void add(float* row, float weight, const float* other) {
#pragma omp simd
  for (int p = 0; p < POINTS; ++p) row[p] += weight * other[p];
}

inline float dot(const float* row, const float* other) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int p = 0; p < POINTS; ++p) sum += row[p] * other[p];
  return sum;
}

// Two rows of phases to a row of pairs of activations, and two of slopes.
void activate(const float* phases, const float* bias, float curve, half* pairs, half* slopes) {
  pair* both = reinterpret_cast<pair*>(pairs);
#pragma omp simd
  for (int p = 0; p < POINTS; ++p) {
    float even, odd, even_slope, odd_slope;
    activation(phases[p] + bias[0], curve, even, even_slope);
    activation(phases[STRIDE + p] + bias[1], curve, odd, odd_slope);
    both[p] = rounded(even) | rounded(odd) << 16;
    slopes[p] = rounded(even_slope);
    slopes[STRIDE + p] = rounded(odd_slope);
  }
}

// Gradients at two rows of activations to those at their phases, in rows and in pairs; their sums are the biases'.
void activation_backward(const float* gradients, const half* slopes, half* grad_phase, half* pairs, float* sums) {
  pair* both = reinterpret_cast<pair*>(pairs);
  float even_sum = 0, odd_sum = 0;
#pragma omp simd reduction(+ : even_sum, odd_sum)
  for (int p = 0; p < POINTS; ++p) {
    float even = gradients[p] * wide(slopes[p]), odd = gradients[STRIDE + p] * wide(slopes[STRIDE + p]);
    even_sum += even;
    odd_sum += odd;
    uint32_t low = rounded(even), high = rounded(odd);
    grad_phase[p] = low;
    grad_phase[STRIDE + p] = high;
    both[p] = low | high << 16;
  }
  sums[0] += even_sum;
  sums[1] += odd_sum;
}

using Halves = half __attribute__((vector_size(64)));
using Pairs = pair __attribute__((vector_size(64)));

// Pairs of rows (width / 2, POINTS) to pairs of points (POINTS / 2, width), in tiles of 16 features and 32 points.
void turn(const half* rows, half* points, int64_t width) {
  Halves evens, odds;  // of two vectors one after the other, which hold a pair of rows
  Pairs low, high;     // halves of two vectors, taking turns
  for (int i = 0; i < 32; ++i) evens[i] = 2 * i, odds[i] = 2 * i + 1;
  for (int i = 0; i < 16; ++i) low[i] = i / 2 + i % 2 * 16, high[i] = low[i] + 8;
  for (int64_t top = 0; top < width; top += 16)
    for (int64_t p = 0; p < POINTS; p += 32) {
      Pairs tile[16], next[16];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        Halves both[2];
        std::memcpy(both, rows + (top + 2 * i) * STRIDE + 2 * p, sizeof both);
        tile[2 * i] = reinterpret_cast<Pairs>(__builtin_shuffle(both[0], both[1], evens));
        tile[2 * i + 1] = reinterpret_cast<Pairs>(__builtin_shuffle(both[0], both[1], odds));
      }
#pragma GCC unroll 4
      for (int round = 0; round < 4; ++round) {  // each moves one bit of the row's number into the column's
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
          next[2 * i] = __builtin_shuffle(tile[i], tile[i + 8], low);
          next[2 * i + 1] = __builtin_shuffle(tile[i], tile[i + 8], high);
        }
        std::copy(next, next + 16, tile);
      }
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        std::memcpy(points + 2 * ((p / 2 + i) * (width + GAP) + top), &tile[i], sizeof tile[i]);
    }
}

// Through the network; leaves the last activations in place.phases.
void forward(const Net& net, const Layers& weights, const half* straight, Place& place) {
  float* phases = place.phases;
  for (int64_t f = 0; f < net.width; ++f) {
    float* row = phases + f * STRIDE;
    std::fill(row, row + POINTS, 0.0f);
    for (int64_t k = 0; k < net.inputs; ++k) add(row, weights.first[f * net.inputs + k], place.coords + k * POINTS);
  }
  for (int64_t layer = 0; layer < net.hidden; ++layer) {
    const float* bias = layer ? weights.hidden_bias + (layer - 1) * net.width : weights.first_bias;
    half *pairs = place.activated + layer * net.area(), *slopes = place.slopes + layer * net.area();
    for (int64_t f = 0; f < net.width; f += 2)
      activate(phases + f * STRIDE, bias + f, layer ? net.curve : net.first_curve, pairs + f * STRIDE,
               slopes + f * STRIDE);
    product(net.width, POINTS, net.width, false, {straight + layer * net.square(), net.width}, {pairs, STRIDE},
            {phases, STRIDE});
  }
  for (int64_t f = 0; f < net.width; ++f) {
    float bias = weights.hidden_bias[(net.hidden - 1) * net.width + f], *row = phases + f * STRIDE;
    half* slopes = place.slopes + net.hidden * net.area() + f * STRIDE;
#pragma omp simd
    for (int p = 0; p < POINTS; ++p) {
      float value, slope;
      activation(row[p] + bias, net.curve, value, slope);
      row[p] = value;
      slopes[p] = rounded(slope);
    }
  }
}

// The last layer: residuals, and its gradients; leaves those at the last activations in place.phases.
void judge(const Net& net, const Layers& weights, Place& place, const float* values, const float* loss_weights,
           int64_t many, float* residuals) {
  const Layers sums = laid_out(net, place.sums);
  for (int64_t k = 0; k < net.outputs; ++k) {
    float* out = place.grad_output + k * POINTS;
    std::fill(out, out + POINTS, weights.last_bias[k]);
    for (int64_t f = 0; f < net.width; ++f) add(out, weights.last[k * net.width + f], place.phases + f * STRIDE);
    for (int64_t p = 0; p < many; ++p) {
      float residual = out[p] - values[p * net.outputs + k];
      residuals[p * net.outputs + k] = residual;
      out[p] = 2 * loss_weights[p] * residual;
      sums.last_bias[k] += out[p];
    }
    std::fill(out + many, out + POINTS, 0.0f);  // points that are not there
    for (int64_t f = 0; f < net.width; ++f) sums.last[k * net.width + f] += dot(out, place.phases + f * STRIDE);
  }
  for (int64_t f = 0; f < net.width; ++f) {
    float* row = place.phases + f * STRIDE;
    std::fill(row, row + POINTS, 0.0f);
    for (int64_t k = 0; k < net.outputs; ++k) add(row, weights.last[k * net.width + f], place.grad_output + k * POINTS);
  }
}

// From the last activations back to the first layer.
void backward(const Net& net, const half* turned, Place& place) {
  const Layers sums = laid_out(net, place.sums);
  float* gradients = place.phases;
  for (int64_t layer = net.hidden - 1; layer >= 0; --layer) {
    const half* slopes = place.slopes + (layer + 1) * net.area();
    for (int64_t f = 0; f < net.width; f += 2)
      activation_backward(gradients + f * STRIDE, slopes + f * STRIDE, place.grad_phase + f * STRIDE,
                place.grad_pairs + f * STRIDE, sums.hidden_bias + layer * net.width + f);
    turn(place.activated + layer * net.area(), place.across, net.width);
    product(net.width, net.width, POINTS, true, {place.grad_phase, STRIDE}, {place.across, net.width + GAP},
            {sums.hidden + layer * net.square(), net.width});
    product(net.width, POINTS, net.width, false, {turned + layer * net.square(), net.width},
            {place.grad_pairs, STRIDE}, {gradients, STRIDE});
  }
  for (int64_t f = 0; f < net.width; ++f) {
    float *row = gradients + f * STRIDE, sum = 0;
    const half* slopes = place.slopes + f * STRIDE;
#pragma omp simd reduction(+ : sum)
    for (int p = 0; p < POINTS; ++p) sum += row[p] *= wide(slopes[p]);
    sums.first_bias[f] += sum;
    for (int64_t k = 0; k < net.inputs; ++k) sums.first[f * net.inputs + k] += dot(row, place.coords + k * POINTS);
  }
}

// Rows r and r + 1 of the stacked hidden matrices in bfloat16, as they are and turned.
void pack(const Net& net, const float* hidden, int64_t r, half* straight, half* turned) {
  const float* rows = hidden + r * net.width;
  half* to = straight + r * net.width;
  for (int64_t j = 0; j < 2 * net.width; ++j) to[j] = rounded(rows[j]);
  pair* column = reinterpret_cast<pair*>(turned + r / net.width * net.square() + r % net.width);
  for (int64_t j = 0; j < net.width; ++j) column[j * net.width / 2] = to[j] | pair(to[net.width + j]) << 16;
}

constexpr int DONE = 0, NO_MEMORY = 1, FAILED = 2;  // as in kernel.py

}  // namespace

// Whether torch has such products here: within the threads below nobody would catch what it throws.
extern "C" int inrfit_products(int64_t width) try {
  std::vector<half> left((width + GAP) * std::max<int64_t>(width + GAP, STRIDE)), right(left.size());
  std::vector<float> out(left.size());
  product(width, POINTS, width, false, {left.data(), width}, {right.data(), STRIDE}, {out.data(), STRIDE});
  product(width, width, POINTS, true, {left.data(), STRIDE}, {right.data(), width + GAP}, {out.data(), width});
  at::native::cpublas::brgemm_release(true);
  return 1;
} catch (...) {
  return 0;
}

// ``weights`` in the order of Layers; ``gradients`` one after the other in that order. The same number of threads
// gives the same gradients.
extern "C" int inrfit_gradients(int64_t n, int64_t inputs, int64_t width, int64_t hidden, int64_t outputs,
                                float first_curve, float curve, float* const* weights, const float* coords,
                                const float* values, const float* loss_weights, float* residuals, float* gradients,
                                int threads) try {
  const Net net{inputs, width, hidden, outputs, first_curve, curve};
  const Layers given{weights[0], weights[1], weights[2], weights[3], weights[4], weights[5]};
  const int64_t blocks = (n + POINTS - 1) / POINTS, total = counted(net), stacked = hidden * net.square();
  const int64_t most = std::max<int64_t>(1, std::min<int64_t>(threads, blocks));
  const size_t apart = Place::bytes(net);
  std::atomic<bool> failed = false;
  char* memory = kept.of(4 * stacked + most * apart);
  half *straight = reinterpret_cast<half*>(memory + most * apart), *turned = straight + stacked;
#pragma omp parallel num_threads(most)
  {
    Place place(net, memory + omp_get_thread_num() * apart);
    std::fill(place.sums, place.sums + total, 0.0f);
#pragma omp for schedule(static)
    for (int64_t r = 0; r < hidden * width; r += 2) pack(net, given.hidden, r, straight, turned);
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t from = block * POINTS, many = std::min<int64_t>(POINTS, n - from);
      for (int64_t k = 0; k < inputs; ++k)
        for (int64_t p = 0; p < POINTS; ++p)
          place.coords[k * POINTS + p] = p < many ? coords[(from + p) * inputs + k] : 0.0f;
      try {  // nobody would catch it outside
        forward(net, given, straight, place);
        judge(net, given, place, values + from * outputs, loss_weights + from, many, residuals + from * outputs);
        backward(net, turned, place);
      } catch (...) {
        failed = true;
      }
    }
    at::native::cpublas::brgemm_release(true);
    const int team = omp_get_num_threads();
#pragma omp for simd schedule(static)
    for (int64_t i = 0; i < total; ++i) {
      float sum = 0;
      for (int t = 0; t < team; ++t) sum += reinterpret_cast<const float*>(memory + t * apart)[i];
      gradients[i] = sum;
    }
  }
  return failed ? FAILED : DONE;
} catch (const std::bad_alloc&) {
  return NO_MEMORY;
}
