// Residuals and gradients of a perceptron with sines, in bfloat16 between its hidden layers, on x86 processors.
//
// POINTS points at a time are computed through the whole network, forward and backward, within one core's cache.
// Activations are stored feature by feature. The left factor of every product is then in row-major order, and the right
// factor is in pairs of rows, as the processor's bfloat16 instructions require; the activation function writes them so.
// The products are those of oneDNN, called through torch (at::native::cpublas::brgemm). Phases, sums, the first and the
// last layer are float32.
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

using half = uint16_t;  // a bfloat16 number: the upper half of a float32
using pair = uint32_t;  // two bfloat16 numbers: of an even row in the lower bits, of the next row in the upper
constexpr int POINTS = 256;
constexpr int GAP = 32;  // padding of rows: strides of a power of two would compete for the same cache lines
constexpr int STRIDE = POINTS + GAP;

// Memory that is kept from call to call, because allocating pages for every step is slow.
class Buffer {
 public:
  char* reserve(size_t bytes) {
    if (bytes > size_) {
      size_ = 0;
      held_.reset();
      held_.reset(std::aligned_alloc(PAGE, round_to_pages(bytes)));
      if (!held_) throw std::bad_alloc();
      size_ = bytes;
    }
    return static_cast<char*>(held_.get());
  }
  static size_t round_to_pages(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

 private:
  static constexpr size_t PAGE = 4096;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> held_;
  size_t size_ = 0;
};
thread_local Buffer buffer;

// To the nearest bfloat16 number; ties are rounded away from zero.
inline uint32_t to_bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return (bits + 0x8000) >> 16;
}

inline float to_float(half x) {
  uint32_t bits = uint32_t(x) << 16;
  float number;
  std::memcpy(&number, &bits, 4);
  return number;
}

// The activation sin(u + a u |u|) and the factor of its gradient (SIREN: a = 0; FINER: a = 1 / omega). The polynomials
// and the two parts of 2 pi are those of fields/mlp/fast_sine.py.
inline void activation(float u, float a, float& value, float& slope) {
  float growth = std::fabs(u) * a, phase = u + u * growth;
  float turns = std::nearbyint(phase * 0.15915494309189535f);
  float x = phase - turns * 6.28125f - turns * 0.0019353071795864769f, q = x * x;
  value = x * (0.99999958f + q * (-0.16666554f + q * (0.0083324080f +
          q * (-1.9808741e-04f + q * (2.6998227e-06f + q * -2.0366231e-08f)))));
  slope = (1 + growth) * (1.0f + q * (-0.49999988f + q * (0.041666489f +
          q * (-0.0013887808f + q * (2.4769967e-05f + q * (-2.7079776e-07f + q * 1.7247607e-09f))))));
}

struct Net {
  int64_t inputs, width, hidden, outputs;
  float first_coefficient, coefficient;  // a of the first and of the hidden layers
  int64_t square() const { return width * width; }
  int64_t area() const { return width * STRIDE; }
};

struct Layers {  // weights, or sums of gradients
  float *hidden, *hidden_bias, *first, *first_bias, *last, *last_bias;
};

int64_t parameter_count(const Net& net) {
  return net.hidden * (net.square() + net.width) + net.width * (net.inputs + 1) + net.outputs * (net.width + 1);
}

Layers split_layers(const Net& net, float* at) {
  auto take = [&at](int64_t count) { return std::exchange(at, at + count); };
  Layers layers;
  layers.hidden = take(net.hidden * net.square());
  layers.hidden_bias = take(net.hidden * net.width);
  layers.first = take(net.width * net.inputs);
  layers.first_bias = take(net.width);
  layers.last = take(net.outputs * net.width);
  layers.last_bias = take(net.outputs);
  return layers;
}

// The memory of one thread. Rows are features and columns points, unless stated otherwise.
struct Workspace {
  float* sums;         // sums of gradients, in the order of split_layers
  float* phases;       // width x POINTS: phases, last activations, or gradients of activations
  half* activated;     // hidden x width / 2 x POINTS pairs of rows: the inputs of the hidden layers
  half* slopes;        // (hidden + 1) x width x POINTS
  half* grad_phase;    // width x POINTS: gradients of phases
  half* grad_pairs;    // width / 2 x POINTS pairs of rows: the same
  half* transposed;    // POINTS / 2 x width pairs of points: transposed activations
  float* coords;       // inputs x POINTS
  float* grad_output;  // outputs x POINTS: gradients of the outputs

