// The controller: the production ControlCore and TickSchedule in virtual time. It can die, and
// start again with its state or without.
//
// Externally synchronized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "controller/core/control_core.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_report.h"
#include "controller/core/proxy_table.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/core/stored_state.h"
#include "controller/loop/tick_schedule.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {

using ServiceSnapshot = std::shared_ptr<const SnapshotService>;

class Controller final : private EventHandler {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // A new snapshot for proxies.
    virtual void OnSnapshot(const ServiceSnapshot& snapshot) = 0;
    // After each tick, for checks.
    virtual void OnTick(const ControlCore& core) = 0;
    virtual void OnControllerLost() = 0;
  };

  static constexpr absl::Duration kTickInterval = absl::Milliseconds(500);
  static constexpr SimTime kSaveInterval = kSecond;

  // All outlive the controller.
  Controller(EventQueue& queue, Owner& owner, const Scenario& scenario);

  void Start(bool with_state);
  void Die();
  bool alive() const { return core_.has_value(); }

  // Returns false if nothing listens.
  bool Announce(size_t agent, const AnnouncedAgent& announcement);
  void Disconnect(size_t agent);
  void Report(size_t agent, uint64_t seq, const ReportedLoad& load);
  void Traffic(const ProxyTraffic& traffic);

 private:
  void OnEvent(uint32_t kind, uint64_t value) override;
  void Tick();
  // Ticks sooner if endpoints have changed.
  void FollowChanges();
  void ScheduleTick();
  void Publish();

  EventQueue& queue_;
  Owner& owner_;
  const Scenario& scenario_;
  std::optional<ControlCore> core_;
  TickSchedule schedule_;
  uint64_t ticked_generation_ = 0;
  uint64_t life_ = 0;
  uint64_t epoch_ = 0;
  SimTime ticks_at_ = -1;
  std::vector<AgentSession> sessions_;
  AgentSession last_session_ = kNoSession;
  std::optional<StoredState> saved_;
  SimTime saved_at_ = 0;
  ServiceSnapshot published_;
  bool published_before_ = false;  // proxies hold a snapshot of an earlier life
};

}  // namespace trunkline::sim
