// How one proxy picks the endpoint of its next flow: Trunkline's rule, and baselines.
//
// The rest of a proxy (retries, ejection, the pending queue) is the same for all rules, so a
// comparison shows what the rule alone does. Externally synchronized; one object per proxy.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/inband/inband_report.h"
#include "dataplane/route/endpoint_picker.h"
#include "dataplane/table/alias_table.h"
#include "tests/sim/event_queue.h"

namespace trunkline::sim {

// The state of all servers as an oracle and as agents know it. One object per cluster.
struct ClusterTruth {
  struct Server {
    // Truth.
    double capacity = 0;   // CPU work per second; 0 while it does not serve
    double in_flight = 0;  // of all proxies
    // The newest report of its agent.
    bool reported = false;
    double utilization = 0;
    double requests_per_second = 0;
    double errors_per_second = 0;
  };
  std::vector<Server> servers;
};

class PickRule {
 public:
  static constexpr size_t kNone = EndpointPicker::kNone;

  virtual ~PickRule() = default;
  // Returns a candidate other than those in `excluded`, or kNone.
  virtual size_t Pick(FastRandom& random, std::span<const size_t> excluded) = 0;
  virtual void Set(size_t server, EndpointPicker::State state) = 0;
  // The proxy's own load at the server changed.
  virtual void AddOwn(size_t server, int change) = 0;
  virtual bool HasHealthy() const = 0;
  // Trunkline's weights, in-band load reports and their end.
  virtual void SetWeights(const std::shared_ptr<const AliasTable>&, MonotonicTime) {}
  virtual void OnInbandReport(size_t, const ServerLoad&, MonotonicTime) {}
  virtual void ForgetReport(size_t) {}
  // Called once per second.
  virtual void OnSecond(MonotonicTime) {}
};

// The rules by name. "adaptive" is Trunkline's.
inline constexpr std::string_view kAdaptive = "adaptive";
std::span<const std::string_view> RuleNames();
bool IsRule(std::string_view name);
// Returns true for a rule that follows the controller's weights.
bool IsAdaptive(std::string_view name);

// `truth` outlives the rule. `name` must be in RuleNames().
std::unique_ptr<PickRule> MakeRule(std::string_view name, size_t servers,
                                   const ClusterTruth& truth);

}  // namespace trunkline::sim
