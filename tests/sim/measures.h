// Results of a run, and the figures that tables and expectations use. Values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {

// Counts latencies with a relative error of at most 1/64.
class LatencyCounts {
 public:
  void Add(SimTime latency);
  void Merge(const LatencyCounts& other);
  // Returns seconds; 0 without any.
  double Quantile(double q) const;
  uint64_t count() const { return count_; }
  void Clear() { *this = LatencyCounts(); }

 private:
  static constexpr int kBitsBelow = 6;
  static constexpr size_t kBuckets = 64 << kBitsBelow;
  std::array<uint32_t, kBuckets> buckets_ = {};
  uint64_t count_ = 0;
};

// The measurements of one second, by server.
struct ServerSecond {
  double utilization = 0;
  double share = 0;     // of the weight
  double capacity = 0;  // CPU work per second, if it serves
};

struct Violation {
  SimTime at = 0;
  std::string text;
};

struct RunResult {
  uint64_t requests = 0;    // that clients wanted to send in the steady state
  uint64_t misses = 0;      // of them: failed, or later than the objective
  uint64_t failures = 0;    // of them: without an answer
  LatencyCounts latencies;  // of those with an answer
  uint64_t flows = 0;       // starts at servers in the steady state
  uint64_t watched_flows = 0;
  // By server, then second.
  std::vector<std::vector<ServerSecond>> seconds;
  std::vector<double> p99_by_second;  // seconds; only if asked for
  std::vector<Violation> violations;
  uint64_t violations_not_listed = 0;
  uint64_t events = 0;
};

// The figures of one run in its scenario.
struct Figures {
  double imbalance = 0;  // the largest mean utilization over the mean of all
  // The largest relative error of a server's share of the weight, as a share of the capacity. Only
  // of rules that the controller gives weights to.
  double weight_error = 0;
  double swing = 0;   // the widest range of one server's utilization, in means of 5 s
  double settle = 0;  // seconds until the utilizations are within 15 % of their mean for 10 s
  double share = 0;   // of the flows at the watched server
};
Figures Evaluate(const Scenario& scenario, const RunResult& result);

}  // namespace trunkline::sim
