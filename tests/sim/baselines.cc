#include "tests/sim/baselines.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/random.h"
#include "dataplane/route/endpoint_picker.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/pick_rule.h"

namespace trunkline::sim {
namespace {

// The base of all baselines: candidates, the proxy's own flows, and weights.
class Baseline : public PickRule {
 public:
  Baseline(size_t servers, const ClusterTruth& truth)
      : truth_(truth), weights_(servers, 1.0), own_(servers, 0), states_(servers) {}

  void Set(size_t server, EndpointPicker::State state) override { states_[server] = state; }
  void AddOwn(size_t server, int change) override {
    own_[server] += change;
    if (change > 0) last_used_[server] = ++uses_;
  }
  bool HasHealthy() const override {
    return std::ranges::any_of(states_, [](const auto& s) { return s.usable && !s.ejected; });
  }

 protected:
  size_t size() const { return states_.size(); }
  // Ejected endpoints are candidates only while no other is usable.
  bool IsCandidate(size_t i, bool healthy, std::span<const size_t> excluded) const {
    return states_[i].usable && (!healthy || !states_[i].ejected) &&
           std::ranges::find(excluded, i) == excluded.end();
  }
  // Returns the candidate of the least score; of equal ones, that which was used longest ago.
  template <typename Score>
  size_t Least(std::span<const size_t> excluded, Score score) const {
    const bool healthy = HasHealthy();
    size_t best = kNone;
    double least = std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < size(); ++i) {
      if (!IsCandidate(i, healthy, excluded)) continue;
      const double mine = score(i);
      if (best != kNone && (mine > least || (mine == least && last_used_[i] > last_used_[best]))) {
        continue;
      }
      best = i;
      least = mine;
    }
    return best;
  }
  size_t DrawAny(FastRandom& random, std::span<const size_t> excluded, bool weighted) const {
    const bool healthy = HasHealthy();
    double total = 0;
    for (size_t i = 0; i < size(); ++i) {
      if (IsCandidate(i, healthy, excluded)) total += weighted ? weights_[i] : 1;
    }
    double rest = random.Uniform() * total;
    size_t last = kNone;
    for (size_t i = 0; i < size(); ++i) {
      if (!IsCandidate(i, healthy, excluded)) continue;
      last = i;
      rest -= weighted ? weights_[i] : 1;
      if (rest < 0) break;
    }
    return last;
  }
  // Smooth weighted round robin: every server gains its weight, the highest is picked and pays all.
  size_t NextInTurn(std::span<const size_t> excluded) {
    const bool healthy = HasHealthy();
    size_t best = kNone;
    double total = 0;
    for (size_t i = 0; i < size(); ++i) {
      if (!IsCandidate(i, healthy, excluded)) continue;
      turns_[i] += weights_[i];
      total += weights_[i];
      if (best == kNone || turns_[i] > turns_[best]) best = i;
    }
    if (best != kNone) turns_[best] -= total;
    return best;
  }
  double own(size_t i) const { return own_[i]; }

  const ClusterTruth& truth_;
  std::vector<double> weights_;

