// The controller's tick without gRPC and files: from the endpoints' reports to a snapshot, its
// delta and the view that queries read, with 10 to 20,000 endpoints (the most that a controller
// holds).
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "controller/core/control_core.h"
#include "controller/core/load_report.h"
#include "controller/core/snapshot_delta.h"

namespace trunkline {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime::FromNanos(static_cast<int64_t>((1000 + seconds) * 1e9));
}

class Fleet {
 public:
  explicit Fleet(size_t size) : core_(Options(), At(0)) {
    for (size_t i = 0; i < size; ++i) {
      AnnouncedAgent agent;
      agent.agent_id = absl::StrCat("agent-", 1'000'000 + i);
      agent.boot_id = "boot";
      agent.trunk_address = absl::StrCat("10.", i >> 16, ".", i >> 8 & 255, ".", i & 255, ":7073");
      agent.endpoints.push_back({{"bench", absl::StrCat("server-", 1'000'000 + i)}, 0, 4, ""});
      core_.registry().Announce(i + 1, agent, At(0)).IgnoreError();
      ReportedLoad& load = loads_.emplace_back();
      load.key = agent.endpoints[0].key;
      load.cpu_source = "cgroup v2";
    }
  }

  // Each endpoint reports once, with a load that varies by a fifth in a minute or two.
  void Report() {
    ++second_;
    for (size_t i = 0; i < loads_.size(); ++i) {
      const double phase = static_cast<double>(i) + second_ * 2 * M_PI / (60.0 + i % 60);
      loads_[i].cpu_utilization = 0.5 * (1 + 0.2 * std::sin(phase));
      loads_[i].successes_per_second = 50;
      (void)core_.registry().Report(i + 1, static_cast<uint64_t>(second_), {loads_[i]},
                                    At(second_));
    }
  }
  void Tick() {
    const auto before = core_.publisher().current();
    core_.Tick(At(second_));
    benchmark::DoNotOptimize(Diff(*before, *core_.publisher().current()));
    view_ = core_.View(At(second_));
  }

 private:
  static ControlCore::Options Options() {
    ControlCore::Options options;
    options.services.emplace_back().name = "bench";
    options.services[0].listen = {"127.0.0.1:9000"};
    options.first = {1, 1};
    return options;
  }

  ControlCore core_;
  std::vector<ReportedLoad> loads_;
  std::shared_ptr<const ControllerView> view_;
  int second_ = 0;
};

void BM_Tick(benchmark::State& state) {
  Fleet fleet(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    state.PauseTiming();
    fleet.Report();
    state.ResumeTiming();
    fleet.Tick();
  }
  const auto ticks = static_cast<double>(state.iterations()) * static_cast<double>(state.range(0));
  state.counters["per_endpoint"] =
      benchmark::Counter(ticks, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_Tick)->Arg(10)->Arg(100)->Arg(1'000)->Arg(10'000)->Arg(20'000)->Unit(
    benchmark::kMicrosecond);

}  // namespace
}  // namespace trunkline

BENCHMARK_MAIN();
