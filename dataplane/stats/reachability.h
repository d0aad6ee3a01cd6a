// Whether connects to one endpoint fail, known to all workers of a proxy: what one worker learns
// serves the others, and each probe is sent by one of them.
//
// The verdict is about one network address; an endpoint that moves starts anew. Thread-safe and
// lock-free. A worker that stops after it claimed a probe delays the next one by an interval.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class Reachability {
 public:
  // Names an address; never 0.
  static uint64_t KeyOf(const std::string& address) {
    return std::hash<std::string>()(address) | 1;
  }

  // A connect to `address` failed. Returns true if no worker knew it.
  bool SetFailing(uint64_t address) { return failing_.exchange(address) != address; }
  // A connect to `address` succeeded. Returns true if the workers took it for failing.
  bool SetReachable(uint64_t address) {
    // Reads first, because connects that succeed are the rule and should not write.
    uint64_t expected = address;
    return IsFailing(address) && failing_.compare_exchange_strong(expected, 0);
  }
  bool IsFailing(uint64_t address) const {
    return failing_.load(std::memory_order_relaxed) == address;
  }

  // Returns true if the caller should send a probe at `now`; no other worker does for `interval`.
  bool ClaimProbe(MonotonicTime now, absl::Duration interval) {
    int64_t due = next_probe_nanos_.load(std::memory_order_relaxed);
    const int64_t next = (now + interval).nanos();
    return due <= now.nanos() && next_probe_nanos_.compare_exchange_strong(due, next);
  }

 private:
  std::atomic<uint64_t> failing_ = 0;  // the address; 0: none
  std::atomic<int64_t> next_probe_nanos_ = 0;
};

}  // namespace trunkline
