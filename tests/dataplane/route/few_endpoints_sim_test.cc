// Compares a worker's picks among few servers with those of a load balancer that always takes the
// server with the fewest flows per weight, on simulated time. Runs the picker's own code.
//
// Each server has one queue and exponential service times; requests arrive at random. The seed is
// fixed and both see the same requests, so a run repeats to the last digit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <numeric>
#include <queue>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "dataplane/route/balancer.h"
#include "dataplane/route/endpoint_picker.h"
#include "dataplane/table/alias_table.h"

namespace trunkline {
namespace {

constexpr int kRequests = 200'000;
constexpr uint64_t kSeed = 1;
// Time of a request at a server of capacity 1 that is idle.
constexpr double kServiceSeconds = 0.001;

using Capacities = std::vector<double>;

struct Result {
  double mean_ms;
  double p50_ms;
  double p99_ms;
};

// Sends flows to servers. `server` finished or started one: AddOwn.
struct Sender {
  std::function<size_t()> pick;
  std::function<void(size_t, int)> add;
};

Result Run(const char* name, const Capacities& capacities, double load, const Sender& sender) {
  FastRandom random(kSeed);
  const auto exponential = [&](double mean) { return -mean * std::log(1 - random.Uniform()); };
  const double total = std::accumulate(capacities.begin(), capacities.end(), 0.0);
  std::vector<double> free_at(capacities.size(), 0);
  using Done = std::pair<double, size_t>;
  std::priority_queue<Done, std::vector<Done>, std::greater<>> running;
  std::vector<double> times;
  double now = 0;
  for (int i = 0; i < kRequests; ++i) {
    now += exponential(kServiceSeconds / (total * load));
    while (!running.empty() && running.top().first <= now) {
      sender.add(running.top().second, -1);
      running.pop();
    }
    const size_t server = sender.pick();
    sender.add(server, 1);
    free_at[server] =
        std::max(now, free_at[server]) + exponential(kServiceSeconds) / capacities[server];
    running.emplace(free_at[server], server);
    times.push_back(1000 * (free_at[server] - now));
  }
  std::sort(times.begin(), times.end());
  const double sum = std::accumulate(times.begin(), times.end(), 0.0);
  const Result result{.mean_ms = sum / kRequests,
                      .p50_ms = times[kRequests / 2],
                      .p99_ms = times[kRequests / 100 * 99]};
  printf("%-18s mean %5.2f  p50 %5.2f  p99 %6.2f ms\n", name, result.mean_ms, result.p50_ms,
         result.p99_ms);
  return result;
}

Result RunPicker(const char* name, const Capacities& capacities, double load, size_t workers) {
  EndpointPicker picker(workers);
  picker.SetEndpoints(std::vector<size_t>(capacities.size(), EndpointPicker::kNone),
                      std::make_shared<AliasTable>(capacities), MonotonicTime());
  for (size_t i = 0; i < capacities.size(); ++i) picker.Set(i, {.usable = true});
  FastRandom random(kSeed);
  return Run(name, capacities, load,
             {.pick = [&] { return picker.Pick(random); },
              .add = [&](size_t i, int change) { picker.AddOwn(i, change); }});
}

// Fewest flows per weight, one more counted; equal ones in turn.
Result RunLeastConnections(const Capacities& capacities, double load, const Capacities& weights) {
  std::vector<int> in_flight(capacities.size(), 0);
  size_t turn = 0;
  const auto pick = [&] {
    size_t best = ++turn % in_flight.size();
    for (size_t k = 1; k < in_flight.size(); ++k) {
      const size_t i = (turn + k) % in_flight.size();
      if ((in_flight[i] + 1) / weights[i] < (in_flight[best] + 1) / weights[best]) best = i;
    }
    return best;
  };
  return Run("least connections", capacities, load,
             {.pick = pick, .add = [&](size_t i, int change) { in_flight[i] += change; }});
}

TEST(FewEndpointsSimTest, OneWorkerBeforeFourEqualServersIsAsGoodAsLeastConnections) {
  const Capacities equal = {1, 1, 1, 1};
  for (const double load : {0.5, 0.85, 0.92}) {
    printf("load %.2f\n", load);
    const Result peer = RunLeastConnections(equal, load, equal);
    const Result result = RunPicker("all compared", equal, load, /*workers=*/1);
    EXPECT_LE(result.p50_ms, 1.03 * peer.p50_ms);
    EXPECT_LE(result.p99_ms, 1.03 * peer.p99_ms);
    // The result of two draws.
    EXPECT_GT(RunPicker("two draws", equal, load, /*workers=*/100).p99_ms, 1.1 * peer.p99_ms);
  }
}

// The usual state of a load balancer that does not know the capacities.
TEST(FewEndpointsSimTest, KnownCapacitiesBeatLeastConnectionsWithoutThem) {
  const Capacities unequal = {4, 2, 1, 1};
  for (const double load : {0.5, 0.85, 0.92}) {
    printf("load %.2f\n", load);
    const Result peer = RunLeastConnections(unequal, load, {1, 1, 1, 1});
    const Result result = RunPicker("all compared", unequal, load, /*workers=*/1);
    EXPECT_LE(result.mean_ms, 0.92 * peer.mean_ms);
    EXPECT_LE(result.p99_ms, 0.8 * peer.p99_ms);
  }
}

}  // namespace
}  // namespace trunkline
