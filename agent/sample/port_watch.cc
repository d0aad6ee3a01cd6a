#include "agent/sample/port_watch.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/proc/sock_diag.h"
#include "agent/proc/sockstat.h"
#include "common/base/clock.h"
#include "common/base/system_files.h"

namespace trunkline {

PortWatch::PortWatch(const SystemFiles& files, std::vector<uint16_t> ports, uint64_t smallest_limit,
                     Dump dump)
    : files_(files),
      ports_(std::move(ports)),
      smallest_limit_(smallest_limit),
      dump_(std::move(dump)) {
  // Services may share a port.
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
    stopped_.NotifyAll();
  }
  // Restores the normal priority: on a busy host the rest of a socket dump would otherwise delay
  // shutdown by seconds.
  const sched_param none{};
  pthread_setschedparam(thread_.native_handle(), SCHED_OTHER, &none);
  thread_.join();
}

std::optional<uint64_t> PortWatch::SocketsInUse() const {
  const absl::StatusOr<std::string> text = files_.Read("/proc/net/sockstat");
  const absl::StatusOr<uint64_t> in_use = text.ok() ? ParseTcpInUse(*text) : text.status();
  if (!in_use.ok()) return std::nullopt;
  // Absent on a host without IPv6.
  const absl::StatusOr<std::string> text6 = files_.Read("/proc/net/sockstat6");
  return *in_use + (text6.ok() ? ParseTcpInUse(*text6).value_or(0) : 0);
}

uint64_t PortWatch::ChangeThatMatters(uint64_t in_use) const {
  if (smallest_limit_ > 0) return std::max<uint64_t>(1, smallest_limit_ / kLimitOverChange);
  return std::max(kFewSockets, in_use / kSocketsOverChange);
}

bool PortWatch::Due(MonotonicTime now) const {
  if (!dumped_at_.has_value()) return true;
  const absl::Duration since = now - *dumped_at_;
  const auto reached = [&](const Pace& pace) {
    return since >= std::clamp(cost_ * pace.time_between_over_cost, kPeriod, pace.longest);
  };
  if (reached(kCalm)) return true;
  if (!reached(kChanged)) return false;
  const std::optional<uint64_t> sockets = SocketsInUse();
  if (!sockets.has_value() || !sockets_.has_value()) return true;
  const uint64_t change = std::max(*sockets, *sockets_) - std::min(*sockets, *sockets_);
  return change >= ChangeThatMatters(*sockets_);
}

void PortWatch::Update(MonotonicTime now) {
  dumped_at_ = now;
  sockets_ = SocketsInUse();
  absl::StatusOr<SocketDump> dump = dump_(ports_);
  cost_ = dump.ok() ? dump->cost : absl::ZeroDuration();
  absl::MutexLock lock(&mutex_);
  error_ = std::string(dump.status().message());
  if (!dump.ok()) return;
  for (const uint16_t port : ports_) {
    const PortSockets& sockets = dump->ports[port];
    latest_[port] = {
        .at = now, .established = sockets.established, .bytes = bytes_[port].Add(sockets)};
  }
}

std::optional<PortCount> PortWatch::Latest(uint16_t port) const {
  absl::MutexLock lock(&mutex_);
  const auto found = latest_.find(port);
  if (found == latest_.end()) return std::nullopt;
  return found->second;
}

std::string PortWatch::Error() const {
  absl::MutexLock lock(&mutex_);
  return error_;
}

void PortWatch::Run() {
  // Runs only on idle cores and yields at once to a thread that wakes; a nice thread would keep its
  // slice of a millisecond. 0 names this thread. If the system refuses, dumps run at normal
  // priority.
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;  // Stop has already set the priority
    const sched_param none{};
    sched_setscheduler(0, SCHED_IDLE, &none);
  }
  while (true) {
    if (const MonotonicTime now = MonotonicNow(); Due(now)) Update(now);
    absl::MutexLock lock(&mutex_);
    if (stopped_.AwaitFor(mutex_, kPeriod, absl::Condition(&stopping_))) return;
  }
}

}  // namespace trunkline
