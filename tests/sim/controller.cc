#include "tests/sim/controller.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/time/time.h"
#include "controller/core/control_core.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_report.h"
#include "controller/core/proxy_table.h"
#include "controller/core/service_spec.h"
#include "controller/loop/tick_schedule.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {

Controller::Controller(EventQueue& queue, Owner& owner, const Scenario& scenario)
    : queue_(queue),
      owner_(owner),
      scenario_(scenario),
      schedule_(kTickInterval, queue.monotonic()),
      sessions_(scenario.servers.size(), kNoSession) {}

void Controller::Start(bool with_state) {
  if (alive()) return;
  ServiceSpec service;
  service.name = "sim";
  service.listen = {"0.0.0.0:9000"};
  service.mode = scenario_.mode;
  for (const ServerSpec& server : scenario_.servers) {
    if (!server.agentless) continue;
    // Any address will do; no two may be equal.
    service.endpoints.push_back({.endpoint_id = server.name, .address = server.name + ":9000"});
  }
  ControlCore::Options options;
  options.services = {service};
  options.report_interval = absl::Nanoseconds(scenario_.report_interval);
  options.first = {.epoch = ++epoch_, .version = 1};
  options.agents_return = ControlCore::kAgentsReturn;
  if (with_state) options.stored = saved_;
  core_.emplace(options, queue_.monotonic());
  schedule_ = TickSchedule(kTickInterval, queue_.monotonic());
  ticked_generation_ = 0;
  ++life_;
  ticks_at_ = -1;
  published_ = nullptr;
  ScheduleTick();
}

void Controller::Die() {
  if (!alive()) return;
  core_.reset();
  ++life_;
  published_before_ = true;
  std::ranges::fill(sessions_, kNoSession);
  owner_.OnControllerLost();
}

bool Controller::Announce(size_t agent, const AnnouncedAgent& announcement) {
  if (!alive()) return false;
  sessions_[agent] = ++last_session_;
  const bool taken =
      core_->registry().Announce(sessions_[agent], announcement, queue_.monotonic()).ok();
  FollowChanges();
  return taken;
}

void Controller::Disconnect(size_t agent) {
  if (!alive() || sessions_[agent] == kNoSession) return;
  core_->registry().Disconnect(std::exchange(sessions_[agent], kNoSession), queue_.monotonic());
  FollowChanges();
}

void Controller::Report(size_t agent, uint64_t seq, const ReportedLoad& load) {
  if (!alive() || sessions_[agent] == kNoSession) return;
  core_->registry().Report(sessions_[agent], seq, {load}, queue_.monotonic()).IgnoreError();
  FollowChanges();
}

void Controller::Traffic(const ProxyTraffic& traffic) {
  if (alive()) core_->traffic().Add(traffic, queue_.monotonic());
}

void Controller::FollowChanges() {
  if (core_->registry().generation() == ticked_generation_) return;
  schedule_.OnChange(queue_.monotonic());
  ScheduleTick();
}

void Controller::ScheduleTick() {
  const SimTime at =
      std::max<SimTime>(queue_.now(), schedule_.next().nanos() - Monotonic(0).nanos());
  if (at == ticks_at_) return;
  ticks_at_ = at;
  queue_.Add(at, *this, 0, life_);
}

void Controller::OnEvent(uint32_t, uint64_t life) {
  // An event whose tick was moved forward finds that none is due.
  if (life != life_ || !alive() || !schedule_.Due(queue_.monotonic())) return;
  Tick();
  ScheduleTick();
}

void Controller::Tick() {
  core_->Tick(queue_.monotonic());
  schedule_.OnTick(queue_.monotonic());
  ticked_generation_ = core_->registry().generation();
  Publish();
  owner_.OnTick(*core_);
  if (queue_.now() - saved_at_ < kSaveInterval) return;
  saved_at_ = queue_.now();
  saved_ = core_->Export();
}

// As DiscoveryService: a proxy that holds a snapshot of another epoch keeps it while the controller
// is settling.
void Controller::Publish() {
  const ServiceSnapshot& newest = core_->publisher().current()->services.front();
  if (newest == published_) return;
  if (published_before_ && core_->View(queue_.monotonic())->settling) return;
  published_ = newest;
  owner_.OnSnapshot(newest);
}

}  // namespace trunkline::sim
