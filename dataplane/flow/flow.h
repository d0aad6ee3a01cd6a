// One client connection on its way through the proxy, whatever the mode: from accept to the last
// byte.
//
//   TunnelFlow   a stream on a trunk            (any protocol)
//   DirectFlow   a server connection of its own (any protocol)
//   MessageFlow  its requests, one by one, on shared connections
//   HeaderFlow   what it is before any of these, where a PROXY protocol header comes first
//
// It asks its ServiceRouter for an endpoint, travels there, and may ask for another one while it is
// certain that nothing of it has reached a server.
//
// Confined to its worker's loop; owned by its worker, which retires it after OnFlowDone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "dataplane/flow/client_origin.h"
#include "dataplane/flow/pending_queue.h"

namespace trunkline {

class ServiceRouter;
struct EndpointState;

// How a flow ended; what the counters tell apart.
enum class FlowEnd {
  kClean,        // both directions ended with FIN
  kClientReset,  // the client broke it
  kServerReset,  // the server broke it
  kTrunkLost,
  kConnectionLost,  // the shared connection that had its request
  kRefused,         // endpoints were asked and refused
  kNoEndpoint,      // none could be asked in time
  kTimeout,
  kShutdown,     // we stop
  kBadRequest,   // what the client sent is not of the service's protocol
  kSlowReader,   // the client does not take its replies
  kSourceLimit,  // its source has as many clients as it may
  kBadHeader,    // what should have been a PROXY protocol header is none
  kMemory,       // memory was short, and much was kept for it
  kUnwatchable,  // epoll could not watch its socket
};

class Flow : public PendingQueue<Flow>::Entry {
 public:
  virtual ~Flow() = default;

  // The router knows it: from here on it asks for endpoints.
  virtual void Begin() = 0;
  // Travels to `endpoint`, which the router has chosen. False: there is no way to it at present,
  // and nothing happened.
  virtual bool Start(EndpointState& endpoint) = 0;
  // No endpoint took it.
  virtual void GiveUp() = 0;
  // Ends it now; both sides are reset.
  virtual void Shutdown() = 0;
  // The same, because memory is short.
  virtual void Shed() { Shutdown(); }

  // What is kept for its client, and since when the oldest of it waits (see BacklogAge). `bytes` is
  // what the flow has in the gauges of its worker, where others see what that one keeps;
  // `kernel_bytes` are those in the socket of a client that does not read.
  struct Buffered {
    size_t bytes = 0;
    size_t kernel_bytes = 0;
    MonotonicTime since = MonotonicTime::Infinite();
  };
  virtual Buffered buffered() const { return {}; }

  // The endpoint that carries it; null while it has none.
  EndpointState* endpoint() const { return endpoint_; }
  void set_endpoint(EndpointState* endpoint) { endpoint_ = endpoint; }
  // Counts as load, not only as open; the router keeps count.
  bool is_load() const { return is_load_; }
  void set_load(bool is_load) { is_load_ = is_load; }
  // Endpoints that were tried and could not be reached.
  bool tried(const EndpointState* endpoint) const;
  // Its endpoint is one of them. False: it was tried often enough, and nothing happened.
  bool NoteTry();

  MonotonicTime accepted_at() const { return accepted_at_; }
  ServiceRouter& router() const { return router_; }
  // Who the client is; null where its service does not ask.
  const ClientOrigin* origin() const { return origin_.get(); }
  void set_origin(std::unique_ptr<ClientOrigin> origin) { origin_ = std::move(origin); }
  std::unique_ptr<ClientOrigin> TakeOrigin() { return std::move(origin_); }
  size_t table_index = 0;  // its worker's

 protected:
  Flow(ServiceRouter& router, MonotonicTime accepted_at)
      : router_(router), accepted_at_(accepted_at) {}

 private:
  ServiceRouter& router_;
  const MonotonicTime accepted_at_;
  EndpointState* endpoint_ = nullptr;
  bool is_load_ = true;
  std::unique_ptr<ClientOrigin> origin_;
  std::vector<const EndpointState*> tried_;
};

}  // namespace trunkline
