// Timers for one event loop. Arming, re-arming and cancelling take O(1) and allocate nothing, so
// every flow can have a timer.
//
// A wheel of 1024 slots of 8 ms. A deadline past the horizon (8 s) sits in the last possible slot
// and moves on when the wheel passes it. Timers fire up to one slot late, never early. Do not
// re-arm a timer for each byte (idle timeouts): let it fire, check the last activity, and arm it
// again.
//
// Confined to its event loop. A Timer belongs to the object that it wakes and disarms itself on
// destruction.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/clock.h"

namespace trunkline {

class TimerWheel;

class Timer {
 public:
  Timer() = default;
  virtual ~Timer() { Cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  bool armed() const { return next_ != nullptr; }
  void Cancel();

 protected:
  virtual void OnTimer() = 0;

 private:
  friend class TimerWheel;
  Timer* next_ = nullptr;  // circular list through the slot's head; null: not armed
  Timer* prev_ = nullptr;
  MonotonicTime deadline_;
};

// Calls a member function of its owner: MemberTimer<Trunk, &Trunk::OnPingDue> ping_timer_{this};
template <typename Owner, void (Owner::*kFunction)()>
class MemberTimer final : public Timer {
 public:
  explicit MemberTimer(Owner* owner) : owner_(owner) {}

 private:
  void OnTimer() override { (owner_->*kFunction)(); }
  Owner* const owner_;
};

class TimerWheel {
 public:
  static constexpr int64_t kSlotNanos = 8'000'000;
  static constexpr size_t kSlots = 1024;

  explicit TimerWheel(MonotonicTime now);
  ~TimerWheel();

  // Arms or re-arms.
  void Arm(Timer& timer, MonotonicTime deadline);
  // Fires all due timers. OnTimer may arm and cancel any timer.
  void Advance(MonotonicTime now);
  // Nanoseconds from `now` until a timer may be due; -1 if no timer is armed.
  int64_t NanosToNext(MonotonicTime now) const;

 private:
  class Head final : public Timer {
    void OnTimer() override {}
  };
  void Insert(Timer& timer);
  void FireSlot(size_t slot, MonotonicTime now);

  std::array<Head, kSlots> heads_;
  int64_t tick_;  // the slot, not wrapped, that was fired last
};

}  // namespace trunkline
