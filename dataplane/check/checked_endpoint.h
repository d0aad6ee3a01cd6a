// The health checks of one endpoint: when they begin, at which addresses, and what follows from
// them.
//
// A check tries the addresses of a name in turn, each for its share of the timeout, until one
// passes. It begins at random within the first interval, then about one interval after the last one
// began; two checks never overlap. A shortage of this machine says nothing about the server, so
// such a check counts as neither passed nor failed.
//
// Confined to its worker's loop. Owned by its HealthChecker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "common/net/address_list.h"
#include "common/net/event_loop.h"
#include "common/proxy_protocol/proxy_version.h"
#include "dataplane/check/check_connection.h"
#include "dataplane/check/check_schedule.h"
#include "dataplane/check/health_rule.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {

class CheckedEndpoint final : private CheckConnection::Owner {
 public:
  // Its checker. Outlives the endpoint.
  class Owner {
   public:
    virtual ~Owner() = default;
    // Returns true if the check may connect now. Otherwise calls Begin once it may.
    virtual bool TakeConnection(CheckedEndpoint& endpoint) = 0;
    // The check is over. Must not begin another one during the call.
    virtual void ReturnConnection() = 0;
    // The endpoint became unhealthy, or is no longer.
    virtual void OnHealthChanged(CheckedEndpoint& endpoint) = 0;
    // This machine lacked a socket for a check; `shortage` says why.
    virtual void OnNoSocket(const CheckedEndpoint& endpoint, const std::string& shortage) = 0;
  };

  // Begins the first check after `first_wait`.
  CheckedEndpoint(EventLoop& loop, Owner& owner, const EndpointSet& set, const Endpoint& endpoint,
                  absl::Duration first_wait, uint64_t random_seed);
  ~CheckedEndpoint() override;

  // Takes the newest options and addresses. The result of former checks stays.
  void Update(const EndpointSet& set, const Endpoint& endpoint);
  // Returns true if `endpoint` is still this one, at the same configured address.
  bool Is(const Endpoint& endpoint) const {
    return stats_ == endpoint.stats && address_ == endpoint.address;
  }

  // Starts a check, which Owner::TakeConnection had postponed.
  void Begin();

  const EndpointStats& stats() const { return *stats_; }
  // The owner's place for it in the queue of postponed checks; 0 if it is not there.
  uint64_t ticket() const { return ticket_; }
  void set_ticket(uint64_t ticket) { ticket_ = ticket; }

 private:
  void OnTimer();
  void TryAddresses();
  bool TryNext();
  void OnConnectionEnded(bool passed) override;
  void OnTryFailed(std::string fault);
  void Finish(bool passed);
  void Skip(const std::string& shortage);
  void EndConnection();
  void Rest();
  void Log(bool first) const;

  EventLoop& loop_;
  Owner& owner_;
  const std::string address_;
  const std::shared_ptr<EndpointStats> stats_;
  CheckSchedule schedule_;

  std::shared_ptr<const HealthCheck> check_;
  ProxyVersion proxy_protocol_;
  AddressRotation targets_;
  HealthRule rule_;

  uint64_t ticket_ = 0;
  // During a check.
  bool running_ = false;
  MonotonicTime began_at_;
  size_t tries_left_ = 0;
  uint32_t turn_ = 0;  // of targets_
  absl::Duration try_timeout_;
  std::unique_ptr<CheckConnection> connection_;
  std::string fault_;  // of the last try that failed

  MemberTimer<CheckedEndpoint, &CheckedEndpoint::OnTimer> timer_{this};
};

}  // namespace trunkline
