// Keeps one worker's part of the process within the memory budget.
//
// Reads how much memory is used some times a second, and at once when what this worker keeps has
// grown so much since the last look that the budget may be spent before the next one; then does
// what memory_rule.h says. Nothing is read or counted for a flow: a pass of the loop costs one
// comparison.
//
// Each worker resets its own clients, for its part of what is kept; what one gave back the next one
// finds read already. Confined to its worker's loop.
#pragma once

#include <functional>
#include <optional>

#include "common/http2/stream_window.h"
#include "common/net/event_loop.h"
#include "dataplane/memory/memory_rule.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

class MemoryGuard final : private Flushable {
 public:
  // Where numbers come from. All workers use it at once.
  struct Source {
    std::function<std::optional<MemoryReading>()> read;  // null: there is no budget
    std::function<void()> give_back;                     // what was freed, to the kernel
  };
  // Who is told what to do. Outlives the guard.
  class Owner {
   public:
    virtual ~Owner() = default;
    struct Shed {
      size_t clients = 0;
      int64_t bytes = 0;
    };
    // Resets clients, chosen as ChooseToShed does, for this worker's part of `bytes`.
    virtual Shed ShedClients(int64_t bytes, bool urgent) = 0;
  };
  struct Options {
    Source source;
    size_t worker = 0;
    size_t workers = 1;
  };

  // All outlive the guard.
  MemoryGuard(EventLoop& loop, Options options, Owner& owner, WorkerStats& stats,
              WindowBudget& windows);

  bool takes_clients() const { return level_.takes_clients(); }

 private:
  void OnFlush() override;
  void OnTimer() { Look(); }
  void Look();
  void Shed();
  void LogShedding(const MemoryReading& reading);
  void LogFull(const MemoryReading& reading);
  int64_t KeptBytes() const;

  EventLoop& loop_;
  const Options options_;
  Owner& owner_;
  WorkerStats& stats_;
  WindowBudget& windows_;
  MemoryLevel level_;
  int64_t alarm_bytes_;  // what is kept then asks for a look at once
  MonotonicTime shed_nobody_at_;
  MonotonicTime may_give_back_at_;
  MonotonicTime may_tell_who_paid_at_;
  MonotonicTime may_tell_whether_full_at_;
  bool told_full_ = false;
  Owner::Shed untold_;
  MemberTimer<MemoryGuard, &MemoryGuard::OnTimer> timer_{this};
};

}  // namespace trunkline
