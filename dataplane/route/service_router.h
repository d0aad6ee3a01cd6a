// One service in one worker: assigns each flow to an endpoint.
//
// Joins the parts that decide: EndpointPicker (weights and load), OutlierEjection, RetryBudget, and
// the pending queue of flows that no endpoint can take yet. A flow waits there until an endpoint
// has room or the flow's connect timeout ends it. There is one queue for each variant of a
// protocol, so that flows of one that finds no room do not hold up the others.
//
// A new list of endpoints is joined a few at a time, so that a service of thousands does not stop
// the worker's loop; new weights of the same endpoints cost one pass over plain arrays.
//
// Confined to its worker's loop. Borrows flows; carriers belong to the worker.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/random.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "common/observe/log_pacer.h"
#include "dataplane/flow/flow.h"
#include "dataplane/flow/pending_queue.h"
#include "dataplane/route/carrier.h"
#include "dataplane/route/endpoint_picker.h"
#include "dataplane/route/endpoint_state.h"
#include "dataplane/route/no_room_log.h"
#include "dataplane/route/outlier_ejection.h"
#include "dataplane/route/retry_budget.h"
#include "dataplane/route/worker_context.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {

class ServiceRouter final : private Carrier::User, private Flushable {
 public:
  // Its worker. Outlives the router.
  class Owner {
   public:
    virtual ~Owner() = default;
    // Finds or makes the carrier for an endpoint of a service.
    virtual Carrier& CarrierFor(const EndpointSet& set, const Endpoint& endpoint) = 0;
    virtual void OnFlowGone(Flow& flow) = 0;
    // `by` continues for `flow`, which gets no more calls.
    virtual void OnFlowReplaced(Flow& flow, std::unique_ptr<Flow> by) = 0;
  };

  struct Options {
    uint32_t max_connections = 0;  // of this worker to each endpoint; 0: no limit
    uint64_t random_seed = 0;
    absl::Duration ejection_base = OutlierEjection::kBase;
  };
  ServiceRouter(const WorkerContext& worker, Owner& owner, const Options& options,
                std::shared_ptr<const EndpointSet> set);
  ~ServiceRouter() override;

  // Takes the newest endpoints and weights. Flows of an endpoint that left run on.
  void Update(std::shared_ptr<const EndpointSet> set);
  const EndpointSet& set() const { return *set_; }
  bool has_others() const override { return set_->endpoints.size() > 1; }

  // EndpointStats::health of this endpoint has changed. Ignores an endpoint that the service does
  // not have.
  void OnHealthChanged(const std::string& endpoint_id);

  // Returns the connection log's record for a new client with this socket, or null if the client is
  // not logged.
  std::unique_ptr<FlowRecord> NewRecord(int client);
  // Logs the end of a client that has such a record and no flow.
  void LogEnd(const FlowRecord& record, FlowEnd end);
  // Adds a new request to the client's open ones, which it must have. Returns the request's number.
  uint32_t FollowRequest(FlowRecord& client, MonotonicTime arrived_at);
  // Logs a request that has left the client's open ones; `client_end` as in ConnectionLog.
  void LogRequest(const FlowRecord& client, const RequestRecord& request, FlowEnd client_end);
  // Takes a new client, which ends with OnFlowDone.
  void Join(Flow& flow);
  // Offers endpoints to pending flows again.
  void ServePending();
  // Assigns the flow to an endpoint and returns true, or adds it to the pending queue. If the queue
  // is full, the flow gives up.
  bool Route(Flow& flow);
  // Like Route, for a flow that may have reached a server before. Returns false if the retry budget
  // is spent.
  bool Retry(Flow& flow);
  // Takes the flow off its endpoint and retries at another one. Returns false if it was tried often
  // enough, or the retry budget is spent. Neither counts if the endpoint is known to fail by now
  // and others are healthy.
  bool TryElsewhere(Flow& flow);
  // Like Retry, but costs no budget: for a flow that no server can have seen.
  void Reroute(Flow& flow);
  // Counts a request of the flow that is sent again on the connection of the one before it.
  void CountRetry(Flow& flow);

