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
extern "C" int inrfit_gradients(int, const Net*, int64_t, int64_t, const float* const*, float* const*, const float*,
                                const float*, const float*, float*, int64_t);
extern "C" int inrfit_values(int, const Net*, int64_t, const float* const*, const float*, float*, int64_t);

static double activate(const Net& net, double u, double a, double& slope) {
  switch (net.activation) {
    case SINE: slope = std::cos(u); return std::sin(u);
    case FINER: slope = (1 + a * std::fabs(u)) * std::cos(u + a * u * std::fabs(u)); return std::sin(u + a * u * std::fabs(u));
    case GAUSS: slope = -2 * u * std::exp(-u * u); return std::exp(-u * u);
    default: slope = u > 0; return u > 0 ? u : 0;
  }
}

struct Tensors {  // hidden, hidden bias, first, first bias, last, last bias
  std::vector<std::vector<float>> of;
  explicit Tensors(const Net& net)
      : of{std::vector<float>(net.hidden * net.width * net.width), std::vector<float>(net.hidden * net.width),
           std::vector<float>(net.width * net.inputs), std::vector<float>(net.width),
           std::vector<float>(net.outputs * net.width), std::vector<float>(net.outputs)} {}
  std::vector<float*> addresses() {
    std::vector<float*> all;
    for (auto& tensor : of) all.push_back(tensor.data());
    all.push_back(nullptr);  // no table
    return all;
  }
};

// Adds the gradients of one point to `sums`; returns its residuals.
static Numbers point(const Net& net, const Tensors& weights, const float* x, const float* target, double loss_weight,
                     std::vector<Numbers>& sums) {
  const int64_t w = net.width, layers = net.hidden + 1;
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
    for (int64_t f = 0; f < w; ++f) sums[4][c * w + f] += g * values[layers - 1][f], gradient[f] += g * weights.of[4][c * w + f];
  }
  for (int64_t l = layers - 1; l >= 0; --l) {
    Numbers before(w, 0.0);
    for (int64_t f = 0; f < w; ++f) {
      const double g = gradient[f] * slopes[l][f];
      (l ? sums[1][(l - 1) * w + f] : sums[3][f]) += g;
      if (l == 0) for (int64_t d = 0; d < net.inputs; ++d) sums[2][f * net.inputs + d] += g * x[d];
      else for (int64_t k = 0; k < w; ++k) {
        sums[0][((l - 1) * w + f) * w + k] += g * values[l - 1][k];
        before[k] += g * weights.of[0][((l - 1) * w + f) * w + k];
      }
    }
    gradient = before;
  }
  return residuals;
}

template <class T>
static double error(const std::vector<T>& found, const Numbers& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) difference += std::pow(found[i] - expected[i], 2), size += expected[i] * expected[i];
  return expected.empty() ? 0 : std::sqrt(difference / (size + 1e-30));
}

int main() {
  std::printf("%s\n", inrfit_instruction_sets());
  double worst = 0;
  const Net nets[] = {{2, 64, 3, 3, 0, 0, 0, 0, nullptr, SINE, 0, 0}, {1, 40, 1, 1, 0, 0, 0, 0, nullptr, SINE, 0, 0}, {3, 8, 2, 1, 0, 0, 0, 0, nullptr, FINER, 0.05f, 0.03f},
                      {2, 33, 2, 4, 0, 0, 0, 0, nullptr, GAUSS, 0, 0}, {5, 16, 2, 60, 0, 0, 0, 0, nullptr, RELU, 0, 0}, {2, 12, 0, 3, 0, 0, 0, 0, nullptr, SINE, 0, 0}};
  for (const Net& net : nets)
    for (int64_t n : {1, 97, 300}) {
      std::mt19937 random(n);
      std::uniform_real_distribution<float> number(-1, 1);
      Tensors weights(net), gradients(net);
      for (size_t t = 0; t < 6; ++t)
        for (float& x : weights.of[t]) x = number(random) * (t < 2 ? 4 / std::sqrt(float(net.width)) : 2);
      std::vector<float> coords(n * net.inputs), targets(n * net.outputs), loss_weights(n), residuals(n * net.outputs),
          values(n * net.outputs);
      for (auto* all : {&coords, &targets}) for (float& x : *all) x = number(random);
      for (float& x : loss_weights) x = 0.5f + 0.5f * number(random);
      if (inrfit_gradients(0, &net, 1, n, weights.addresses().data(), gradients.addresses().data(), coords.data(),
                           targets.data(), loss_weights.data(), residuals.data(), 2)) return 1;
      if (inrfit_values(0, &net, n, weights.addresses().data(), coords.data(), values.data(), 2)) return 1;
      std::vector<Numbers> sums;
      for (auto& tensor : weights.of) sums.emplace_back(tensor.size());
      Numbers expected_residuals, expected_values;
      for (int64_t p = 0; p < n; ++p)
        for (double r : point(net, weights, &coords[p * net.inputs], &targets[p * net.outputs], loss_weights[p], sums)) {
          expected_values.push_back(r + targets[expected_residuals.size()]);
          expected_residuals.push_back(r);
        }
      worst = std::max({worst, error(residuals, expected_residuals), error(values, expected_values)});
      for (size_t t = 0; t < 6; ++t) worst = std::max(worst, error(gradients.of[t], sums[t]));
    }
  std::printf("largest relative error %.1e\n", worst);
  return worst < 2e-5 ? 0 : 1;
}
