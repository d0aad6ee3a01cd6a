#include "common/net/timer_wheel.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "common/base/clock.h"

namespace trunkline {

void Timer::Cancel() {
  if (next_ == nullptr) return;
  prev_->next_ = next_;
  next_->prev_ = prev_;
  next_ = prev_ = nullptr;
}

TimerWheel::TimerWheel(MonotonicTime now) : tick_(now.nanos() / kSlotNanos) {
  for (Head& head : heads_) head.next_ = head.prev_ = &head;
}

TimerWheel::~TimerWheel() {
  for (Head& head : heads_) {
    while (head.next_ != &head) head.next_->Cancel();
    head.next_ = head.prev_ = nullptr;
  }
}

void TimerWheel::Arm(Timer& timer, MonotonicTime deadline) {
  timer.Cancel();
  timer.deadline_ = deadline;
  Insert(timer);
}

void TimerWheel::Insert(Timer& timer) {
  // Rounded up, so that a slot fires only after the deadline.
  const int64_t wanted = (timer.deadline_.nanos() / kSlotNanos) + 1;
  const int64_t slot = std::clamp(wanted, tick_ + 1, tick_ + static_cast<int64_t>(kSlots) - 1);
  Timer& head = heads_[slot % kSlots];
  timer.prev_ = head.prev_;
  timer.next_ = &head;
  head.prev_->next_ = &timer;
  head.prev_ = &timer;
}

void TimerWheel::Advance(MonotonicTime now) {
  const int64_t target = now.nanos() / kSlotNanos;
  // After a long stall one turn of the wheel covers every timer.
  int64_t from = std::max(tick_ + 1, target - static_cast<int64_t>(kSlots) + 1);
  for (; from <= target; ++from) {
    tick_ = from;
    FireSlot(from % kSlots, now);
  }
  tick_ = std::max(tick_, target);
}

void TimerWheel::FireSlot(size_t slot, MonotonicTime now) {
  Timer& head = heads_[slot];
  if (head.next_ == &head) return;
  // Moved to a separate list first, so that OnTimer may arm and cancel timers of this slot.
  Head due;
  due.next_ = head.next_;
  due.prev_ = head.prev_;
  due.next_->prev_ = &due;
  due.prev_->next_ = &due;
  head.next_ = head.prev_ = &head;
  while (due.next_ != &due) {
    Timer& timer = *due.next_;
    timer.Cancel();
    if (timer.deadline_ <= now) {
      timer.OnTimer();
    } else {
      Insert(timer);
    }
  }
  due.next_ = due.prev_ = nullptr;
}

int64_t TimerWheel::NanosToNext(MonotonicTime now) const {
  for (size_t i = 1; i <= kSlots; ++i) {
    const int64_t slot = tick_ + static_cast<int64_t>(i);
    const Timer& head = heads_[slot % kSlots];
    if (head.next_ == &head) continue;
    return std::max<int64_t>(0, slot * kSlotNanos - now.nanos());
  }
  return -1;
}

}  // namespace trunkline
