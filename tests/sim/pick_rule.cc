#include "tests/sim/pick_rule.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/inband/inband_report.h"
#include "dataplane/route/endpoint_picker.h"
#include "dataplane/table/alias_table.h"
#include "tests/sim/baselines.h"
#include "tests/sim/event_queue.h"

namespace trunkline::sim {
namespace {

// Trunkline's: the production EndpointPicker.
class AdaptiveRule final : public PickRule {
 public:
  explicit AdaptiveRule(size_t servers) {
    const std::vector<size_t> all_new(servers, EndpointPicker::kNone);
    picker_.SetEndpoints(all_new, std::make_shared<AliasTable>(std::vector<double>(servers, 0.0)),
                         Monotonic(0));
  }

  size_t Pick(FastRandom& random, std::span<const size_t> excluded) override {
    return picker_.Pick(random, excluded);
  }
  void Set(size_t server, EndpointPicker::State state) override { picker_.Set(server, state); }
  void AddOwn(size_t server, int change) override { picker_.AddOwn(server, change); }
  bool HasHealthy() const override { return picker_.HasHealthy(); }
  void SetWeights(const std::shared_ptr<const AliasTable>& table, MonotonicTime now) override {
    picker_.SetWeights(table, now);
  }
  void OnInbandReport(size_t server, const ServerLoad& load, MonotonicTime now) override {
    picker_.OnReport(server, load, now);
  }
  void ForgetReport(size_t server) override { picker_.ForgetReport(server); }
  void OnSecond(MonotonicTime now) override {
    picker_.ForgetOld(now, [](size_t) {});
  }

 private:
  EndpointPicker picker_;
};

constexpr std::string_view kNames[] = {kAdaptive,       "round_robin", "leastconn",       "random2",
                                       "agent_check",   "lvs_cbrt",    "inverse_u",       "a58",
                                       "least_request", "oracle_jsq",  "oracle_leastconn"};

}  // namespace

std::span<const std::string_view> RuleNames() { return kNames; }

bool IsAdaptive(std::string_view name) { return name == kAdaptive; }

bool IsRule(std::string_view name) { return std::ranges::find(kNames, name) != std::end(kNames); }

std::unique_ptr<PickRule> MakeRule(std::string_view name, size_t servers,
                                   const ClusterTruth& truth) {
  if (IsAdaptive(name)) return std::make_unique<AdaptiveRule>(servers);
  return MakeBaseline(name, servers, truth);
}

}  // namespace trunkline::sim
