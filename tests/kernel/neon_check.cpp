// The NEON kernel against the formulas written out in double precision. Run on another processor by an emulator, where
// there is no torch. Prints the largest relative error of all tensors and nets, and ends with 1 if it is too large.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "kernel.h"

using namespace inrfit;
using Numbers = std::vector<double>;

extern "C" const char* inrfit_instruction_sets();
extern "C" int inrfit_gradients(int, const Net*, int64_t, const int64_t*, const float* const*, float* const*,
                                float* const*, int64_t);
extern "C" int inrfit_values(int, const Net*, int64_t, const float* const*, const float*, float*, int64_t);

static double activate(const Net& net, double u, double a, double& slope) {
  switch (net.activation) {
    case SINE: slope = std::cos(u); return std::sin(u);
    case FINER: {
      const double v = u + a * u * std::fabs(u);
      slope = (1 + a * std::fabs(u)) * std::cos(v);
      return std::sin(v);
    }
    case GAUSS: slope = -2 * u * std::exp(-u * u); return std::exp(-u * u);
    default: slope = u > 0; return u > 0 ? u : 0;
  }
}

static int64_t table_size(const Net& net) {
  int64_t rows = 0;
  for (int64_t l = 0; l < net.level_count; ++l) rows += net.levels[l].rows;
  return rows * net.features;
}

struct Node {  // one of those around a point
  int64_t level, row;
  double weight;
};

static std::vector<Node> nodes_around(const Net& net, const float* x) {
  std::vector<Node> all;
  for (int64_t l = 0; l < net.level_count; ++l) {
    const Level& level = net.levels[l];
    std::vector<Node> found{{l, 0, 1.0}};
    for (int64_t d = 0; d < net.axes; ++d) {
      const double last = level.nodes[d] - 1;
      const double position = std::clamp((x[d] + 1.0) * (last + 1) / 2 - 0.5, 0.0, last);
      const int64_t base = int64_t(net.span == 2 ? position : position + 0.5);
      const double t = position - base;
      const Numbers spline{(0.5 - t) * (0.5 - t) / 2, 0.75 - t * t, (0.5 + t) * (0.5 + t) / 2};
      const Numbers weights = net.span == 2 ? Numbers{1 - t, t} : spline;
      std::vector<Node> next;
      for (const Node& node : found)
        for (int64_t s = 0; s < net.span; ++s) {
          const int64_t place = std::clamp<int64_t>(base + s - (net.span == 3), 0, int64_t(last)) * level.strides[d];
          next.push_back({l, level.hashed ? node.row ^ place : node.row + place, node.weight * weights[s]});
        }
      found = next;
    }
    for (Node& node : found) {
      node.row = level.start + (level.hashed ? node.row % level.rows : node.row);
      all.push_back(node);
    }
  }
  return all;
}

struct Tensors {  // hidden, hidden bias, first, first bias, last, last bias, table
  std::vector<std::vector<float>> of;
  explicit Tensors(const Net& net)
      : of{std::vector<float>(net.hidden * net.width * net.width), std::vector<float>(net.hidden * net.width),
           std::vector<float>(net.width * net.inputs), std::vector<float>(net.width),
           std::vector<float>(net.outputs * net.width), std::vector<float>(net.outputs),
           std::vector<float>(table_size(net))} {}
  std::vector<float*> addresses() {
    std::vector<float*> all;
    for (auto& tensor : of) all.push_back(tensor.data());
    return all;
  }
};

// Adds the gradients of one point to `sums`; returns its residuals.
static Numbers point(const Net& net, const Tensors& weights, const float* at, const float* target, double loss_weight,
                     std::vector<Numbers>& sums) {
  const int64_t w = net.width, layers = net.hidden + 1, features = net.features;
  const std::vector<Node> nodes = nodes_around(net, at);
  Numbers x(net.level_count ? Numbers(net.inputs) : Numbers(at, at + net.inputs)), x_gradient(net.inputs);
  for (const Node& node : nodes)
    for (int64_t f = 0; f < features; ++f)
      x[node.level * features + f] += node.weight * weights.of[6][node.row * features + f];
  std::vector<Numbers> values(layers, Numbers(w)), slopes(layers, Numbers(w));
  for (int64_t l = 0; l < layers; ++l)
    for (int64_t f = 0; f < w; ++f) {
      double u = l ? weights.of[1][(l - 1) * w + f] : weights.of[3][f];
      if (l == 0) for (int64_t d = 0; d < net.inputs; ++d) u += double(weights.of[2][f * net.inputs + d]) * x[d];
      else for (int64_t k = 0; k < w; ++k) u += weights.of[0][((l - 1) * w + f) * w + k] * values[l - 1][k];
      values[l][f] = activate(net, u, l ? net.coefficient : net.first_coefficient, slopes[l][f]);
    }
  Numbers residuals(net.outputs), gradient(w, 0.0);
  for (int64_t c = 0; c < net.outputs; ++c) {
    double out = weights.of[5][c];
    for (int64_t f = 0; f < w; ++f) out += weights.of[4][c * w + f] * values[layers - 1][f];
    residuals[c] = out - target[c];
    const double g = 2 * loss_weight * residuals[c];
    sums[5][c] += g;
    for (int64_t f = 0; f < w; ++f) {
      sums[4][c * w + f] += g * values[layers - 1][f];
      gradient[f] += g * weights.of[4][c * w + f];
    }
  }
  for (int64_t l = layers - 1; l >= 0; --l) {
    Numbers before(w, 0.0);
    for (int64_t f = 0; f < w; ++f) {
      const double g = gradient[f] * slopes[l][f];
      (l ? sums[1][(l - 1) * w + f] : sums[3][f]) += g;
      if (l == 0) for (int64_t d = 0; d < net.inputs; ++d) {
        sums[2][f * net.inputs + d] += g * x[d];
        x_gradient[d] += g * weights.of[2][f * net.inputs + d];
      }
      else for (int64_t k = 0; k < w; ++k) {
        sums[0][((l - 1) * w + f) * w + k] += g * values[l - 1][k];
        before[k] += g * weights.of[0][((l - 1) * w + f) * w + k];
      }
    }
    gradient = before;
  }
  for (const Node& node : nodes)
    for (int64_t f = 0; f < features; ++f)
      sums[6][node.row * features + f] += node.weight * x_gradient[node.level * features + f];
  return residuals;
}

