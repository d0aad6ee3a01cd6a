#include "tests/sim/agent.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/report/report_schedule.h"
#include "agent/sample/rate_window.h"
#include "agent/trunk/load_pacer.h"
#include "common/base/clock.h"
#include "common/inband/inband_report.h"
#include "controller/core/load_report.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"
#include "tests/sim/server.h"

namespace trunkline::sim {
namespace {

enum Kind : uint32_t { kSample, kConnect, kStreamDead, kTrunksDead, kDeliver };

constexpr double kCrossingWindowSeconds = 0.5;
constexpr SimTime kInbandTick = 50 * kMillisecond;
constexpr SimTime kRepeatAfter = 200 * kMillisecond;
constexpr double kReconnectSeconds = 3;

}  // namespace

Agent::Agent(EventQueue& queue, Server& server, Owner& owner, size_t index, SimTime interval,
             bool trunks, uint64_t seed)
    : queue_(queue),
      server_(server),
      owner_(owner),
      index_(index),
      trunks_(trunks),
      interval_seconds_(Seconds(interval)),
      random_(seed),
      schedule_(absl::Nanoseconds(interval)) {}

void Agent::Start() {
  // Agents do not start in step.
  const SimTime at = queue_.now() + FromSeconds(interval_seconds_ * random_.Uniform());
  queue_.Add(queue_.now(), *this, kConnect, life_);
  queue_.Add(at, *this, kSample, life_);
}

AnnouncedAgent Agent::Announcement() const {
  const std::string& name = server_.spec().name;
  AnnouncedAgent agent;
  agent.agent_id = name;
  agent.boot_id = absl::StrCat("boot-", boot_);
  agent.trunk_address =
      absl::StrCat("10.", index_ / 65536, ".", index_ / 256 % 256, ".", index_ % 256, ":7073");
  agent.endpoints.push_back({.key = {"sim", name},
                             .cores = server_.spec().usable_cores(),
                             .server_boot_id = absl::StrCat("start-", server_.starts()),
                             .server_address = agent.trunk_address});
  return agent;
}

void Agent::SetState(State state) {
  if (state == state_) return;
  const State before = std::exchange(state_, state);
  ++life_;
  if (state == State::kRuns) {
    if (before == State::kDead) {
      ++boot_;
      seq_ = 0;
      schedule_ = ReportSchedule(absl::Seconds(interval_seconds_));
      pacer_ = LoadPacer(1);
      cpu_seconds_.Reset();
      served_.Reset();
      resets_.Reset();
    }
    next_slow_ = 0;
    owner_.OnTrunks(index_, true);
    if (!connected_) queue_.Add(queue_.now(), *this, kConnect, life_);
    queue_.Add(queue_.now(), *this, kSample, life_);
  } else if (state == State::kDead) {
    // The kernel closes the connections of a dead process.
    queue_.Add(queue_.now(), *this, kStreamDead, life_);
    queue_.Add(queue_.now(), *this, kTrunksDead, life_);
  } else {
    queue_.Add(queue_.now() + kStreamKeepalive, *this, kStreamDead, life_);
    queue_.Add(queue_.now() + kTrunkKeepalive, *this, kTrunksDead, life_);
  }
}

void Agent::Apply(const Action& action) {
  switch (action.kind) {
    case ActionKind::kAgentSilent:
      silent_ = true;
      return;
    case ActionKind::kAgentDies:
      return SetState(State::kDead);
    case ActionKind::kAgentFreezes:
      return SetState(State::kFrozen);
    case ActionKind::kAgentRuns:
      silent_ = false;
      return SetState(State::kRuns);
    case ActionKind::kAgentClaims:
      lie_ = action.text == "work" ? Lie::kWork : Lie::kUtilization;
      claim_ = action.value;
      return;
    case ActionKind::kAgentReadsIdle:
      lie_ = Lie::kIdle;
      return;
    case ActionKind::kAgentCountsSockets:
      lie_ = Lie::kSockets;
      return;
    case ActionKind::kAgentHonest:
      lie_ = Lie::kNone;
      loses_ = repeats_ = 0;
      delay_ = 0;
      return;
    case ActionKind::kAgentLoses:
      loses_ = action.value;
      return;
    case ActionKind::kAgentRepeats:
      repeats_ = action.value;
      return;
    case ActionKind::kAgentDelays:
      delay_ = FromSeconds(action.value);
      return;
    default:
      return;
  }
}

void Agent::OnControllerLost() {
  connected_ = false;
  if (state_ != State::kRuns) return;
  queue_.Add(queue_.now() + FromSeconds(kReconnectSeconds * random_.Uniform()), *this, kConnect,
             life_);
}

void Agent::OnEvent(uint32_t kind, uint64_t value) {
  if (kind == kDeliver) {
    if (in_transit_.empty()) return;
    const Sent sent = std::move(in_transit_.front());
    in_transit_.pop_front();
    return owner_.OnLoadReport(index_, sent.seq, sent.report);
  }
  if (value != life_) return;
  switch (kind) {
    case kSample:
      Sample();
      queue_.Add(queue_.now() + kSamplePeriod, *this, kSample, life_);
      return;
    case kConnect:
      connected_ = true;
      owner_.OnAgentConnects(index_);
      return;
    case kStreamDead:
      connected_ = false;
      owner_.OnAgentGone(index_);
      return;
    case kTrunksDead:
      owner_.OnTrunks(index_, false);
      return;
  }
}

void Agent::Sample() {
  const SimTime now = queue_.now();
  const MonotonicTime at = queue_.monotonic();
  cpu_seconds_.Add(at, server_.CpuSeconds());
  served_.Add(at, static_cast<double>(server_.served()));
  resets_.Add(at, static_cast<double>(server_.resets()));
  if (now >= next_slow_) {
    next_slow_ = now + kSecond;
    reachable_ = server_.accepts();
  }
  if (!cpu_seconds_.has_rate()) return;
  const double fast = Utilization(kCrossingWindowSeconds);
  switch (schedule_.Check(at, {fast}, random_.Uniform())) {
    case ReportSchedule::Due::kInterval:
      Report(std::clamp(interval_seconds_, kCrossingWindowSeconds,
                        absl::ToDoubleSeconds(RateWindow::kLongest)));
      break;
    case ReportSchedule::Due::kCrossing:
      Report(kCrossingWindowSeconds);
      break;
    case ReportSchedule::Due::kNo:
      break;
  }
  if (!trunks_ || now < next_inband_) return;
  next_inband_ = now + kInbandTick;
  const ServerLoad load{.active = server_.in_flight(),
                        .utilization = static_cast<uint32_t>(std::lround(1000 * fast))};
  if (!pacer_.Due(0, load, at)) return;
  pacer_.OnSent(0, load, at);
  owner_.OnInbandReport(index_, load);
}

// The application of a server that is lied about has no say: a wrong control group is wrong in both
// kinds of reports.
double Agent::Utilization(double window_seconds) const {
  if (lie_ == Lie::kIdle) return 0;
  if (lie_ == Lie::kUtilization) return claim_;
  return cpu_seconds_.PerSecond(absl::Seconds(window_seconds)) / server_.spec().usable_cores();
}

AgentReport Agent::Read(double window_seconds) const {
  const absl::Duration window = absl::Seconds(window_seconds);
  AgentReport report;
  ReportedLoad& load = report.load;
  load.key = {"sim", server_.spec().name};
  load.cpu_utilization = Utilization(window_seconds);
  load.memory_utilization = server_.memory();
  load.connections = server_.in_flight();
  load.active_streams = trunks_ ? server_.in_flight() : 0;
  report.requests_per_second = served_.PerSecond(window);
  load.errors_per_second = trunks_ ? resets_.PerSecond(window) : 0;
  load.successes_per_second = trunks_ ? report.requests_per_second : 0;
  if (lie_ == Lie::kWork) load.successes_per_second = report.requests_per_second = claim_;
  if (lie_ == Lie::kSockets) load.successes_per_second = server_.in_flight();
  load.reachable = reachable_;
  load.server_boot_id = absl::StrCat("start-", server_.starts());
  load.cores = server_.spec().usable_cores();
  return report;
}

void Agent::Report(double window_seconds) {
  const uint64_t seq = ++seq_;
  const bool lost = random_.Uniform() < loses_;
  const bool repeated = random_.Uniform() < repeats_;
  if (silent_ || lost) return;
  const SimTime arrives = queue_.now() + kMillisecond + delay_;
  in_transit_.push_back({seq, Read(window_seconds)});
  queue_.Add(arrives, *this, kDeliver);
  if (!repeated) return;
  in_transit_.push_back(in_transit_.back());
  queue_.Add(arrives + kRepeatAfter, *this, kDeliver);
}

}  // namespace trunkline::sim
