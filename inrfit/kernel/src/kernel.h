// What the instruction sets implement (perceptron.inc, compiled once for each) and kernel.cpp calls.
#pragma once
#include <cstddef>
#include <cstdint>

namespace inrfit {

// A grid of features at its nodes, which are the centres of cells; hashed nodes share rows of the table.
struct Level {
  int64_t nodes[4], strides[4], start, rows, hashed;  // along each axis; first row and number of rows
};

// A perceptron: phases u = W x + b, activations f(u). Sizes are numbers of units. x are the coordinates, or, if there
// are levels, `features` numbers of each level, interpolated at the coordinates.
struct Net {
  int64_t inputs, width, hidden, outputs;  // hidden: matrices between the first and the last layer
  int64_t stride;                          // from one of them to the next, in matrices
  int64_t axes, level_count, features;
  int64_t span;                            // nodes along an axis that interpolation weighs: 2, or 3 of a B-spline
  const Level* levels;
  int32_t activation;                      // SINE, FINER, GAUSS or RELU
  float first_coefficient, coefficient;    // of FINER: 1 / omega of the first and of the hidden layers
};
enum Activation : int32_t { SINE, FINER, GAUSS, RELU };

// Tensors in row-major order, as (out, in): the weights of a field, or the gradients with respect to them.
template <class T>
struct Layers {
  T *hidden, *hidden_bias, *first, *first_bias, *last, *last_bias, *table;
};

// A partition of the domain into tiles, numbered in row-major order; `overlap` is the share of a tile's side in which
// neighbours are blended.
struct Partition {
  int64_t axes, counts[4];
  float overlap;
};

// n points in row-major order.
struct Points {
  const float *table, *coords, *targets, *loss_weights;  // (rows, features), (n, inputs or axes), (n, outputs), (n)
  float* out;                                            // (n, outputs): residuals, or values
};

// An update of Adam: weights -= rate * mean / (sqrt(correction * square) + epsilon), with running means of the
// gradients and of their squares.
struct Adam {
  float mean_decay, square_decay, correction, epsilon;
};

// The relative density with which an entry of a map of errors is sampled: rest + share * error, within bounds; and its
// probability, scale * density.
struct Density {
  float share, rest, lowest, highest, scale;
};
constexpr int32_t ONE = 1 << 30;  // a probability of 1

// A network with two hidden layers at places of a stack of maps. A place takes the `inputs` numbers at these offsets from
// it. Where there are scales, all numbers are whole, and below 2^24, so that any order of adding gives the same.
struct Stencil {
  int64_t inputs, hidden, outputs;
  int64_t columns, row_step, column_step;  // places in a row; from a place to the next, in the maps
  const int64_t* offsets;
  const float *first, *first_bias, *second, *second_bias, *last, *last_bias;  // (out, in), (out)
  float first_scale, second_scale, most;
};

// The functions of one instruction set. `part` of `parts` are shares of the work of several threads.
struct Kernel {
  const char* name;
  bool bfloat16;  // the products of the hidden layers have bfloat16 factors and float32 sums
  size_t (*packed_bytes)(const Net&);
  size_t (*workspace_bytes)(const Net&);  // memory of a thread
  void (*pack)(const Net&, const Layers<const float>&, void* packed, bool train, int64_t part, int64_t parts);
  void (*clear)(const Net&, void* workspace);
  // Residuals of the points from..to, whose gradients are added to the sums in the workspace.
  void (*train)(const Net&, const void* packed, void* workspace, const Points&, int64_t from, int64_t to);
  // Gradients: the sums of `count` workspaces, which lie `stride` bytes apart.
  void (*reduce)(const Net&, const void* workspaces, size_t stride, int64_t count, const Layers<float>&, int64_t part,
                 int64_t parts);
  void (*adam)(const Adam&, int64_t n, float rate, const float* gradients, float* weights, float* mean, float* square);
  // Values at the points from..to.
  void (*evaluate)(const Net&, const void* packed, void* workspace, const Points&, int64_t from, int64_t to);
  double (*measure)(const Density&, int64_t n, const float* errors, int64_t* capped);
  int64_t (*probabilities)(const Density&, int64_t n, const float* errors, int32_t* to, int64_t* capped);
  void (*stencil)(const Stencil&, const int8_t* maps, int64_t rows, int64_t from, int64_t to, float* out);
};

const Kernel& kernel_of(int set);  // number `set` of those of this processor, the fastest first

extern const Kernel avx2, avx512, avx512_bf16, amx, neon;

}  // namespace inrfit