template <class T>
static double error(const std::vector<T>& found, const Numbers& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(found[i] - expected[i], 2);
    size += expected[i] * expected[i];
  }
  return expected.empty() ? 0 : std::sqrt(difference / (size + 1e-30));
}

int main() {
  std::printf("%s\n", inrfit_instruction_sets());
  double worst = 0;
  const Level flat[] = {{{3, 4}, {1, 3}, 0, 12, 0}, {{6, 7}, {1, 6}, 12, 42, 0}};
  const Level solid[] = {{{2, 3, 3}, {1, 2, 6}, 0, 18, 0}, {{9, 8, 7}, {1, 2654435761, 805459861}, 18, 100, 1}};
  const Net nets[] = {
      {2, 64, 3, 3, 1, 0, 0, 0, 0, nullptr, SINE, 0, 0},         {1, 40, 1, 1, 1, 0, 0, 0, 0, nullptr, SINE, 0, 0},
      {3, 8, 2, 1, 1, 0, 0, 0, 0, nullptr, FINER, 0.05f, 0.03f}, {2, 33, 2, 4, 1, 0, 0, 0, 0, nullptr, GAUSS, 0, 0},
      {5, 16, 2, 60, 1, 0, 0, 0, 0, nullptr, RELU, 0, 0},        {2, 12, 0, 3, 1, 0, 0, 0, 0, nullptr, SINE, 0, 0},
      {2, 16, 1, 3, 1, 2, 2, 1, 3, flat, RELU, 0, 0},            {18, 24, 2, 3, 1, 2, 2, 9, 2, flat, RELU, 0, 0},
      {4, 16, 1, 2, 1, 3, 2, 2, 3, solid, RELU, 0, 0},           {2, 16, 1, 2, 1, 3, 2, 1, 2, solid, RELU, 0, 0}};
  for (const Net& net : nets)
    for (int64_t n : {1, 97, 300}) {
      std::mt19937 random(n);
      std::uniform_real_distribution<float> number(-1, 1);
      Tensors weights(net), gradients(net);
      for (size_t t = 0; t < 7; ++t)
        for (float& x : weights.of[t]) x = number(random) * (t < 2 ? 4 / std::sqrt(float(net.width)) : 2);
      const int64_t coordinates = net.level_count ? net.axes : net.inputs;
      std::vector<float> coords(n * coordinates), targets(n * net.outputs), loss_weights(n);
      std::vector<float> residuals(n * net.outputs), values(n * net.outputs);
      for (auto* all : {&coords, &targets}) for (float& x : *all) x = number(random);
      for (float& x : loss_weights) x = 0.5f + 0.5f * number(random);
      float* const points[] = {coords.data(), targets.data(), loss_weights.data(), residuals.data()};
      if (inrfit_gradients(0, &net, 1, &n, weights.addresses().data(), gradients.addresses().data(), points, 2)) return 1;
      if (inrfit_values(0, &net, n, weights.addresses().data(), coords.data(), values.data(), 2)) return 1;
      std::vector<Numbers> sums;
      for (auto& tensor : weights.of) sums.emplace_back(tensor.size());
      Numbers expected_residuals, expected_values;
      for (int64_t p = 0; p < n; ++p) {
        const float* target = &targets[p * net.outputs];
        for (double r : point(net, weights, &coords[p * coordinates], target, loss_weights[p], sums)) {
          expected_values.push_back(r + targets[expected_residuals.size()]);
          expected_residuals.push_back(r);
        }
      }
      worst = std::max({worst, error(residuals, expected_residuals), error(values, expected_values)});
      for (size_t t = 0; t < 7; ++t) worst = std::max(worst, error(gradients.of[t], sums[t]));
    }
  std::printf("largest relative error %.1e\n", worst);
  return worst < 2e-5 ? 0 : 1;
}