 private:
  std::vector<int> own_;
  std::vector<EndpointPicker::State> states_;
  std::vector<double> turns_ = std::vector<double>(weights_.size(), 0);
  std::vector<uint64_t> last_used_ = std::vector<uint64_t>(weights_.size(), 0);
  uint64_t uses_ = 0;
};

class RoundRobin : public Baseline {
 public:
  using Baseline::Baseline;
  size_t Pick(FastRandom&, std::span<const size_t> excluded) override {
    return NextInTurn(excluded);
  }
};

// HAProxy's balance leastconn: the key is 0 for an idle server, else (inflight + 1) / weight.
class LeastConn : public Baseline {
 public:
  using Baseline::Baseline;
  size_t Pick(FastRandom&, std::span<const size_t> excluded) override {
    return Least(excluded, [&](size_t i) { return own(i) > 0 ? (own(i) + 1) / weights_[i] : 0; });
  }
};

// HAProxy's balance random(2).
class RandomTwo final : public Baseline {
 public:
  using Baseline::Baseline;
  size_t Pick(FastRandom& random, std::span<const size_t> excluded) override {
    const size_t a = DrawAny(random, excluded, /*weighted=*/true);
    const size_t b = DrawAny(random, excluded, /*weighted=*/true);
    if (a == kNone || b == kNone) return a;
    return own(b) * weights_[a] < own(a) * weights_[b] ? b : a;
  }
};

// Envoy's least_request: two choices by weight / (active + 1)^active_request_bias, of which 1 is
// the default.
class LeastRequest final : public Baseline {
 public:
  using Baseline::Baseline;
  size_t Pick(FastRandom& random, std::span<const size_t> excluded) override {
    const size_t a = DrawAny(random, excluded, /*weighted=*/false);
    const size_t b = DrawAny(random, excluded, /*weighted=*/false);
    if (a == kNone || b == kNone) return a;
    return weights_[b] / (own(b) + 1) > weights_[a] / (own(a) + 1) ? b : a;
  }
};

// HAProxy's agent-check: the weight is the idle share of the CPU in percent, at least 1.
class AgentCheck final : public RoundRobin {
 public:
  using RoundRobin::RoundRobin;
  void OnSecond(MonotonicTime) override {
    for (size_t i = 0; i < size(); ++i) {
      const ClusterTruth::Server& server = truth_.servers[i];
      if (!server.reported) continue;
      weights_[i] = std::max(1.0, std::round(100 * (1 - server.utilization)));
    }
  }
};

// LVS with feedback of load: w += A * cbrt(0.95 - u), here with A = 5 % of the first weight.
class LvsCubeRoot final : public RoundRobin {
 public:
  using RoundRobin::RoundRobin;
  void OnSecond(MonotonicTime) override {
    constexpr double kStep = 0.05, kTarget = 0.95, kLeast = 0.05, kMost = 20;
    for (size_t i = 0; i < size(); ++i) {
      const ClusterTruth::Server& server = truth_.servers[i];
      if (!server.reported) continue;
      weights_[i] =
          std::clamp(weights_[i] + kStep * std::cbrt(kTarget - server.utilization), kLeast, kMost);
    }
  }
};

class InverseUtilization final : public RoundRobin {
 public:
  using RoundRobin::RoundRobin;
  void OnSecond(MonotonicTime) override {
    constexpr double kLeast = 0.05;
    for (size_t i = 0; i < size(); ++i) {
      const ClusterTruth::Server& server = truth_.servers[i];
      if (server.reported) weights_[i] = 1 / std::max(kLeast, server.utilization);
    }
  }
};

// gRPC's weighted_round_robin (A58): weight = qps / (utilization + errors/qps), with its defaults:
// recomputed each second, after 10 s, and the mean for servers without a weight.
class A58 final : public RoundRobin {
 public:
  using RoundRobin::RoundRobin;
  void OnSecond(MonotonicTime now) override {
    constexpr absl::Duration kBlackout = absl::Seconds(10);
    if (now - Monotonic(0) < kBlackout) return;
    double sum = 0;
    size_t known = 0;
    std::vector<double> next(size(), 0);
    for (size_t i = 0; i < size(); ++i) {
      const ClusterTruth::Server& server = truth_.servers[i];
      const double qps = server.requests_per_second;
      if (!server.reported || qps <= 0 || server.utilization <= 0) continue;
      next[i] = qps / (server.utilization + server.errors_per_second / qps);
      sum += next[i];
      ++known;
    }
    // With fewer than two weights it is round robin.
    const double mean = known >= 2 ? sum / static_cast<double>(known) : 1;
    for (size_t i = 0; i < size(); ++i) {
      weights_[i] = known >= 2 && next[i] > 0 ? next[i] : mean;
    }
  }
};

// Knows the true capacities and what is in flight from all proxies.
class OracleShortestQueue final : public Baseline {
 public:
  using Baseline::Baseline;
  size_t Pick(FastRandom&, std::span<const size_t> excluded) override {
    const size_t best = Least(excluded, [&](size_t i) {
      const ClusterTruth::Server& server = truth_.servers[i];
      return server.capacity > 0 ? (server.in_flight + 1) / server.capacity
                                 : std::numeric_limits<double>::max();
    });
    return best;
  }
};

// leastconn with the true capacities as weights, each second anew.
class OracleLeastConn final : public LeastConn {
 public:
  using LeastConn::LeastConn;
  void OnSecond(MonotonicTime) override {
    constexpr double kLeast = 1e-6;
    for (size_t i = 0; i < size(); ++i) {
      weights_[i] = std::max(kLeast, truth_.servers[i].capacity);
    }
  }
};

}  // namespace

std::unique_ptr<PickRule> MakeBaseline(std::string_view name, size_t servers,
                                       const ClusterTruth& truth) {
  if (name == "leastconn") return std::make_unique<LeastConn>(servers, truth);
  if (name == "random2") return std::make_unique<RandomTwo>(servers, truth);
  if (name == "agent_check") return std::make_unique<AgentCheck>(servers, truth);
  if (name == "lvs_cbrt") return std::make_unique<LvsCubeRoot>(servers, truth);
  if (name == "inverse_u") return std::make_unique<InverseUtilization>(servers, truth);
  if (name == "a58") return std::make_unique<A58>(servers, truth);
  if (name == "least_request") return std::make_unique<LeastRequest>(servers, truth);
  if (name == "oracle_jsq") return std::make_unique<OracleShortestQueue>(servers, truth);
  if (name == "oracle_leastconn") return std::make_unique<OracleLeastConn>(servers, truth);
  return std::make_unique<RoundRobin>(servers, truth);
}

}  // namespace trunkline::sim
