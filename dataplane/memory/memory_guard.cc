#include "dataplane/memory/memory_guard.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/window_budget.h"
#include "common/net/event_loop.h"
#include "common/observe/log.h"
#include "dataplane/memory/memory_rule.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {
namespace {

// Detects growth that workers do not count themselves. One reading costs some microseconds.
constexpr absl::Duration kLookInterval = absl::Milliseconds(100);
// After a reset, the next reading shows whether it was enough.
constexpr absl::Duration kLookAgain = absl::Milliseconds(10);
// Pause after a search that found no client worth a reset: another one so soon would find none
// either.
constexpr absl::Duration kShedAgain = absl::Milliseconds(250);
constexpr absl::Duration kUrgentShedAgain = absl::Milliseconds(20);
// malloc_trim visits the whole heap, and other threads wait for it.
constexpr absl::Duration kGiveBackInterval = absl::Seconds(1);
constexpr absl::Duration kLogInterval = absl::Seconds(10);
// Memory of this process and of the kernel for a client without buffered bytes.
constexpr int64_t kClientBytes = 8 * 1024;
// A growing buffer allocates up to twice its contents.
constexpr int64_t kBufferSlack = 2;
// Smallest growth that triggers a reading; otherwise every pass near the threshold would read.
constexpr int64_t kLeastAlarmBytes = 256 * 1024;

constexpr double kMebibyte = 1024.0 * 1024;
double InMebibytes(int64_t bytes) { return static_cast<double>(bytes) / kMebibyte; }

}  // namespace

MemoryGuard::MemoryGuard(EventLoop& loop, Options options, Owner& owner, WorkerStats& stats,
                         WindowBudget& windows)
    : loop_(loop),
      options_(std::move(options)),
      owner_(owner),
      stats_(stats),
      windows_(windows),
      alarm_bytes_(std::numeric_limits<int64_t>::max()) {
  if (options_.source.read == nullptr) return;
  loop_.CallAfterPasses(this);
  loop_.Arm(timer_, absl::ZeroDuration());
}

int64_t MemoryGuard::BufferedBytes() const {
  return stats_.to_client_buffered_bytes.Value() + stats_.from_client_buffered_bytes.Value() +
         stats_.clients.Value() * kClientBytes;
}

void MemoryGuard::OnFlush() {
  if (BufferedBytes() >= alarm_bytes_) Look();
}

void MemoryGuard::Look() {
  loop_.Arm(timer_, kLookInterval);
  const std::optional<MemoryReading> reading = options_.source.read();
  if (!reading) return;  // the last reading stays in effect
  level_.OnReading(*reading);
  windows_.set_may_grow(level_.windows_may_grow());
  stats_.memory_short.Set(level_.windows_may_grow() ? 0 : 1);
  stats_.memory_full.Set(level_.takes_clients() ? 0 : 1);
  if (level_.bytes_to_shed() > 0) Shed();
  const int64_t part =
      level_.headroom_bytes() / (kBufferSlack * static_cast<int64_t>(options_.workers));
  alarm_bytes_ = BufferedBytes() + std::max(part, kLeastAlarmBytes);
  LogShedding(*reading);
  LogFull(*reading);
}

void MemoryGuard::Shed() {
  const MonotonicTime now = loop_.now();
  Owner::Shed shed;
  const absl::Duration again = level_.urgent() ? kUrgentShedAgain : kShedAgain;
  if (now >= last_fruitless_shed_ + again) {
    shed = owner_.ShedClients(level_.bytes_to_shed(), level_.urgent());
    if (shed.clients == 0) last_fruitless_shed_ = now;
    if (shed.clients > 0) loop_.Arm(timer_, kLookAgain);
    unlogged_.clients += shed.clients;
    unlogged_.bytes += shed.bytes;
  }
  // If no client could be reset, the memory in use may be freed memory that malloc retains.
  if (shed.clients == 0 && now < may_give_back_at_) return;
  may_give_back_at_ = now + kGiveBackInterval;
  options_.source.give_back();
}

void MemoryGuard::LogShedding(const MemoryReading& reading) {
  if (unlogged_.clients == 0 || loop_.now() < next_shedding_log_) return;
  next_shedding_log_ = loop_.now() + kLogInterval;
  const auto [clients, bytes] = std::exchange(unlogged_, {});
  LogWarn(
      "worker {}: memory is short, {:.1f} MiB of {:.1f} MiB used: reset the {} clients with the "
      "most buffered bytes, {:.1f} MiB together",
      options_.worker, InMebibytes(reading.used_bytes), InMebibytes(reading.budget_bytes), clients,
      InMebibytes(bytes));
}

void MemoryGuard::LogFull(const MemoryReading& reading) {
  const bool full = !level_.takes_clients();
  if (full == logged_full_ || loop_.now() < next_full_log_) return;
  next_full_log_ = loop_.now() + kLogInterval;
  logged_full_ = full;
  const double used = InMebibytes(reading.used_bytes);
  const double budget = InMebibytes(reading.budget_bytes);
  if (full) {
    LogWarn("worker {}: memory is full, {:.1f} MiB of {:.1f} MiB used: accepting no new clients",
            options_.worker, used, budget);
  } else {
    LogInfo("worker {}: memory suffices again, {:.1f} MiB of {:.1f} MiB used: accepting clients",
            options_.worker, used, budget);
  }
}

}  // namespace trunkline
