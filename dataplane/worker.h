// One thread of the data plane: its loop, listeners, routers, trunks and flows. Shares nothing with
// other workers but immutable endpoint sets and counters.
//
// Thread-safe: the public calls, each of which posts to the worker's loop. Everything else is
// confined to that loop.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/net/event_loop.h"
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
                     private Dialer::Owner {
 public:
  struct Options {
    size_t index = 0;
    TrunkPool::Options trunks;
    size_t max_clients = 50'000;  // of all workers
    DescriptorPlan descriptors;
    absl::Duration max_coalescing_delay = WakePacer::kMaxGap;
    uint64_t random_seed = 0;
    size_t workers = 1;
    MemoryGuard::Source memory;
    int64_t window_growth_bytes = StreamWindow::kBudgetBytes;  // of this worker's streams together
    // Gives a client to another worker. Called from this one's thread until Stop returns.
    std::function<void(size_t worker, const std::string& service, UniqueFd client)> hand_over;
  };

  // Starts the thread. `stats` outlives the worker.
  Worker(Options options, TrafficStats& stats);
  // Stops at once: open flows are reset.
  ~Worker() override;
  // The same; what is asked of it afterwards has no effect.
  void Stop();

  // The newest table; services that left it stop taking clients and finish what they have.
  void Apply(std::shared_ptr<const RoutingTable> table);
  // Takes clients of `service` from these sockets from now on, in place of those it had.
  void Listen(const std::string& service, std::vector<UniqueFd> sockets);
  void StopListening(const std::string& service);
  // Calls `done` on the worker's thread when what was asked before is done, and the pass in which
  // it was: the events of that one may bring clients yet.
  void WhenSettled(std::function<void()> done);
  // Takes a client that another worker accepted.
  void Adopt(const std::string& service, UniqueFd client);
  // Ends every client connection that is still open.
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

  void ApplyOnLoop(const RoutingTable& table);
  void StopListening(ServiceSlot& slot);
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
  WorkerStats* const stats_;  // its own part of them
  EventLoop loop_;
  WindowBudget windows_;
  MemoryGuard memory_;
  FastRandom random_;
  Dialer dialer_;
  // By what tells them apart: an agent's address, or a service's endpoint and its options.
  std::map<std::string, std::unique_ptr<Carrier>> carriers_;
  std::string sweep_from_;  // the carrier that the next sweep looks at first
  std::map<std::string, std::unique_ptr<ServiceSlot>> services_;
  // Services whose way to carry has changed, with the flows that they had.
  std::vector<std::unique_ptr<ServiceSlot>> outdated_;
  std::vector<std::unique_ptr<Flow>> flows_;
  LingeringCloses lingering_{loop_};
  const WorkerContext context_;
  std::vector<std::function<void()>> when_empty_;
  MemberTimer<Worker, &Worker::SweepUnused> sweep_timer_{this};
  std::thread thread_;
};

}  // namespace trunkline
