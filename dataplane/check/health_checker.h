// One worker's part of the active health checks of a proxy.
//
// Each endpoint is checked by one worker, which a hash of its name selects, so the checks do not
// grow with the number of workers. The result is in EndpointStats for all of them, and the owner
// tells the routers when it changes.
//
// The checks of a service begin spread over an interval and stay so. At most `max_connections` are
// open at once, and few begin in one pass of the loop; further ones are postponed, in order, and a
// check that cannot begin says nothing about its endpoint.
//
// Confined to its worker's loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "common/base/random.h"
#include "common/net/event_loop.h"
#include "common/observe/log_pacer.h"
#include "dataplane/check/checked_endpoint.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {

class HealthChecker final : private CheckedEndpoint::Owner, private Flushable {
 public:
  // Its worker. Outlives the checker.
  class Owner {
   public:
    virtual ~Owner() = default;
    // EndpointStats::health of an endpoint became unhealthy, or is no longer.
    virtual void OnHealthChanged(const std::string& service, const std::string& endpoint_id) = 0;
  };
  struct Options {
    size_t worker = 0;
    size_t workers = 1;
    size_t max_connections = 1;  // of this worker; at least 1
    uint64_t random_seed = 0;
  };

  // `stats` outlives the checker.
  HealthChecker(EventLoop& loop, WorkerStats& stats, Owner& owner, const Options& options);
  // Does not call the owner.
  ~HealthChecker() override;

  // Takes the newest endpoints of a service and its health check, which may be none.
  void Update(const EndpointSet& set);
  // The service is gone.
  void Remove(const std::string& service);

 private:
  using Endpoints = std::map<std::string, std::unique_ptr<CheckedEndpoint>>;  // by id
  struct Service {
    uint64_t layout = 0;
    HealthCheck check;
    ProxyVersion proxy_protocol = ProxyVersion::kNone;
    Endpoints endpoints;
  };

  bool TakeConnection(CheckedEndpoint& endpoint) override;
  void ReturnConnection() override;
  void OnHealthChanged(CheckedEndpoint& endpoint) override;
  void OnNoSocket(const CheckedEndpoint& endpoint, const std::string& shortage) override;
  void OnFlush() override;
  bool HasTurn();
  void CountBegin();
  bool IsOurs(const EndpointSet& set, const Endpoint& endpoint) const;
  void Rearrange(const EndpointSet& set, Service& service);
  void Drop(Endpoints& endpoints);

  EventLoop& loop_;
  WorkerStats& stats_;
  Owner& owner_;
  const Options options_;
  FastRandom random_;
  std::map<std::string, Service> services_;
  size_t connections_ = 0;
  MonotonicTime pass_;  // of the loop, in which begins_in_pass_ checks began
  size_t begins_in_pass_ = 0;
  uint64_t last_ticket_ = 0;
  std::map<uint64_t, CheckedEndpoint*> postponed_;  // by ticket
  LogPacer postponed_log_;
  LogPacer no_socket_log_;
};

}  // namespace trunkline
