// Sheds load so that one worker's part of the process stays within the memory budget.
//
// Reads the memory in use ten times per second, and at once if the worker's buffered bytes have
// grown so much since the last reading that the budget may be exceeded before the next one. Then it
// acts as memory_rule.h says. Costs one comparison per pass of the loop, and nothing per flow.
//
// Each worker resets its own clients, in proportion to its part of the buffered bytes. Memory that
// one worker frees is already in the next worker's reading. Confined to its worker's loop.
#pragma once

#include <functional>
#include <optional>

#include "common/base/window_budget.h"
#include "common/net/event_loop.h"
#include "dataplane/memory/memory_rule.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

class MemoryGuard final : private Flushable {
 public:
  // Access to the memory of the process. All workers use it concurrently.
  struct Source {
    std::function<std::optional<MemoryReading>()> read;  // null: there is no budget
    std::function<void()> give_back;                     // returns freed memory to the kernel
  };
  // Its worker. Outlives the guard.
  class Owner {
   public:
    virtual ~Owner() = default;
    struct Shed {
      size_t clients = 0;
      int64_t bytes = 0;
    };
    // Resets clients, chosen by ChooseToShed, for this worker's part of `bytes`. Returns how many,
    // and the bytes that were buffered for them.
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
  int64_t BufferedBytes() const;

  EventLoop& loop_;
  const Options options_;
  Owner& owner_;
  WorkerStats& stats_;
  WindowBudget& windows_;
  MemoryLevel level_;
  int64_t alarm_bytes_;  // buffered bytes that trigger a reading at once
  MonotonicTime last_fruitless_shed_;
  MonotonicTime may_give_back_at_;
  MonotonicTime next_shedding_log_;
  MonotonicTime next_full_log_;
  bool logged_full_ = false;
  Owner::Shed unlogged_;
  MemberTimer<MemoryGuard, &MemoryGuard::OnTimer> timer_{this};
};

}  // namespace trunkline
