// The cost of a pick by the number of endpoints: few are all compared, of many two are drawn.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "dataplane/route/endpoint_picker.h"
#include "dataplane/table/alias_table.h"

namespace {

void Pick(benchmark::State& state) {
  const auto endpoints = static_cast<size_t>(state.range(0));
  std::mt19937 seeded(1);
  std::vector<double> weights(endpoints);
  for (double& weight : weights) weight = 0.1 + static_cast<double>(seeded() % 1000) / 100;
  trunkline::EndpointPicker picker;
  const trunkline::MonotonicTime now;
  picker.SetEndpoints(std::vector<size_t>(endpoints, trunkline::EndpointPicker::kNone),
                      std::make_shared<trunkline::AliasTable>(weights), now);
  for (size_t i = 0; i < endpoints; ++i) {
    picker.Set(i, {.usable = true});
    picker.AddOwn(i, static_cast<int32_t>(seeded() % 50));
  }
  trunkline::FastRandom random(1);
  for (auto _ : state) benchmark::DoNotOptimize(picker.Pick(random));
}
BENCHMARK(Pick)->Arg(2)->Arg(3)->Arg(4)->Arg(6)->Arg(8)->Arg(10)->Arg(100)->Arg(1000);

}  // namespace

BENCHMARK_MAIN();
