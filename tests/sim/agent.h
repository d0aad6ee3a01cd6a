// An agent: samples its server and reports to the controller and, on trunks, to proxies, when the
// real one would (its ReportSchedule, RateWindow and LoadPacer are linked in). It can die, freeze,
// lose, delay and repeat reports, and say what is not true.
//
// Externally synchronized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "agent/report/report_schedule.h"
#include "agent/sample/rate_window.h"
#include "agent/trunk/load_pacer.h"
#include "common/base/random.h"
#include "common/inband/inband_report.h"
#include "controller/core/load_report.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"
#include "tests/sim/server.h"

namespace trunkline::sim {

// A load report with values that only baselines use.
struct AgentReport {
  ReportedLoad load;
  double requests_per_second = 0;
};

class Agent final : private EventHandler {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // The agent connects and announces itself, or its stream has ended.
    virtual void OnAgentConnects(size_t agent) = 0;
    virtual void OnAgentGone(size_t agent) = 0;
    virtual void OnLoadReport(size_t agent, uint64_t seq, const AgentReport& report) = 0;
    virtual void OnInbandReport(size_t agent, const ServerLoad& load) = 0;
    // Its trunks work again, or no longer.
    virtual void OnTrunks(size_t agent, bool usable) = 0;
  };

  // SamplingLoop::kFastPeriod.
  static constexpr SimTime kSamplePeriod = 30 * kMillisecond;
  // After this silence keepalive ends a stream to the controller, and a trunk.
  static constexpr SimTime kStreamKeepalive = 15 * kSecond;
  static constexpr SimTime kTrunkKeepalive = 3 * kSecond;

  // All outlive the agent. `trunks`: it serves in-band load reports.
  Agent(EventQueue& queue, Server& server, Owner& owner, size_t index, SimTime interval,
        bool trunks, uint64_t seed);

  void Start();
  void Apply(const Action& action);
  // The stream to the controller failed; the agent connects again after its backoff.
  void OnControllerLost();

  bool running() const { return state_ == State::kRuns; }
  bool dead() const { return state_ == State::kDead; }
  bool honest() const { return lie_ == Lie::kNone; }
  AnnouncedAgent Announcement() const;

 private:
  enum class State { kRuns, kFrozen, kDead };
  enum class Lie { kNone, kUtilization, kWork, kIdle, kSockets };
  struct Sent {
    uint64_t seq;
    AgentReport report;
  };

  void OnEvent(uint32_t kind, uint64_t value) override;
  void Sample();
  void Report(double window_seconds);
  AgentReport Read(double window_seconds) const;
  double Utilization(double window_seconds) const;
  void SetState(State state);

  EventQueue& queue_;
  Server& server_;
  Owner& owner_;
  const size_t index_;
  const bool trunks_;
  const double interval_seconds_;
  FastRandom random_;

  State state_ = State::kRuns;
  bool silent_ = false;
  Lie lie_ = Lie::kNone;
  double claim_ = 0;
  double loses_ = 0;
  double repeats_ = 0;
  SimTime delay_ = 0;

  uint64_t boot_ = 1;
  uint64_t life_ = 1;  // timers of an earlier life are void
  uint64_t seq_ = 0;
  bool connected_ = false;
  bool reachable_ = true;
  SimTime next_slow_ = 0;
  SimTime next_inband_ = 0;
  ReportSchedule schedule_;
  LoadPacer pacer_{1};
  RateWindow cpu_seconds_, served_, resets_;
  std::deque<Sent> in_transit_;
};

}  // namespace trunkline::sim
