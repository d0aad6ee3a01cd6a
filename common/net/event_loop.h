// One thread's epoll loop: sockets, timers, work at the end of a pass, and closures from other
// threads.
//
// A pass waits, runs the handlers of ready descriptors and posted closures, fires timers, and then
// runs each Flushable that requested a flush. Writers collect output during the pass and flush it
// at the end, which puts the frames of many flows into one system call.
//
// epoll knows a handler by its pointer. A pass may hold an event for a handler that an earlier
// handler of the same pass closed, so handlers must not be deleted at once: Retire() keeps them
// until the end of the pass.
//
// Post and Stop are thread-safe. Everything else is confined to the thread that calls Run.
// Constructing a loop without descriptors or memory for it aborts the process: loops are created at
// start-up, and no program can run without them.
#pragma once

#include <sys/epoll.h>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/base/unique_fd.h"
#include "common/net/timer_wheel.h"
#include "common/net/wake_pacer.h"

namespace trunkline {

class EventHandler {
 public:
  virtual ~EventHandler() = default;
  // `events` is epoll's mask. A handler must ignore a call that arrives after it closed its
  // descriptor in the same pass.
  virtual void OnEvents(uint32_t events) = 0;
};

// An object that the loop calls at the end of each pass in which it requested a flush.
class Flushable {
 public:
  virtual ~Flushable() = default;

 protected:
  virtual void OnFlush() = 0;

 private:
  friend class EventLoop;
  bool flush_queued_ = false;
};

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs passes until Stop.
  void Run();
  // Runs one pass, which waits at most `max_wait` for an event. For tests and for Run.
  void RunOnce(absl::Duration max_wait);
  // Ends Run after the pass that processes this call.
  void Stop();
  // Runs `work` on the loop's thread, in order. Takes a lock: not for per-connection paths.
  void Post(std::function<void()> work);

  // Watches `fd` for `events` and reports them to `handler`. Closing the descriptor ends the watch.
  // RESOURCE_EXHAUSTED: the user's epoll watches (fs.epoll.max_user_watches) or the kernel's memory
  // are used up; ALREADY_EXISTS: the loop watches `fd` already; INTERNAL: `fd` cannot be watched.
  // After an error `handler` gets no events, so the caller must give the connection up.
  [[nodiscard]] absl::Status Add(int fd, uint32_t events, EventHandler* handler);
  // As Add, for a descriptor that may be watched already: then its events and handler change, and
  // events that are pending are reported again.
  [[nodiscard]] absl::Status AddOrModify(int fd, uint32_t events, EventHandler* handler);
  // Changes the events and handler of a watched descriptor and reports pending events again.
  // NOT_FOUND: the loop does not watch `fd`. Other errors as Add.
  [[nodiscard]] absl::Status Modify(int fd, uint32_t events, EventHandler* handler);
  // Ends the watch of an open descriptor, if there is one.
  void Remove(int fd);

  // Call before Run. Zero disables event coalescing.
  void set_max_coalescing_delay(absl::Duration most) { pacer_.set_max_gap(most); }
  // A flow that shares its upstream connection ended after `life`. The coalescing delay follows
  // these lifetimes; see WakePacer.
  void NoteFlowEnd(absl::Duration life) { pacer_.OnFlowEnded(now_, life); }

  // Records the time that each pass takes after its wait. `passes` outlives Run. Before Run.
  void RecordPasses(LatencyHistogram* passes) { passes_ = passes; }

  void Arm(Timer& timer, absl::Duration wait) { timers_.Arm(timer, now_ + wait); }
  void RequestFlush(Flushable* flushable);
  void CancelFlush(Flushable* flushable);
  // Calls `flushable` last in every pass from now on, without a request. A loop has at most one; it
  // must outlive the loop's last pass.
  void CallAfterPasses(Flushable* flushable) { after_pass_ = flushable; }
  // Deletes `object` at the end of the pass.
  template <typename T>
  void Retire(std::unique_ptr<T> object) {
    retired_.push_back({object.release(), [](void* retired) { delete static_cast<T*>(retired); }});
  }

  // The time at which this pass began: precise enough for timeouts and latencies, and free.
  MonotonicTime now() const { return now_; }

 private:
  class Wakeup;
  // Returns an errno, or 0 on success.
  [[nodiscard]] int Control(int operation, int fd, uint32_t events, EventHandler* handler);
  void RunPosted();
  void RunFlushes();
  void Coalesce();
  int WaitMillis(absl::Duration max_wait) const;

  // Events per pass: bounds how long timers and posted work wait, at some 8 us each.
  static constexpr int kMaxEvents = 128;
  // After a pass with this many events the loop is batching without a delay.
  static constexpr int kManyEvents = 16;
  static_assert(kManyEvents <= kMaxEvents);

  UniqueFd epoll_;
  MonotonicTime now_;
  TimerWheel timers_;
  WakePacer pacer_;
  int last_count_ = 0;  // events of the last pass
  std::unique_ptr<Wakeup> wakeup_;
  std::vector<Flushable*> flushes_;
  std::vector<Flushable*> flushing_;
  Flushable* after_pass_ = nullptr;
  LatencyHistogram* passes_ = nullptr;
  std::vector<std::unique_ptr<void, void (*)(void*)>> retired_;
  bool running_ = true;

  // A std::mutex because ThreadSanitizer does not see inside the system's absl::Mutex, and threads
  // hand data to a loop only here.
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // guarded by mutex_
};

}  // namespace trunkline
