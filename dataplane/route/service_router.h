// One service in one worker: where each of its flows goes.
//
// Holds what this worker knows of each endpoint right now (what is under way there, whether it can
// be reached, refused connects in a row) beside what the controller said of it (weights), and keeps
// the balancer's table to those that can take a flow. A flow that finds no way waits here until
// there is one or its connect time-out ends it.
//
// Confined to its worker's loop. Flows are borrowed; carriers are the worker's.
#pragma once

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/random.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "dataplane/flow/flow.h"
#include "dataplane/limits/descriptor_plan.h"
#include "dataplane/route/balancer.h"
#include "dataplane/route/carrier.h"
#include "dataplane/route/dialer.h"
#include "dataplane/route/load_estimate.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {

// What one worker knows of one endpoint.
struct EndpointState {
  Endpoint endpoint;
  EndpointCell* cell = nullptr;
  Carrier* carrier = nullptr;  // null once the endpoint left the snapshot
  size_t index = 0;            // in the service's list
  uint32_t active = 0;         // flows, or requests in message mode
  LoadEstimate load;
  uint32_t refused_in_row = 0;
  uint32_t ejections = 0;  // without a success between
  MonotonicTime ejected_until;
  bool ejected = false;
};

class ServiceRouter final : private Carrier::User, private Flushable {
 public:
  // Its worker. Outlives the router.
  class Owner {
   public:
    virtual ~Owner() = default;
    // Finds or makes the way to an endpoint of a service.
    virtual Carrier& CarrierFor(const EndpointSet& set, const Endpoint& endpoint) = 0;
    virtual void OnFlowGone(Flow& flow) = 0;
    // `flow` goes on as another one; it is told nothing more.
    virtual void OnFlowReplaced(Flow& flow, std::unique_ptr<Flow> by) = 0;
    virtual Dialer& dialer() = 0;
    // Closes the connection of a flow that is gone as LingeringCloses does.
    virtual void CloseLingering(UniqueFd client) = 0;
  };

  // How long an endpoint is left alone the first time. Short: a refused connect is retried
  // elsewhere and costs its client nothing.
  static constexpr absl::Duration kEjectionBase = absl::Seconds(5);

  struct Place {
    size_t worker = 0;
    uint32_t max_connections = 0;  // of this worker to each endpoint; 0: any number
    size_t max_pipes = kAnyPipes;  // of this worker
  };
  ServiceRouter(EventLoop& loop, Owner& owner, WorkerStats* stats, Place place,
                uint64_t random_seed, std::shared_ptr<const EndpointSet> set,
                absl::Duration ejection_base = kEjectionBase);
  ~ServiceRouter() override;

  // The newest endpoints and weights. Flows of an endpoint that is gone run on.
  void Update(std::shared_ptr<const EndpointSet> set);
  const EndpointSet& set() const { return *set_; }

  // A new client. Ends with OnFlowDone.
  void Join(Flow& flow);
  // Those in line, once more.
  void ServeWaiting();
  // To an endpoint (true), or into the waiting line; where that is full, the flow gives up.
  bool Route(Flow& flow);
  // As Route, for a flow that is to be tried again. False: the retry budget is spent.
  bool Retry(Flow& flow);
  // Takes the flow off its endpoint to another one, as Retry. False: it was tried often enough, or
  // the budget is spent.
  bool TryElsewhere(Flow& flow);
  // As Retry, for what no server can have seen: it costs nothing.
  void Reroute(Flow& flow);

  // Flows tell what became of them.
  void OnConnectRefused(Flow& flow);
  void OnConnected(Flow& flow);
  // What the flow has under way at its endpoint changed by this much; a started flow counts as 1.
  void CountActive(Flow& flow, int32_t change);
  // The flow counts as load from now on, or does not; a new one does.
  void SetLoad(Flow& flow, bool is_load);
  // Takes the flow, which counts as 1, off its endpoint, or out of the waiting line.
  void Release(Flow& flow);
  void OnFlowDone(Flow& flow, FlowEnd end);
  // After OnFlowDone, by a flow that has said its last words to a client that may still be sending.
  void CloseLingering(UniqueFd client) { owner_.CloseLingering(std::move(client)); }
  // The client goes on as another flow, which begins at once.
  void Replace(Flow& flow, std::unique_ptr<Flow> by);

  size_t worker() const { return worker_; }
  // Of this worker to each endpoint; 0: any number.
  uint32_t max_connections() const { return max_connections_; }
  size_t clients() const { return clients_; }
  Dialer& dialer() const { return owner_.dialer(); }
  // Of this worker's flows together.
  size_t max_pipes() const { return max_pipes_; }
  // Connections that are one client's own, and those that may become so.
  Gauge* direct_connections() const { return &stats_->direct_connections; }
  Gauge* reserved_sockets() const { return &stats_->reserved_sockets; }
  // What flows keep for clients that do not read.
  Gauge* to_client_buffered_bytes() const { return &stats_->to_client_buffered_bytes; }
  // And of what clients sent that cannot go on yet.
  Gauge* from_client_buffered_bytes() const { return &stats_->from_client_buffered_bytes; }
  // And what of both is in pipes.
  Gauge* piped_bytes() const { return &stats_->piped_bytes; }
  // Below the listener's limit, over all workers.
  bool HasRoom() const;

 private:
  void OnCarrierChanged(Carrier& carrier) override;
  void OnCarrierRoom(Carrier& carrier) override;
  void OnInbandReport(Carrier& carrier, const InbandReport& word) override;
  void OnLoadUnknown(Carrier& carrier) override;
  void OnFlush() override { ServeWaiting(); }
  void OnEjectionTimer();
  void OnStaleTimer();

  void Rebuild();
  void AddLoad(EndpointState& state, int32_t change);
  void ForgetLoad(EndpointState& state);
  double ScoreOf(const EndpointState& state) const;
  void RefreshLoads();
  bool Assign(Flow& flow);
  bool StartAt(EndpointState& state, Flow& flow);
  void Wait(Flow& flow);
  void AwaitRoom();
  EndpointState* PickFor(const Flow& flow);
  EndpointState* PickUntried(const Flow& flow);
  void Eject(EndpointState& state);
  void CountEnd(Flow& flow, FlowEnd end);
  void DropIfGone(EndpointState* state);

  EventLoop& loop_;
  Owner& owner_;
  WorkerStats* const stats_;
  const size_t worker_;
  const uint32_t max_connections_;
  const size_t max_pipes_;
  const absl::Duration ejection_base_;
  FastRandom random_;

  std::shared_ptr<const EndpointSet> set_;
  ListenerCell* listener_cell_ = nullptr;
  std::vector<std::unique_ptr<EndpointState>> states_;    // parallel to set_->endpoints
  std::vector<std::unique_ptr<EndpointState>> departed_;  // flows still run there
  std::vector<Balancer::Load> loads_;                     // parallel to states_
  std::vector<double> scores_;                            // scratch of RefreshLoads
  TrafficShare share_;
  MonotonicTime refreshed_at_;
  Balancer balancer_;
  std::deque<Flow*> waiting_;
  size_t clients_ = 0;
  uint64_t picks_ = 0;
  double retry_tokens_;
  MemberTimer<ServiceRouter, &ServiceRouter::OnEjectionTimer> ejection_timer_{this};
  MemberTimer<ServiceRouter, &ServiceRouter::OnStaleTimer> stale_timer_{this};
};

}  // namespace trunkline
