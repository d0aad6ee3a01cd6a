// Bounds how often one kind of event is logged, for events that a peer can cause at any rate.
//
// The first event is logged at once, then at most one per interval; a line says how many were not
// logged before it. PeerLogPacer does the same for each peer. Pure. LogPacer is externally
// synchronized, PeerLogPacer is thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class LogPacer {
 public:
  static constexpr absl::Duration kInterval = absl::Seconds(10);

  explicit LogPacer(absl::Duration interval = kInterval) : interval_(interval) {}

  // Returns the end of this event's line, which counts the events that were not logged since the
  // last line (empty if there are none); or nothing if this event must not be logged.
  std::optional<std::string> Admit(MonotonicTime now) {
    if (now < next_) {
      ++suppressed_;
      return std::nullopt;
    }
    next_ = now + interval_;
    const uint64_t before = std::exchange(suppressed_, 0);
    if (before == 0) return std::string();
    return absl::StrCat(" (", before, " more like this were not logged before)");
  }

  // Returns true if the next event is logged and has nothing to count.
  bool idle(MonotonicTime now) const { return now >= next_ && suppressed_ == 0; }

 private:
  absl::Duration interval_;
  MonotonicTime next_;
  uint64_t suppressed_ = 0;
};

class PeerLogPacer {
 public:
  static constexpr absl::Duration kInterval = absl::Minutes(1);
  // Further peers share one pacer.
  static constexpr size_t kMaxPeers = 256;

  // As LogPacer::Admit, for one peer.
  std::optional<std::string> Admit(const std::string& peer, MonotonicTime now) {
    const std::lock_guard lock(mutex_);
    if (peers_.size() >= kMaxPeers && !peers_.contains(peer)) {
      std::erase_if(peers_, [&](const auto& entry) { return entry.second.idle(now); });
    }
    const bool full = peers_.size() >= kMaxPeers && !peers_.contains(peer);
    return peers_.try_emplace(full ? std::string() : peer, kInterval).first->second.Admit(now);
  }

 private:
  // A std::mutex because ThreadSanitizer does not see inside the system's absl::Mutex.
  std::mutex mutex_;
  std::map<std::string, LogPacer> peers_;  // guarded by mutex_
};

}  // namespace trunkline
