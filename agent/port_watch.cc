#include "agent/port_watch.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <utility>

namespace trunkline {

PortWatch::PortWatch(std::vector<uint16_t> ports, Dump dump)
    : ports_(std::move(ports)), dump_(std::move(dump)) {
  // Services may share one.
  std::sort(ports_.begin(), ports_.end());
  ports_.erase(std::unique(ports_.begin(), ports_.end()), ports_.end());
  ports_.resize(std::min(ports_.size(), kMaxDumpPorts));
}

void PortWatch::Start() {
  if (!ports_.empty()) thread_ = std::thread([this] { Run(); });
}

void PortWatch::Stop() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  // It is waited for now: on a busy host the rest of a walk would take seconds.
  const sched_param none{};
  pthread_setschedparam(thread_.native_handle(), SCHED_OTHER, &none);
  thread_.join();
}

absl::Duration PortWatch::Look(MonotonicTime now) {
  absl::StatusOr<SocketDump> dump = dump_(ports_);
  if (!dump.ok()) return kPeriod;
  absl::MutexLock lock(&mutex_);
  for (const uint16_t port : ports_) {
    const PortSockets& sockets = dump->ports[port];
    latest_[port] = {
        .at = now, .established = sockets.established, .bytes = bytes_[port].Add(sockets)};
  }
  return std::clamp(dump->cost * kTimeBetweenOverCost, kPeriod, kLongestPeriod);
}

std::optional<PortCount> PortWatch::Latest(uint16_t port) const {
  absl::MutexLock lock(&mutex_);
  const auto found = latest_.find(port);
  if (found == latest_.end()) return std::nullopt;
  return found->second;
}

void PortWatch::Run() {
  // Runs where nobody else wants to, and whoever wakes takes its place at once; niceness alone
  // leaves it its slice of a millisecond each time. 0 is this thread. A system that refuses has it
  // look all the same.
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;  // and may have been hurried already
    const sched_param none{};
    sched_setscheduler(0, SCHED_IDLE, &none);
  }
  while (true) {
    const absl::Duration pause = Look(MonotonicNow());
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), pause)) return;
  }
}

}  // namespace trunkline
