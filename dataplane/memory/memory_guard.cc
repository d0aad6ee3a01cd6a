#include "dataplane/memory/memory_guard.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/observe/log.h"

namespace trunkline {
namespace {

// Of what workers do not count themselves: a look costs some microseconds.
constexpr absl::Duration kLookInterval = absl::Milliseconds(100);
// After a reset: the next look tells whether it was enough.
constexpr absl::Duration kLookAgain = absl::Milliseconds(10);
// Where nobody was worth it, going through all clients again so soon would find nobody.
constexpr absl::Duration kShedAgain = absl::Milliseconds(250);
constexpr absl::Duration kUrgentShedAgain = absl::Milliseconds(20);
// malloc goes through all that it has, and others wait for it meanwhile.
constexpr absl::Duration kGiveBackInterval = absl::Seconds(1);
constexpr absl::Duration kTellInterval = absl::Seconds(10);
// Of us and of the kernel, for a client of which nothing is kept.
constexpr int64_t kClientBytes = 8 * 1024;
// A buffer that grows has up to twice what is in it.
constexpr int64_t kBufferSlack = 2;
// An alarm is not for less: near the threshold each pass would look.
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

int64_t MemoryGuard::KeptBytes() const {
  return stats_.to_client_buffered_bytes.Value() + stats_.from_client_buffered_bytes.Value() +
         stats_.clients.Value() * kClientBytes;
}

void MemoryGuard::OnFlush() {
  if (KeptBytes() >= alarm_bytes_) Look();
}

void MemoryGuard::Look() {
  loop_.Arm(timer_, kLookInterval);
  const std::optional<MemoryReading> reading = options_.source.read();
  if (!reading) return;  // the last one stands
  level_.OnReading(*reading);
  windows_.set_may_grow(level_.windows_may_grow());
  stats_.memory_full.Set(level_.takes_clients() ? 0 : 1);
  if (level_.bytes_to_shed() > 0) Shed();
  const int64_t part =
      level_.headroom_bytes() / (kBufferSlack * static_cast<int64_t>(options_.workers));
  alarm_bytes_ = KeptBytes() + std::max(part, kLeastAlarmBytes);
  LogShedding(*reading);
  LogFull(*reading);
}

void MemoryGuard::Shed() {
  const MonotonicTime now = loop_.now();
  Owner::Shed shed;
  const absl::Duration again = level_.urgent() ? kUrgentShedAgain : kShedAgain;
  if (now >= shed_nobody_at_ + again) {
    shed = owner_.ShedClients(level_.bytes_to_shed(), level_.urgent());
    if (shed.clients == 0) shed_nobody_at_ = now;
    if (shed.clients > 0) loop_.Arm(timer_, kLookAgain);
    untold_.clients += shed.clients;
    untold_.bytes += shed.bytes;
  }
  // Where nobody could be reset it may be malloc that keeps what is used.
  if (shed.clients == 0 && now < may_give_back_at_) return;
  may_give_back_at_ = now + kGiveBackInterval;
  options_.source.give_back();
}

void MemoryGuard::LogShedding(const MemoryReading& reading) {
  if (untold_.clients == 0 || loop_.now() < may_tell_who_paid_at_) return;
  may_tell_who_paid_at_ = loop_.now() + kTellInterval;
  const auto [clients, bytes] = std::exchange(untold_, {});
  LogWarn(
      "worker {}: memory is short, {:.1f} MiB of {:.1f} MiB used: {} clients that held most were "
      "reset, {:.1f} MiB were kept for them",
      options_.worker, InMebibytes(reading.used_bytes), InMebibytes(reading.budget_bytes), clients,
      InMebibytes(bytes));
}

void MemoryGuard::LogFull(const MemoryReading& reading) {
  const bool full = !level_.takes_clients();
  if (full == told_full_ || loop_.now() < may_tell_whether_full_at_) return;
  may_tell_whether_full_at_ = loop_.now() + kTellInterval;
  told_full_ = full;
  const double used = InMebibytes(reading.used_bytes);
  const double budget = InMebibytes(reading.budget_bytes);
  if (full) {
    LogWarn("worker {}: memory is full, {:.1f} MiB of {:.1f} MiB used: new clients wait",
            options_.worker, used, budget);
  } else {
    LogInfo("worker {}: memory suffices, {:.1f} MiB of {:.1f} MiB used: clients are taken again",
            options_.worker, used, budget);
  }
}

}  // namespace trunkline