  Workspace(const Net& net, char* at) : end_(at) {
    auto take = [this](size_t bytes) { return std::exchange(end_, end_ + (bytes + 63) / 64 * 64); };
    const size_t area = net.area();
    sums = reinterpret_cast<float*>(take(4 * parameter_count(net)));
    phases = reinterpret_cast<float*>(take(4 * area));
    activated = reinterpret_cast<half*>(take(2 * net.hidden * area));
    slopes = reinterpret_cast<half*>(take(2 * (net.hidden + 1) * area));
    grad_phase = reinterpret_cast<half*>(take(2 * area));
    grad_pairs = reinterpret_cast<half*>(take(2 * area));
    transposed = reinterpret_cast<half*>(take(2 * POINTS * (net.width + GAP)));
    coords = reinterpret_cast<float*>(take(4 * POINTS * net.inputs));
    grad_output = reinterpret_cast<float*>(take(4 * POINTS * net.outputs));
  }
  static size_t bytes(const Net& net) { return size_t(Workspace(net, nullptr).end_); }

 private:
  char* end_;
};

template <class T>
struct Rows {
  T* first;
  int64_t stride;
};

// c (m, n) = a (m, k) b (k, n), or += if add; b is stored in pairs of rows.
void product(int64_t m, int64_t n, int64_t k, bool add, Rows<const half> a, Rows<const half> b, Rows<float> c) {
  at::native::cpublas::brgemm(m, n, k, a.stride, b.stride, c.stride, add,
                              reinterpret_cast<const c10::BFloat16*>(a.first),
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

// Activations of two rows of phases as one row of pairs, and their slopes as two rows.
void activate(const float* phases, const float* bias, float coefficient, half* pairs, half* slopes) {
  pair* both = reinterpret_cast<pair*>(pairs);
#pragma omp simd
  for (int p = 0; p < POINTS; ++p) {
    float even, odd, even_slope, odd_slope;
    activation(phases[p] + bias[0], coefficient, even, even_slope);
    activation(phases[STRIDE + p] + bias[1], coefficient, odd, odd_slope);
    both[p] = to_bfloat16(even) | to_bfloat16(odd) << 16;
    slopes[p] = to_bfloat16(even_slope);
    slopes[STRIDE + p] = to_bfloat16(odd_slope);
  }
}

// Gradients of two rows of phases from those of their activations, in rows and in pairs. Their sums are added to the
// gradients of the biases.
void activation_backward(const float* gradients, const half* slopes, half* grad_phase, half* pairs, float* sums) {
  pair* both = reinterpret_cast<pair*>(pairs);
  float even_sum = 0, odd_sum = 0;
#pragma omp simd reduction(+ : even_sum, odd_sum)
  for (int p = 0; p < POINTS; ++p) {
    float even = gradients[p] * to_float(slopes[p]), odd = gradients[STRIDE + p] * to_float(slopes[STRIDE + p]);
    even_sum += even;
    odd_sum += odd;
    uint32_t low = to_bfloat16(even), high = to_bfloat16(odd);
    grad_phase[p] = low;
    grad_phase[STRIDE + p] = high;
    both[p] = low | high << 16;
  }
  sums[0] += even_sum;
  sums[1] += odd_sum;
}

using Halves = half __attribute__((vector_size(64)));
using Pairs = pair __attribute__((vector_size(64)));

// Transposes pairs of rows (width / 2, POINTS) into pairs of points (POINTS / 2, width), in tiles of 16 features and 32
// points.
void transpose(const half* rows, half* points, int64_t width) {
  Halves evens, odds;  // shuffle masks: even and odd elements of two consecutive vectors, which hold a pair of rows
  Pairs low, high;     // shuffle masks: the lower and upper halves of two vectors, interleaved
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
      for (int round = 0; round < 4; ++round) {  // each moves one bit of the row index to the column index
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

// Forward pass. The last activations are in work.phases afterwards.
void forward(const Net& net, const Layers& weights, const half* row_major_weights, Workspace& work) {
  float* phases = work.phases;
  for (int64_t f = 0; f < net.width; ++f) {
    float* row = phases + f * STRIDE;
    std::fill(row, row + POINTS, 0.0f);
    for (int64_t k = 0; k < net.inputs; ++k) add(row, weights.first[f * net.inputs + k], work.coords + k * POINTS);
  }
  for (int64_t layer = 0; layer < net.hidden; ++layer) {
    const float* bias = layer ? weights.hidden_bias + (layer - 1) * net.width : weights.first_bias;
    half *pairs = work.activated + layer * net.area(), *slopes = work.slopes + layer * net.area();
    for (int64_t f = 0; f < net.width; f += 2)
      activate(phases + f * STRIDE, bias + f, layer ? net.coefficient : net.first_coefficient, pairs + f * STRIDE,
               slopes + f * STRIDE);
    product(net.width, POINTS, net.width, false, {row_major_weights + layer * net.square(), net.width}, {pairs, STRIDE},
            {phases, STRIDE});
  }
  for (int64_t f = 0; f < net.width; ++f) {
    float bias = weights.hidden_bias[(net.hidden - 1) * net.width + f], *row = phases + f * STRIDE;
    half* slopes = work.slopes + net.hidden * net.area() + f * STRIDE;
#pragma omp simd
    for (int p = 0; p < POINTS; ++p) {
      float value, slope;
      activation(row[p] + bias, net.coefficient, value, slope);
      row[p] = value;
      slopes[p] = to_bfloat16(slope);
    }
  }
}

// Residuals and gradients of the last layer. The gradients of the last activations are in work.phases afterwards.
void last_layer(const Net& net, const Layers& weights, Workspace& work, const float* values, const float* loss_weights,
                int64_t count, float* residuals) {
  const Layers sums = split_layers(net, work.sums);
  for (int64_t k = 0; k < net.outputs; ++k) {
    float* out = work.grad_output + k * POINTS;
    std::fill(out, out + POINTS, weights.last_bias[k]);
    for (int64_t f = 0; f < net.width; ++f) add(out, weights.last[k * net.width + f], work.phases + f * STRIDE);
    for (int64_t p = 0; p < count; ++p) {
      float residual = out[p] - values[p * net.outputs + k];
      residuals[p * net.outputs + k] = residual;
      out[p] = 2 * loss_weights[p] * residual;
      sums.last_bias[k] += out[p];
    }
    std::fill(out + count, out + POINTS, 0.0f);  // padding of the block
    for (int64_t f = 0; f < net.width; ++f) sums.last[k * net.width + f] += dot(out, work.phases + f * STRIDE);
  }
  for (int64_t f = 0; f < net.width; ++f) {
    float* row = work.phases + f * STRIDE;
    std::fill(row, row + POINTS, 0.0f);
    for (int64_t k = 0; k < net.outputs; ++k) add(row, weights.last[k * net.width + f], work.grad_output + k * POINTS);
  }
}

// Backward pass from the last activations to the first layer.
void backward(const Net& net, const half* transposed_weights, Workspace& work) {
  const Layers sums = split_layers(net, work.sums);
  float* gradients = work.phases;
  for (int64_t layer = net.hidden - 1; layer >= 0; --layer) {
    const half* slopes = work.slopes + (layer + 1) * net.area();
    for (int64_t f = 0; f < net.width; f += 2)
      activation_backward(gradients + f * STRIDE, slopes + f * STRIDE, work.grad_phase + f * STRIDE,
                          work.grad_pairs + f * STRIDE, sums.hidden_bias + layer * net.width + f);
    transpose(work.activated + layer * net.area(), work.transposed, net.width);
    product(net.width, net.width, POINTS, true, {work.grad_phase, STRIDE}, {work.transposed, net.width + GAP},
            {sums.hidden + layer * net.square(), net.width});
    product(net.width, POINTS, net.width, false, {transposed_weights + layer * net.square(), net.width},
            {work.grad_pairs, STRIDE}, {gradients, STRIDE});
  }
  for (int64_t f = 0; f < net.width; ++f) {
    float *row = gradients + f * STRIDE, sum = 0;
    const half* slopes = work.slopes + f * STRIDE;
#pragma omp simd reduction(+ : sum)
    for (int p = 0; p < POINTS; ++p) sum += row[p] *= to_float(slopes[p]);
    sums.first_bias[f] += sum;
    for (int64_t k = 0; k < net.inputs; ++k) sums.first[f * net.inputs + k] += dot(row, work.coords + k * POINTS);
  }
}

// Converts rows r and r + 1 of the stacked hidden matrices to bfloat16, row-major and transposed.
void pack(const Net& net, const float* hidden, int64_t r, half* row_major_weights, half* transposed_weights) {
  const float* rows = hidden + r * net.width;
  half* to = row_major_weights + r * net.width;
  for (int64_t j = 0; j < 2 * net.width; ++j) to[j] = to_bfloat16(rows[j]);
  pair* column = reinterpret_cast<pair*>(transposed_weights + r / net.width * net.square() + r % net.width);
  for (int64_t j = 0; j < net.width; ++j) column[j * net.width / 2] = to[j] | pair(to[net.width + j]) << 16;
}

constexpr int DONE = 0, NO_MEMORY = 1, FAILED = 2;  // as in cpp_kernel.py

}  // namespace

// Whether torch can compute the products here. It throws if not, and an exception must not leave an OpenMP region.
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

// ``weights`` are in the order of Layers, and ``gradients`` are concatenated in this order. The same number of threads
// gives the same results.
extern "C" int inrfit_gradients(int64_t n, int64_t inputs, int64_t width, int64_t hidden, int64_t outputs,
                                float first_coefficient, float coefficient, float* const* weights, const float* coords,
                                const float* values, const float* loss_weights, float* residuals, float* gradients,
                                int threads) try {
  const Net net{inputs, width, hidden, outputs, first_coefficient, coefficient};
  const Layers layers{weights[0], weights[1], weights[2], weights[3], weights[4], weights[5]};
  const int64_t blocks = (n + POINTS - 1) / POINTS, total = parameter_count(net), stacked = hidden * net.square();
  const int64_t max_threads = std::max<int64_t>(1, std::min<int64_t>(threads, blocks));
  const size_t stride = Workspace::bytes(net);
  std::atomic<bool> failed = false;
  char* memory = buffer.reserve(4 * stacked + max_threads * stride);
  half* row_major_weights = reinterpret_cast<half*>(memory + max_threads * stride);
  half* transposed_weights = row_major_weights + stacked;
#pragma omp parallel num_threads(max_threads)
  {
    Workspace work(net, memory + omp_get_thread_num() * stride);
    std::fill(work.sums, work.sums + total, 0.0f);
#pragma omp for schedule(static)
    for (int64_t r = 0; r < hidden * width; r += 2) pack(net, layers.hidden, r, row_major_weights, transposed_weights);
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t from = block * POINTS, count = std::min<int64_t>(POINTS, n - from);
      for (int64_t k = 0; k < inputs; ++k)
        for (int64_t p = 0; p < POINTS; ++p)
          work.coords[k * POINTS + p] = p < count ? coords[(from + p) * inputs + k] : 0.0f;
      try {  // exceptions must not leave an OpenMP region
        forward(net, layers, row_major_weights, work);
        last_layer(net, layers, work, values + from * outputs, loss_weights + from, count, residuals + from * outputs);
        backward(net, transposed_weights, work);
      } catch (...) {
        failed = true;
      }
    }
    at::native::cpublas::brgemm_release(true);
    const int team = omp_get_num_threads();
#pragma omp for simd schedule(static)
    for (int64_t i = 0; i < total; ++i) {
      float sum = 0;
      for (int t = 0; t < team; ++t) sum += reinterpret_cast<const float*>(memory + t * stride)[i];
      gradients[i] = sum;
    }
  }
  return failed ? FAILED : DONE;
} catch (const std::bad_alloc&) {
  return NO_MEMORY;
}
