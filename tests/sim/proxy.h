// A proxy: assigns each request to a server by its pick rule, retries where the server cannot have
// seen the request, ejects servers that refuse connects, and reports its traffic each second.
//
// Does in virtual time what ServiceRouter and the carriers do on an event loop, with the same
// EndpointPicker, OutlierEjection, RetryBudget and Backoff. Externally synchronized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "common/base/backoff.h"
#include "common/base/forwarding_mode.h"
#include "common/base/random.h"
#include "common/inband/inband_report.h"
#include "controller/core/proxy_table.h"
#include "dataplane/route/outlier_ejection.h"
#include "dataplane/route/retry_budget.h"
#include "dataplane/table/alias_table.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/pick_rule.h"
#include "tests/sim/request.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {

class Proxy final : private EventHandler {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // Connects the request to the server. Returns false if the server refuses.
    virtual bool OnConnect(size_t server, RequestId id) = 0;
    // Returns true if a probe of the server would connect.
    virtual bool OnProbe(size_t server) const = 0;
    // No server took the request.
    virtual void OnFailed(RequestId id) = 0;
    virtual void OnTraffic(const ProxyTraffic& traffic) = 0;
  };

  // All outlive the proxy.
  Proxy(EventQueue& queue, RequestPool& requests, Owner& owner, const Scenario& scenario,
        std::unique_ptr<PickRule> rule, uint64_t seed);

  void Start();
  // Assigns the request to a server, or lets it wait for one.
  void Submit(RequestId id);
  // The same for a request of a flow whose server is known. `is_load`: the flow counts already.
  void SubmitTo(size_t server, RequestId id, bool is_load);

  void OnRefused(RequestId id);
  void OnAnswered(RequestId id, bool first_of_flow);
  void OnReset(RequestId id);
  void OnHungUp(RequestId id);
  // The request no longer counts as load.
  void Release(RequestId id);
  void AddLoad(size_t server, int change);

  void SetUsable(size_t server, bool usable);
  void SetWeights(const std::shared_ptr<const AliasTable>& table);
  void OnInbandReport(size_t server, const ServerLoad& load);
  PickRule& rule() { return *rule_; }

 private:
  struct Endpoint {
    bool usable = true;
    OutlierEjection::Record ejection;
    bool failing = false;              // in modes without trunks, until a probe connects
    std::unique_ptr<Backoff> backoff;  // of its probes, while it is failing
    // Counts since the last traffic report, and load now.
    bool has_news = false;
    uint32_t load = 0;
    uint32_t served = 0;
    uint32_t unanswered = 0;
    uint32_t errors = 0;
    uint32_t requests = 0;    // whose bytes count
    double wait_seconds = 0;  // of those served

    bool ejected() const { return failing || ejection.ejected; }
  };
  static constexpr int kMaxTries = 3;

  void OnEvent(uint32_t kind, uint64_t value) override;
  bool Assign(RequestId id, size_t avoid);
  void StartAt(size_t server, RequestId id);
  void Wait(RequestId id);
  void ServePending();
  void Eject(size_t server);
  void ScheduleProbe(size_t server);
  void Probe(size_t server);
  void UpdateState(size_t server);
  Endpoint& Touch(size_t server);
  void ReportTraffic();
  bool has_trunks() const { return scenario_.mode == ForwardingMode::kTunnel; }

  EventQueue& queue_;
  RequestPool& requests_;
  Owner& owner_;
  const Scenario& scenario_;
  std::unique_ptr<PickRule> rule_;
  FastRandom random_;
  const OutlierEjection ejection_;
  RetryBudget budget_;
  std::vector<Endpoint> endpoints_;
  std::vector<size_t> news_;      // endpoints with something to report
  std::deque<uint64_t> pending_;  // tickets
  SimTime reported_at_ = 0;
};

}  // namespace trunkline::sim
