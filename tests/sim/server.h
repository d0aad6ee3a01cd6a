// A server as a queue: requests run on its cores in the order of arrival, first their CPU part,
// then their waiting part. A CPU quota stops all cores once its share of a 100 ms period is used
// up, as the kernel does. Another program can take part of the CPU.
//
// Externally synchronized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "tests/sim/event_queue.h"
#include "tests/sim/request.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {

class Server final : private EventHandler {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnServed(size_t server, RequestId id) = 0;
    // The server's process died or resets the flow.
    virtual void OnReset(size_t server, RequestId id) = 0;
    // The server ended the flow in order, without a byte.
    virtual void OnHungUp(size_t server, RequestId id) = 0;
    // An abandoned request has left the server.
    virtual void OnDropped(size_t server, RequestId id) = 0;
  };

  static constexpr SimTime kQuotaPeriod = 100 * kMillisecond;
  static constexpr SimTime kWarmUp = 20 * kSecond;  // after a cold start

  // All outlive the server.
  Server(EventQueue& queue, RequestPool& requests, Owner& owner, size_t index,
         const ServerSpec& spec);

  // Returns false if the connect is refused.
  bool Accept(RequestId id);

  void SetSpeed(double speed);
  void SetStolen(double share);
  void SetMemory(double share) { memory_ = share; }
  enum class Failure { kNone, kReset, kHangUp, kRefuse };
  void SetFailure(Failure failure) { failure_ = failure; }
  void SetFrozen(bool frozen);
  void Die();
  // Starts it, or starts it again.
  void Start();
  // All connections to it break, as when its agent dies.
  void DropConnections();
  // The factor of the CPU part just after a start, from the next start on.
  void SetColdFactor(double factor) { cold_factor_ = factor; }

  const ServerSpec& spec() const { return spec_; }
  bool accepts() const { return alive_ && failure_ != Failure::kRefuse; }
  bool healthy() const { return alive_ && !frozen_ && failure_ == Failure::kNone; }
  double memory() const { return memory_; }
  uint64_t starts() const { return starts_; }
  // Requests that it has accepted and not ended.
  uint32_t in_flight() const { return in_flight_; }
  // CPU work per second that is left to the service.
  double capacity() const;
  // CPU seconds used until now, by the service and by other programs.
  double CpuSeconds();
  uint64_t served() const { return served_; }
  uint64_t resets() const { return resets_; }

 private:
  void OnEvent(uint32_t kind, uint64_t value) override;
  // Lets the running requests run until now.
  void Settle();
  // Starts requests while cores are free, and waits for the next that ends.
  void Continue();
  void FinishCpu(RequestId id);
  void StartWaits();
  void Leave(RequestId id);
  bool DropIfAbandoned(RequestId id);
  double SlowdownWhenCold() const;
  // CPU seconds per second of a running request.
  double rate() const;
  bool has_quota() const { return spec_.quota > 0; }

  EventQueue& queue_;
  RequestPool& requests_;
  Owner& owner_;
  const size_t index_;
  const ServerSpec& spec_;

  double speed_;
  double stolen_ = 0;
  double memory_;
  Failure failure_ = Failure::kNone;
  bool frozen_ = false;
  bool alive_ = true;
  double cold_factor_ = 1;
  SimTime started_at_ = 0;
  uint64_t starts_ = 1;

  std::deque<RequestId> queue_of_cpu_;
  std::vector<RequestId> running_;
  std::deque<RequestId> queue_of_waits_;
  std::vector<RequestId> waiting_;
  uint32_t in_flight_ = 0;

  SimTime settled_at_ = 0;
  double cpu_used_ = 0;
  double stolen_used_ = 0;
  double budget_ = 0;  // CPU seconds left in the period
  SimTime period_began_ = 0;
  SimTime wakes_at_ = 0;
  uint64_t wake_ = 0;  // number of the wake-up that counts
  uint64_t served_ = 0;
  uint64_t resets_ = 0;
};

}  // namespace trunkline::sim