  // Flows report their progress.
  void OnConnectFailed(Flow& flow, ConnectFailure why);
  // Its server accepted the connect and refused the opening, or did not answer it. The first
  // variant stands for the endpoint as a whole; another one says nothing about the others.
  void OnOpeningFailed(Flow& flow, ConnectFailure why, uint8_t variant, bool lacking);
  void OnConnected(Flow& flow);
  // The first byte of the server's answer is here. `since` is when the client was accepted; in
  // message mode, when the request had arrived whole.
  void OnFirstByte(Flow& flow, MonotonicTime since);
  // The flow ends in order, after bytes of the client and none of the server.
  void OnUnanswered(Flow& flow) { flow.endpoint()->cell->unanswered.Add(); }
  // The number of the flow's requests in flight at its endpoint changed by `change`; a flow that
  // was assigned counts as 1.
  void CountActive(Flow& flow, int32_t change);
  // Sets whether the flow counts as load; a new one does.
  void SetLoad(Flow& flow, bool is_load);
  // Takes the flow, which counts as 1, off its endpoint, or out of the pending queue.
  void Release(Flow& flow);
  void OnFlowDone(Flow& flow, FlowEnd end);
  // The proxy refused a client that has to authenticate.
  void OnDenied() { listener_cell_->auth_refusals.Add(); }
  // The client continues as another flow, which begins at once.
  void Replace(Flow& flow, std::unique_ptr<Flow> by);

  const WorkerContext& worker() const { return worker_; }
  // Pace what flows log about single requests.
  struct RequestLogs {
    LogPacer bad_requests;
    LogPacer late_replies;
    LogPacer broadcasts;
    LogPacer openings;
    LogPacer missing_credentials;
    LogPacer wrong_credentials;
  };
  RequestLogs& request_logs() { return request_logs_; }
  // Limits this worker's connections to each endpoint. 0: no limit.
  uint32_t max_connections() const { return max_connections_; }
  size_t clients() const { return clients_; }
  // Returns true if all workers together have fewer clients than the listener's limit.
  bool HasRoom() const;

 private:
  using States = std::vector<std::unique_ptr<EndpointState>>;

  void OnCarrierChanged(Carrier& carrier) override;
  bool waits() const override { return pending() > 0; }
  void OnCarrierRoom(Carrier& carrier) override;
  void OnInbandReport(Carrier& carrier, const InbandReport& report) override;
  void OnLoadUnknown(Carrier& carrier) override;
  void OnFlush() override;
  void WarnOfUnwatchable();
  void OnEjectionTimer();
  void OnStaleTimer();

  void Rearrange(const std::shared_ptr<const EndpointSet>& old);
  void JoinSome();
  void JoinEndpoint(EndpointState& state);
  void Depart(std::unique_ptr<EndpointState> state, const std::shared_ptr<const EndpointSet>& old);
  void ForgetCarrier(EndpointState& state);
  template <typename Call>
  void ForEachOf(const Carrier& carrier, Call call);

  void AddLoad(EndpointState& state, int32_t change);
  bool Assign(Flow& flow);
  bool AssignByPicks(Flow& flow);
  bool AssignWhereRoom(Flow& flow);
  size_t Pick(std::span<const size_t> excluded, uint64_t client);
  bool StartAt(EndpointState& state, Flow& flow);
  void SetFull(EndpointState& state, bool full);
  void Wait(Flow& flow);
  bool ServeQueue(PendingQueue<Flow>& queue);
  PendingQueue<Flow>& QueueOf(const Flow& flow) { return pending_[flow.variant()]; }
  size_t pending() const;
  void CountPending();
  void LogIfFull();
  void AwaitRoom();
  void ForgetRoom();
  void Eject(EndpointState& state);
  void CountFailure(EndpointState& state, ConnectFailure why);
  void UpdateHealth(EndpointState& state);

  const WorkerContext worker_;
  Owner& owner_;
  const uint32_t max_connections_;
  ConnectionLog* const connection_log_;  // null if the service is not logged
  const OutlierEjection ejection_;
  FastRandom random_;

  std::shared_ptr<const EndpointSet> set_;
  ListenerCell* listener_cell_ = nullptr;
  States states_;  // parallel to set_->endpoints
  absl::flat_hash_map<const Carrier*, EndpointState*> by_carrier_;
  // Left the service while flows run there.
  absl::flat_hash_map<const EndpointState*, std::unique_ptr<EndpointState>> departed_;
  size_t next_join_ = 0;                      // states_ from here on may not be joined yet
  std::vector<Carrier*> departing_carriers_;  // released after the last endpoint was joined
  std::vector<EndpointState*> ejected_;

  EndpointPicker picker_;
  RetryBudget retry_budget_;
  std::array<PendingQueue<Flow>, kMostVariants> pending_;  // by variant
  GaugeShare pending_share_;
  NoRoomLog no_room_log_;
  size_t full_endpoints_ = 0;
  std::vector<EndpointState*> with_room_;  // since the last flush
  bool awaits_all_ = false;                // every carrier was asked to notify
  size_t clients_ = 0;
  uint64_t picks_ = 0;
  MonotonicTime next_watch_warning_;
  RequestLogs request_logs_;
  MemberTimer<ServiceRouter, &ServiceRouter::OnEjectionTimer> ejection_timer_{this};
  MemberTimer<ServiceRouter, &ServiceRouter::OnStaleTimer> stale_timer_{this};
};

}  // namespace trunkline
