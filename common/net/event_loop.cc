#include "common/net/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/net/socket.h"

namespace trunkline {
namespace {

constexpr unsigned long kTimerSlackNanos = 5'000;
// nanosleep itself costs some microseconds.
constexpr absl::Duration kShortestSleep = absl::Microseconds(20);

absl::Status WatchStatus(int fd, int error) {
  if (error == 0) return absl::OkStatus();
  const std::string text =
      absl::StrCat("epoll cannot watch descriptor ", fd, ": ", ErrorText(error));
  switch (error) {
    case ENOSPC:
      return absl::ResourceExhaustedError(absl::StrCat(text, "; raise fs.epoll.max_user_watches"));
    case ENOMEM:
      return absl::ResourceExhaustedError(text);
    case EEXIST:
      return absl::AlreadyExistsError(text);
    case ENOENT:
      return absl::NotFoundError(text);
    default:
      return absl::InternalError(text);
  }
}

}  // namespace

class EventLoop::Wakeup : public EventHandler {
 public:
  explicit Wakeup(EventLoop* loop) : loop_(loop), fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  int fd() const { return fd_.get(); }
  void Wake() {
    const uint64_t one = 1;
    const ssize_t n = write(fd_.get(), &one, sizeof one);
    // EAGAIN means that the counter is full: the loop has not seen earlier wake-ups, and will.
    TRUNKLINE_CHECK(n == sizeof one || errno == EAGAIN, "a loop can always be woken");
  }
  void OnEvents(uint32_t) override {
    uint64_t count = 0;
    const ssize_t n = read(fd_.get(), &count, sizeof count);
    // EAGAIN means that the event was a spurious one.
    TRUNKLINE_CHECK(n == sizeof count || errno == EAGAIN, "a wake-up can always be read");
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
  TRUNKLINE_CHECK(epoll_, "the system has an epoll instance for each loop at start-up");
  TRUNKLINE_CHECK(Add(wakeup_->fd(), EPOLLIN, wakeup_.get()).ok(),
                  "the system has an eventfd and a watch for each loop at start-up");
}

EventLoop::~EventLoop() = default;

int EventLoop::Control(int operation, int fd, uint32_t events, EventHandler* handler) {
  epoll_event event{.events = events, .data = {.ptr = handler}};
  return epoll_ctl(epoll_.get(), operation, fd, &event) == 0 ? 0 : errno;
}

absl::Status EventLoop::Add(int fd, uint32_t events, EventHandler* handler) {
  return WatchStatus(fd, Control(EPOLL_CTL_ADD, fd, events, handler));
}

absl::Status EventLoop::AddOrModify(int fd, uint32_t events, EventHandler* handler) {
  // Not by Add's status: it would allocate, on a path of every connection.
  int error = Control(EPOLL_CTL_ADD, fd, events, handler);
  if (error == EEXIST) error = Control(EPOLL_CTL_MOD, fd, events, handler);
  return WatchStatus(fd, error);
}

absl::Status EventLoop::Modify(int fd, uint32_t events, EventHandler* handler) {
  return WatchStatus(fd, Control(EPOLL_CTL_MOD, fd, events, handler));
}

void EventLoop::Remove(int fd) {
  const int rc = epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  TRUNKLINE_CHECK(rc == 0 || errno == ENOENT, "only open descriptors are removed");
}

void EventLoop::Run() {
  // By default the kernel ends a wait up to 50 us late.
  prctl(PR_SET_TIMERSLACK, kTimerSlackNanos);
  while (running_) {
    Coalesce();
    RunOnce(absl::InfiniteDuration());
  }
}

// Sleeps before the next pass so that it finds more events, for a delay that flows do not notice.
void EventLoop::Coalesce() {
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

// A flush that is requested during this call runs in the next pass, which then does not wait.
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
