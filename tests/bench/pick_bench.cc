// The cost of a pick (two weighted draws and a comparison) by the number of endpoints.
#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <vector>

#include "dataplane/route/balancer.h"

namespace {

void Pick(benchmark::State& state) {
  const auto endpoints = static_cast<size_t>(state.range(0));
  std::mt19937 seeded(1);
  std::vector<double> weights(endpoints);
  std::vector<trunkline::Balancer::Load> loads(endpoints);
  for (double& weight : weights) weight = 0.1 + static_cast<double>(seeded() % 1000) / 100;
  for (auto& load : loads) load = {.in_flight = seeded() % 50 + 0.5, .hot = seeded() % 8 == 0};
  const trunkline::Balancer balancer(std::make_shared<trunkline::AliasTable>(weights));
  trunkline::FastRandom random(1);
  for (auto _ : state) benchmark::DoNotOptimize(balancer.Pick(loads, random));
}
BENCHMARK(Pick)->Arg(2)->Arg(3)->Arg(10)->Arg(100)->Arg(1000);

}  // namespace

BENCHMARK_MAIN();
