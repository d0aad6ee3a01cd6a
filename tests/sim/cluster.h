// One run: a scenario under one pick rule with one seed. Joins the parts, carries what they say to
// each other, and applies the scenario's actions.
//
// Externally synchronized; runs share nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/forwarding_mode.h"
#include "common/base/random.h"
#include "common/inband/inband_report.h"
#include "controller/core/control_core.h"
#include "controller/core/proxy_table.h"
#include "tests/sim/agent.h"
#include "tests/sim/checkers.h"
#include "tests/sim/controller.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/load_source.h"
#include "tests/sim/measures.h"
#include "tests/sim/pick_rule.h"
#include "tests/sim/proxy.h"
#include "tests/sim/request.h"
#include "tests/sim/scenario.h"
#include "tests/sim/server.h"
#include "tests/sim/weight_delivery.h"

namespace trunkline::sim {

class Cluster final : private EventHandler,
                      private Server::Owner,
                      private Agent::Owner,
                      private Controller::Owner,
                      private Proxy::Owner,
                      private LoadSource::Owner {
 public:
  struct Options {
    std::string_view rule = kAdaptive;
    uint64_t seed = 1;
    bool p99_by_second = false;
  };
  // `scenario` outlives the cluster.
  Cluster(const Scenario& scenario, const Options& options);

  RunResult Run();

 private:
  // A flow of several requests.
  struct Flow {
    uint32_t proxy = 0;
    uint32_t server = 0;
    bool pinned = false;  // later requests go to the same server
    bool is_load = false;
    int left = 0;
    uint32_t serial = 0;  // grows with each request, for the event that it is quiet
    FastRandom random{0};
  };

  void OnEvent(uint32_t kind, uint64_t value) override;
  void OnArrival(const Arrival& arrival) override;

  bool OnConnect(size_t server, RequestId id) override;
  bool OnProbe(size_t server) const override;
  void OnFailed(RequestId id) override;
  void OnTraffic(const ProxyTraffic& traffic) override;

  void OnServed(size_t server, RequestId id) override;
  void OnReset(size_t server, RequestId id) override;
  void OnHungUp(size_t server, RequestId id) override;
  void OnDropped(size_t server, RequestId id) override;

  void OnAgentConnects(size_t agent) override;
  void OnAgentGone(size_t agent) override;
  void OnLoadReport(size_t agent, uint64_t seq, const AgentReport& report) override;
  void OnInbandReport(size_t agent, const ServerLoad& load) override;
  void OnTrunks(size_t agent, bool usable) override;

  void OnSnapshot(const ServiceSnapshot& snapshot) override;
  void OnTick(const ControlCore& core) override;
  void OnControllerLost() override;

  void Apply(const Action& action);
  void ApplyToServer(const Action& action);
  RequestId MakeRequest(uint32_t proxy, double cpu, double wait);
  void Reply(RequestId id, uint32_t kind);
  void OnReply(RequestId id);
  void EndRequest(RequestId id, bool answered);
  void NextOfFlow(uint32_t flow);
  void EndFlow(uint32_t flow);
  void OnQuiet(uint32_t flow, uint32_t serial);
  void OnTimeouts();
  void Abandon(RequestId id);
  void Record(const Request& request, bool answered);
  void CountUnfinished();
  void OnSecond();
  void CheckStarvation();
  bool adaptive() const { return IsAdaptive(rule_); }
  bool has_trunks() const { return scenario_.mode == ForwardingMode::kTunnel; }
  bool in_steady_state(SimTime time) const {
    return time >= scenario_.steady_from && time < scenario_.steady_end();
  }

  const Scenario& scenario_;
  const std::string rule_;
  const bool p99_by_second_;
  EventQueue queue_;
  RequestPool requests_;
  RunResult result_;
  ClusterTruth truth_;
  Checkers checkers_;
  const uint64_t seed_;

  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<std::unique_ptr<Agent>> agents_;
  std::vector<std::unique_ptr<Proxy>> proxies_;
  LoadSource source_;
  Controller controller_;
  WeightDelivery delivery_;

  std::vector<Flow> flows_;
  std::vector<uint32_t> free_flows_;
  std::deque<std::pair<SimTime, uint64_t>> timeouts_;  // and tickets
  bool awaits_timeout_ = false;
  bool trunks_break_ = false;  // just now
  std::vector<double> cpu_before_;
  // When the server, and the way to it, last became well; INT64_MAX while it is not.
  std::vector<SimTime> well_since_;
  std::vector<SimTime> trunks_since_;
  LatencyCounts this_second_;
};

}  // namespace trunkline::sim
