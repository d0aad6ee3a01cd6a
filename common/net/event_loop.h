// One thread's epoll loop: sockets, timers, work at the end of a pass, and closures from other
// threads.
//
// A pass is: wait, run the handlers of ready descriptors and posted closures, fire timers, then run
// each Flushable that asked for it once. Writers collect during the pass and flush at its end,
// which is what puts the frames of many flows into one system call.
//
// Handlers are named to epoll by pointer. An event that was fetched before a handler closed another
// one's descriptor would reach a dead object, so handlers are not deleted at once: Retire() keeps
// them until the end of the pass.
//
// Thread-safe: Post and Stop. Everything else is confined to the thread that calls Run.
#pragma once

#include <sys/epoll.h>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/base/unique_fd.h"
#include "common/net/timer_wheel.h"
#include "common/net/wake_pacer.h"

namespace trunkline {

class EventHandler {
 public:
  virtual ~EventHandler() = default;
  // `events` is epoll's mask. May come once more in the pass in which the descriptor was closed:
  // ignore it then.
  virtual void OnEvents(uint32_t events) = 0;
};

// Something that wants to be called at the end of a pass.
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
  // One pass; waits at most `max_wait` for something to happen. For tests and for Run.
  void RunOnce(absl::Duration max_wait);
  // Ends Run after the pass in which it is seen.
  void Stop();
  // Runs `work` on the loop's thread, in order. Not for a per-connection path: takes a lock.
  void Post(std::function<void()> work);

  // Registered descriptors are forgotten by epoll when they are closed. False (errno is set): out
  // of epoll watches.
  bool Add(int fd, uint32_t events, EventHandler* handler);
  bool Modify(int fd, uint32_t events, EventHandler* handler);
  void Remove(int fd);

  // Before Run. Zero: it never waits for more to come in than there is.
  void set_max_coalescing_delay(absl::Duration most) { pacer_.set_max_gap(most); }
  // A flow that shares its way out with others ended after `life`: from this Run knows how long it
  // may wait, as WakePacer says.
  void NoteFlowEnd(absl::Duration life) { pacer_.OnFlowEnded(now_, life); }

  // Records the time that each pass takes after its wait. `passes` outlives Run. Before Run.
  void RecordPasses(LatencyHistogram* passes) { passes_ = passes; }

  void Arm(Timer& timer, absl::Duration wait) { timers_.Arm(timer, now_ + wait); }
  void RequestFlush(Flushable* flushable);
  void CancelFlush(Flushable* flushable);
  // Calls it last in each pass from here on, with no need to ask. There is one at most; it outlives
  // the loop's last pass.
  void CallAfterPasses(Flushable* flushable) { after_pass_ = flushable; }
  // Deletes `object` at the end of the pass.
  template <typename T>
  void Retire(std::unique_ptr<T> object) {
    retired_.push_back({object.release(), [](void* retired) { delete static_cast<T*>(retired); }});
  }

  // When this pass began: good enough for time-outs and latencies, and free.
  MonotonicTime now() const { return now_; }

 private:
  class Wakeup;
  void RunPosted();
  void RunFlushes();
  void Gather();
  int WaitMillis(absl::Duration max_wait) const;

  // Events of one pass: bounds how long timers and posted work wait, at some 8 us each.
  static constexpr int kMaxEvents = 128;
  // A pass that had as many has gathered enough.
  static constexpr int kManyEvents = 16;

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

  // A std::mutex, because ThreadSanitizer does not see inside the system's absl::Mutex, and
  // everything that threads hand to a loop passes here.
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // guarded by mutex_
};

}  // namespace trunkline
