#include "common/net/event_loop.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <utility>

namespace trunkline {
namespace {

constexpr unsigned long kTimerSlackNanos = 5'000;
// A sleep has a cost of its own, of some microseconds.
constexpr absl::Duration kShortestSleep = absl::Microseconds(20);

}  // namespace

class EventLoop::Wakeup : public EventHandler {
 public:
  explicit Wakeup(EventLoop* loop) : loop_(loop), fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  int fd() const { return fd_.get(); }
  void Wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = write(fd_.get(), &one, sizeof one);
  }
  void OnEvents(uint32_t) override {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = read(fd_.get(), &count, sizeof count);
    loop_->RunPosted();
  }

 private:
  EventLoop* const loop_;
  const UniqueFd fd_;
};

EventLoop::EventLoop()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)),
      now_(MonotonicNow()),
      timers_(now_),
      pacer_(now_),
      wakeup_(std::make_unique<Wakeup>(this)) {
  Add(wakeup_->fd(), EPOLLIN, wakeup_.get());
}

EventLoop::~EventLoop() = default;

bool EventLoop::Add(int fd, uint32_t events, EventHandler* handler) {
  epoll_event event{.events = events, .data = {.ptr = handler}};
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

bool EventLoop::Modify(int fd, uint32_t events, EventHandler* handler) {
  epoll_event event{.events = events, .data = {.ptr = handler}};
  return epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0;
}

void EventLoop::Remove(int fd) { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void EventLoop::Run() {
  // The thread's waits end in time: the system adds 50 us if not told otherwise.
  prctl(PR_SET_TIMERSLACK, kTimerSlackNanos);
  while (running_) {
    Gather();
    RunOnce(absl::InfiniteDuration());
  }
}

// Leaves what comes in alone for a moment, where the moment is not felt.
void EventLoop::Gather() {
  if (last_count_ >= kManyEvents || !flushes_.empty()) return;
  const absl::Duration gap = pacer_.Gap(now_);
  if (gap == absl::ZeroDuration()) return;
  const absl::Duration rest = now_ + gap - MonotonicNow();
  if (rest < kShortestSleep) return;
  const timespec sleep = absl::ToTimespec(rest);
  nanosleep(&sleep, nullptr);
}

void EventLoop::RunOnce(absl::Duration max_wait) {
  std::array<epoll_event, kMaxEvents> events;
  const int count = epoll_wait(epoll_.get(), events.data(), kMaxEvents, WaitMillis(max_wait));
  now_ = MonotonicNow();
  last_count_ = count;
  for (int i = 0; i < count; ++i) {
    static_cast<EventHandler*>(events[i].data.ptr)->OnEvents(events[i].events);
  }
  timers_.Advance(now_);
  RunFlushes();
  if (after_pass_ != nullptr) after_pass_->OnFlush();
  while (!retired_.empty()) {
    // A destructor may retire what it owned.
    const auto dying = std::exchange(retired_, {});
  }
  if (passes_ != nullptr) passes_->Record(MonotonicNow().nanos() - now_.nanos());
}

int EventLoop::WaitMillis(absl::Duration max_wait) const {
  if (!flushes_.empty()) return 0;
  const int64_t timer_nanos = timers_.NanosToNext(now_);
  int64_t millis = timer_nanos < 0 ? -1 : timer_nanos / 1'000'000 + 1;
  if (max_wait != absl::InfiniteDuration()) {
    const int64_t limit = absl::ToInt64Milliseconds(max_wait);
    millis = millis < 0 ? limit : std::min(millis, limit);
  }
  return static_cast<int>(millis);
}

void EventLoop::RequestFlush(Flushable* flushable) {
  if (flushable->flush_queued_) return;
  flushable->flush_queued_ = true;
  flushes_.push_back(flushable);
}

void EventLoop::CancelFlush(Flushable* flushable) {
  if (!flushable->flush_queued_) return;
  flushable->flush_queued_ = false;
  std::erase(flushes_, flushable);
  std::replace(flushing_.begin(), flushing_.end(), flushable, static_cast<Flushable*>(nullptr));
}

// What asks for a flush while flushing gets it in the next pass, which then does not wait.
void EventLoop::RunFlushes() {
  flushing_.swap(flushes_);
  for (size_t i = 0; i < flushing_.size(); ++i) {
    Flushable* flushable = flushing_[i];
    if (flushable == nullptr) continue;
    flushing_[i] = nullptr;
    flushable->flush_queued_ = false;
    flushable->OnFlush();
  }
  flushing_.clear();
}

void EventLoop::Post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
  }
  wakeup_->Wake();
}

void EventLoop::RunPosted() {
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard lock(mutex_);
    work.swap(posted_);
  }
  for (auto& item : work) item();
}

void EventLoop::Stop() {
  Post([this] { running_ = false; });
}

}  // namespace trunkline
