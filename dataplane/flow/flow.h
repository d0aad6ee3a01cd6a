// One client connection, in any forwarding mode, from accept to its last byte.
//
//   TunnelFlow   a stream on a trunk                  (any protocol)
//   DirectFlow   an upstream connection of its own    (any protocol)
//   MessageFlow  single requests on shared connections
//   HeaderFlow   the stage before these, if a PROXY protocol header comes first
//
// A flow asks its ServiceRouter for an endpoint, and may ask for another while none of its bytes
// can have reached a server.
//
// Confined to its worker's loop. Owned by its worker, which retires it after OnFlowDone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "dataplane/flow/client_origin.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/flow/pending_queue.h"

namespace trunkline {

class ServiceRouter;
struct EndpointState;

// Why a connect to an endpoint failed.
enum class ConnectFailure { kRefused, kTimeout };

class Flow : public PendingQueue<Flow>::Entry {
 public:
  virtual ~Flow() = default;

  // Starts the flow, which may ask the router for endpoints from now on.
  virtual void Begin() = 0;
  // Connects to `endpoint`, which the router has picked. Returns false, with no effect, if its
  // carrier cannot take the flow now.
  virtual bool Start(EndpointState& endpoint) = 0;
  // Ends the flow because no endpoint took it.
  virtual void GiveUp() = 0;
  // Ends the flow now and resets both sides.
  virtual void Shutdown() = 0;
  // Like Shutdown, but because memory is short.
  virtual void Shed() { Shutdown(); }

  // Bytes buffered for the flow's client, and since when the oldest of them is waiting (see
  // BacklogAge). `bytes` are the flow's part of its worker's gauges; `kernel_bytes` are in the
  // socket of a client that does not read.
  struct Buffered {
    size_t bytes = 0;
    size_t kernel_bytes = 0;
    MonotonicTime since = MonotonicTime::Infinite();
  };
  virtual Buffered buffered() const { return {}; }

  // Returns the endpoint that carries the flow, or null while it has none.
  EndpointState* endpoint() const { return endpoint_; }
  void set_endpoint(EndpointState* endpoint) { endpoint_ = endpoint; }
  // Returns true if the flow counts as load, not only as open. The router keeps the count.
  bool is_load() const { return is_load_; }
  void set_load(bool is_load) { is_load_ = is_load; }
  // The variant of the protocol that its upstream connection speaks. Flows of each wait in a
  // pending queue of their own, because a connection with room serves one only. It must not change
  // while the flow is pending.
  uint8_t variant() const { return variant_; }
  // Returns true if `endpoint` was tried and failed.
  bool tried(const EndpointState* endpoint) const;
  // Adds the flow's endpoint to the tried ones. Returns false, with no effect, if the flow has used
  // all its tries.
  bool NoteTry();
  // Every endpoint may be tried again.
  void ForgetTries() { tried_.clear(); }
  // Returns true if NoteTry would.
  bool has_tries_left() const;

  MonotonicTime accepted_at() const { return accepted_at_; }
  ServiceRouter& router() const { return router_; }
  // Returns the client's identity, or null if the service does not need it.
  const ClientOrigin* origin() const { return origin_.get(); }
  void set_origin(std::unique_ptr<ClientOrigin> origin) { origin_ = std::move(origin); }
  std::unique_ptr<ClientOrigin> TakeOrigin() { return std::move(origin_); }
  // Returns the client's record for the connection log, or null if it is not logged.
  FlowRecord* record() const { return record_.get(); }
  void set_record(std::unique_ptr<FlowRecord> record) { record_ = std::move(record); }
  std::unique_ptr<FlowRecord> TakeRecord() { return std::move(record_); }
  size_t table_index = 0;  // used by its worker

 protected:
  Flow(ServiceRouter& router, MonotonicTime accepted_at)
      : router_(router), accepted_at_(accepted_at) {}
  void set_variant(uint8_t variant) { variant_ = variant; }

 private:
  ServiceRouter& router_;
  const MonotonicTime accepted_at_;
  EndpointState* endpoint_ = nullptr;
  bool is_load_ = true;
  uint8_t variant_ = 0;
  std::unique_ptr<ClientOrigin> origin_;
  std::unique_ptr<FlowRecord> record_;
  std::vector<const EndpointState*> tried_;
};

}  // namespace trunkline
