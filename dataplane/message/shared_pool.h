// The shared connections of one worker to one endpoint: which of them gets the next request, when
// another one is worth its cost, and when the endpoint is left alone.
//
// Connections are opened when requests ask for them and closed when they had none for a while.
// After a dial that failed, dials are made with jittered backoff only, until one finds the server.
// The pool goes on with the connections that it has; without any it is unusable and requests that
// waited for one go elsewhere.
//
// Confined to its worker's loop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/backoff.h"
#include "common/base/random.h"
#include "common/net/event_loop.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/message/shared_connection.h"
#include "dataplane/route/carrier.h"
#include "dataplane/route/dialer.h"

namespace trunkline {

class SharedPool final : public Carrier, private SharedConnection::Owner {
 public:
  struct Options {
    SharedConnectionOptions connection;
    size_t max_shared = 4;
    // Of this worker, of all kinds; 0: no limit.
    uint32_t max_connections = 0;
  };

  // `counters` and `open` (connections, of the worker) outlive it.
  SharedPool(EventLoop& loop, Dialer& dialer, std::string name, Options options,
             std::shared_ptr<ConnectionBudget> budget, SharedCounters* counters, Gauge* open,
             uint64_t random_seed);
  ~SharedPool() override;

  void SetTarget(const SocketAddress& target) override;
  bool usable() const override { return has_target_ && (!failing_ || AnyUp()); }
  bool idle() const override { return !used() && connections_.empty(); }

  // A connection with room, or null.
  SharedConnection* Acquire();
  void Await() override;
  bool MakeRoom() override;
  void OnPlaceFree() override;
  size_t connections() const { return connections_.size(); }

 private:
  void OnUsed() override;
  void OnUnused() override;
  void OnConnectionUp(SharedConnection& connection) override;
  void OnConnectionRoom(SharedConnection& connection) override;
  void OnConnectionEnded(SharedConnection& connection, bool never_up,
                         const absl::Status& why) override;
  bool HasWaiters() const override { return has_waiters_; }
  bool AnyUp() const;
  void NotifyWaiters();
  SharedConnection* Dial();
  void Probe();

  EventLoop& loop_;
  Dialer& dialer_;
  const std::string name_;
  const Options options_;
  const std::shared_ptr<ConnectionBudget> budget_;
  SharedCounters* const counters_;
  Gauge* const open_;
  FastRandom random_;
  Backoff backoff_;
  SocketAddress target_;
  bool has_target_ = false;
  bool failing_ = false;      // the last dial failed, and none has succeeded since
  bool has_waiters_ = false;  // and was not told of room since
  std::vector<std::unique_ptr<SharedConnection>> connections_;
  MemberTimer<SharedPool, &SharedPool::Probe> probe_timer_{this};
};

}  // namespace trunkline
