// One thread of the data plane, with its loop, listeners, routers, carriers and flows. Shares only
// immutable endpoint sets and counters with other workers.
//
// The public calls are thread-safe: each posts to the worker's loop. All other state is confined to
// that loop.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/http2/stream_window.h"
#include "common/net/event_loop.h"
#include "dataplane/check/health_checker.h"
#include "dataplane/flow/flow.h"
#include "dataplane/flow/lingering_closes.h"
#include "dataplane/limits/descriptor_plan.h"
#include "dataplane/listen/listener.h"
#include "dataplane/memory/memory_guard.h"
#include "dataplane/route/dialer.h"
#include "dataplane/route/service_router.h"
#include "dataplane/route/worker_context.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/tunnel/trunk_pool.h"

namespace trunkline {

class Worker final : private ServiceRouter::Owner,
                     private MemoryGuard::Owner,
                     private HealthChecker::Owner,
                     private Dialer::Owner {
 public:
  struct Options {
    size_t index = 0;
    TrunkPool::Options trunks;
    size_t max_clients = 50'000;  // limit over all workers
    DescriptorPlan descriptors;
    absl::Duration max_coalescing_delay = WakePacer::kMaxGap;
    Keepalive keepalive;
    uint64_t random_seed = 0;
    size_t workers = 1;
    MemoryGuard::Source memory;
    ConnectionLog* connection_log = nullptr;  // outlives the worker; null if it is off
    int64_t window_growth_bytes = StreamWindow::kBudgetBytes;  // limit over this worker's streams
    // Gives a client to another worker. Called on this worker's thread until Stop returns.
    std::function<void(size_t worker, const std::string& service, UniqueFd client)> hand_over;
    // Tells all workers, by ReadHealth, that EndpointStats::health of an endpoint has changed.
    // Called like `hand_over`.
    std::function<void(const std::string& service, const std::string& endpoint_id)> share_health;
  };

  // Starts the thread. `stats` outlives the worker.
  Worker(Options options, TrafficStats& stats);
  // Stops at once and resets open flows.
  ~Worker() override;
  // Does what the destructor does. Later calls have no effect.
  void Stop();

  // Takes the newest table. Services that left it stop accepting clients and finish the ones they
  // have.
  void Apply(std::shared_ptr<const RoutingTable> table);
  // Accepts clients of `service` from these sockets of `address` from now on, instead of its
  // previous ones.
  void Listen(const std::string& service, const std::string& address,
              std::vector<UniqueFd> sockets);
  void StopListening(const std::string& service, const std::string& address);
  // Calls `done` on the worker's thread once all earlier calls have run and the pass in which they
  // ran is over: events of that pass may still bring clients.
  void WhenSettled(std::function<void()> done);
  // Takes a client that another worker accepted.
  void Adopt(const std::string& service, UniqueFd client);
  // EndpointStats::health of the endpoint has changed.
  void ReadHealth(const std::string& service, const std::string& endpoint_id);
  // Resets every client connection that is still open.
  void ResetFlows();
  // Calls `done` once on the worker's thread, as soon as it has no client connection.
  void WhenEmpty(std::function<void()> done);

 private:
  struct ServiceSlot;

  Carrier& CarrierFor(const EndpointSet& set, const Endpoint& endpoint) override;
  void OnFlowGone(Flow& flow) override;
  void OnFlowReplaced(Flow& flow, std::unique_ptr<Flow> by) override;
  bool HasSocket() const override;
  void DialAgain() override;
  MemoryGuard::Owner::Shed ShedClients(int64_t bytes, bool urgent) override;
  void OnHealthChanged(const std::string& service, const std::string& endpoint_id) override;

  void ApplyOnLoop(const RoutingTable& table);
  void StopListening(ServiceSlot& slot);
  void StopListening(ServiceSlot& slot, const std::string& address);
  ServiceSlot& SlotFor(const std::shared_ptr<const EndpointSet>& set);
  bool HasRoom(const EndpointSet& set) const;
  int64_t OwnPartOf(int64_t bytes) const;
  std::unique_ptr<Carrier> MakeCarrier(const EndpointSet& set, const Endpoint& endpoint);
  std::unique_ptr<Flow> MakeFlow(ServiceSlot& slot, UniqueFd client);
  std::unique_ptr<Flow> MakeFirstFlow(ServiceSlot& slot, UniqueFd client);
  ConnectionShare ShareOf(const EndpointSet& set) const;
  void AcceptClient(ServiceSlot& slot, UniqueFd client);
  void EndOutdated();
  void SweepUnused();
  void SweepCarriers();
  void NotifyIfEmpty();

  const Options options_;
  TrafficStats& all_stats_;
  WorkerStats* const stats_;  // this worker's part
  EventLoop loop_;
  WindowBudget windows_;
  MemoryGuard memory_;
  FastRandom random_;
  Dialer dialer_;
  // Keyed by the agent's address, or by the service's endpoint and its options.
  std::map<std::string, std::unique_ptr<Carrier>> carriers_;
  std::string sweep_from_;  // where the next sweep starts
  std::map<std::string, std::unique_ptr<ServiceSlot>> services_;
  // Services whose forwarding options have changed, with their old flows.
  std::vector<std::unique_ptr<ServiceSlot>> outdated_;
  std::vector<std::unique_ptr<Flow>> flows_;
  LingeringCloses lingering_{loop_};
  HealthChecker checker_;
  const WorkerContext context_;
  std::vector<std::function<void()>> when_empty_;
  MemberTimer<Worker, &Worker::SweepUnused> sweep_timer_{this};
  std::thread thread_;
};

}  // namespace trunkline
