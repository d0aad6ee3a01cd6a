// Closes the loop between ControlCore and a fluid model of servers in virtual time: the published
// weights split the arrivals, and utilization follows from true capacities that the controller does
// not know. The noise is seeded.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/base/balancing_policy.h"
#include "controller/core/control_core.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_report.h"
#include "controller/core/service_spec.h"
#include "controller/core/snapshot_publisher.h"
#include "tests/controller/core/core_fixture.h"

namespace trunkline {
namespace {

struct FluidServer {
  std::string id;
  // Streams per second at full utilization.
  double capacity;
  // Share of the CPU that other programs use.
  double stolen = 0;
};

struct Outcome {
  // Over the last minute: the largest mean utilization over the mean of all servers, and the widest
  // swing of one server.
  double max_over_mean = 0;
  double swing = 0;
};

class FluidCluster {
 public:
  FluidCluster(std::vector<FluidServer> servers, BalancingPolicy policy, unsigned seed)
      : servers_(std::move(servers)), random_(seed) {
    ServiceSpec spec = Service("db");
    spec.policy = policy;
    ControlCore::Options options;
    options.services = {spec};
    options.first = {1, 1};
    core_ = std::make_unique<ControlCore>(options, At(0));
    AgentSession session = 0;
    for (const FluidServer& server : servers_) {
      EXPECT_TRUE(core_->registry().Announce(++session, Agent(server.id), At(0)).ok());
    }
  }

  // Runs `seconds` with `arrivals` streams per second; reports every second, ticks every half
  // second.
  Outcome Run(double arrivals, int seconds) {
    std::vector<std::vector<double>> seen(servers_.size());
    for (int half = 0; half < 2 * seconds; ++half) {
      now_ += 0.5;
      if (half % 2 == 0) ReportAll(arrivals);
      core_->Tick(At(now_));
      if (half < 2 * (seconds - 60)) continue;
      for (size_t i = 0; i < servers_.size(); ++i) {
        seen[i].push_back(TrueUtilization(servers_[i], arrivals * Share(servers_[i].id)));
      }
    }
    return Classify(seen);
  }

  std::vector<FluidServer>& servers() { return servers_; }

 private:
  static double TrueUtilization(const FluidServer& server, double rate) {
    return server.stolen + rate / server.capacity;
  }

  double Share(const std::string& id) const {
    double sum = 0, own = 1;
    const auto& endpoints = core_->publisher().current()->services[0]->endpoints;
    if (endpoints.empty()) return 1.0 / static_cast<double>(servers_.size());
    for (const SnapshotEndpoint& endpoint : endpoints) {
      sum += endpoint.weight;
      if (endpoint.endpoint_id == id) own = endpoint.weight;
    }
    return own / sum;
  }

  void ReportAll(double arrivals) {
    std::normal_distribution<double> sensor(0, 0.02);
    ++seq_;
    AgentSession session = 0;
    for (const FluidServer& server : servers_) {
      std::poisson_distribution<int> streams(arrivals * Share(server.id));
      const double done = std::min<double>(streams(random_), server.capacity);
      const double cpu =
          std::clamp(TrueUtilization(server, done) * (1 + sensor(random_)), 0.0, 1.0);
      const ReportedLoad load = Load(server.id, cpu, done);
      EXPECT_TRUE(core_->registry().Report(++session, seq_, {load}, At(now_)).ok());
    }
  }

  static Outcome Classify(const std::vector<std::vector<double>>& seen) {
    Outcome outcome;
    double sum = 0, largest = 0;
    for (const std::vector<double>& series : seen) {
      double mean = 0;
      for (double u : series) mean += u / static_cast<double>(series.size());
      sum += mean;
      largest = std::max(largest, mean);
      const auto [low, high] = std::minmax_element(series.begin(), series.end());
      outcome.swing = std::max(outcome.swing, *high - *low);
    }
    outcome.max_over_mean = largest / (sum / static_cast<double>(seen.size()));
    return outcome;
  }

  std::vector<FluidServer> servers_;
  std::mt19937 random_;
  std::unique_ptr<ControlCore> core_;
  double now_ = 0;
  uint64_t seq_ = 0;
};

std::vector<FluidServer> FourTwoOneOne() {
  return {{"a", 4000}, {"b", 2000}, {"c", 1000}, {"d", 1000}};
}

class ClosedLoopTest : public testing::TestWithParam<int> {
 protected:
  unsigned seed_ = static_cast<unsigned>(GetParam()) * 7919u + 17u;
  testing::ScopedTrace trace_{__FILE__, __LINE__, testing::Message() << "seed " << seed_};
};

TEST_P(ClosedLoopTest, UnknownCapacitiesAreFound) {
  for (const double load : {0.3, 0.5, 0.7, 0.9}) {
    FluidCluster cluster(FourTwoOneOne(), BalancingPolicy::kAdaptive, seed_);
    const Outcome outcome = cluster.Run(8000 * load, 180);
    EXPECT_LE(outcome.max_over_mean, 1.08) << "load " << load;
    EXPECT_LT(outcome.swing, 0.20) << "load " << load;
  }
}

TEST_P(ClosedLoopTest, EqualServersStayCalm) {
  FluidCluster cluster({{"a", 1000}, {"b", 1000}, {"c", 1000}, {"d", 1000}},
                       BalancingPolicy::kAdaptive, seed_);
  const Outcome outcome = cluster.Run(2800, 180);
  EXPECT_LE(outcome.max_over_mean, 1.08);
  EXPECT_LT(outcome.swing, 0.20);
}

TEST_P(ClosedLoopTest, NoisyNeighbourIsEvaded) {
  FluidCluster cluster({{"a", 1000}, {"b", 1000}, {"c", 1000}, {"d", 1000}},
                       BalancingPolicy::kAdaptive, seed_);
  cluster.Run(2400, 120);
  cluster.servers()[0].stolen = 0.4;
  const Outcome with = cluster.Run(2400, 180);
  EXPECT_LE(with.max_over_mean, 1.08);
  EXPECT_LT(with.swing, 0.20);
  cluster.servers()[0].stolen = 0;
  const Outcome after = cluster.Run(2400, 180);
  EXPECT_LE(after.max_over_mean, 1.08);
}

TEST_P(ClosedLoopTest, RoundRobinOverloadsTheSmallest) {
  // The comparison: the same servers and load with equal weights.
  FluidCluster cluster(FourTwoOneOne(), BalancingPolicy::kRoundRobin, seed_);
  EXPECT_GT(cluster.Run(8000 * 0.45, 90).max_over_mean, 1.4);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ClosedLoopTest, testing::Range(1, 11));

}  // namespace
}  // namespace trunkline
