// How much of one stream may be on its way to us: a window that grows for a reader that keeps up.
//
// A fixed window is wrong for everybody: 64 KiB hold a stream to 64 KiB a round trip, and megabytes
// for each of thousands of streams are memory that readers who stall will fill. So each stream
// starts small, and when half of its window was read and given back in less than two round trips,
// the window was the limit and doubles. A reader that stalls before that holds what the stream
// started with; one that stalls later gives its growth up and gets none of the bytes back that it
// then reads until the window is as it started. All growth together is bounded by a budget, and
// goes back to it with that, or with the stream.
//
// The rule is that of quic-go and of Linux's receive buffer tuning (tcp_rcv_space_adjust): measure
// what the application read in a round trip. Pure; confined to the loop of their session.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

// Growth of all windows of one loop.
class WindowBudget {
 public:
  explicit WindowBudget(int64_t bytes) : left_(bytes) {}
  bool Take(int64_t bytes) {
    if (!may_grow_ || bytes > left_) return false;
    left_ -= bytes;
    return true;
  }
  void Give(int64_t bytes) { left_ += bytes; }
  int64_t left() const { return left_; }
  // Whether it gives anything, however much is left.
  void set_may_grow(bool may_grow) { may_grow_ = may_grow; }

 private:
  int64_t left_;
  bool may_grow_ = true;
};

class StreamWindow {
 public:
  static constexpr int32_t kInitialBytes = 64 * 1024;
  static constexpr int32_t kMaxBytes = 4 * 1024 * 1024;
  // Of one loop: sixteen streams at full size; below that, a stream's growth is as good as none.
  static constexpr int64_t kBudgetBytes = 64 * 1024 * 1024;
  // A reader that has bytes and takes less than half a window of them in this time has stalled.
  static constexpr absl::Duration kStalledAfter = absl::Seconds(1);

  int32_t bytes() const { return bytes_; }

  // `read` bytes were read; `waited`: they were here before, and the reader did not take them.
  // What the peer may send beyond what it was told before; 0: it need not be told yet. `budget` may
  // be null: the window never grows.
  int32_t OnRead(size_t read, bool waited, MonotonicTime now, absl::Duration round_trip,
                 WindowBudget* budget) {
    untold_ += static_cast<int32_t>(read);
    read_ += read;
    const absl::Duration since = now - since_;
    const bool half_read = 2 * read_ >= static_cast<size_t>(bytes_);
    if (since >= kStalledAfter && waited) {
      GiveUpGrowth();
      Restart(now);
    } else if (since >= kStalledAfter && !half_read) {
      Restart(now);  // it was only idle
      read_ = read;
    }
    PayBack(budget);
    if (half_read) {
      if (std::exchange(started_, true) && since < 2 * round_trip) Grow(budget);
      Restart(now);
    }
    return 2 * untold_ >= bytes_ ? std::exchange(untold_, 0) : 0;
  }

  // The stream is over.
  void Release(WindowBudget* budget) {
    if (budget != nullptr) budget->Give(bytes_ - kInitialBytes + given_up_);
    *this = StreamWindow();
  }

 private:
  void Restart(MonotonicTime now) {
    since_ = now;
    read_ = 0;
  }
  void Grow(WindowBudget* budget) {
    const int32_t more = std::min(bytes_, kMaxBytes - bytes_);
    if (more == 0 || given_up_ > 0 || budget == nullptr || !budget->Take(more)) return;
    bytes_ += more;
    untold_ += more;
  }
  void GiveUpGrowth() { given_up_ += std::exchange(bytes_, kInitialBytes) - kInitialBytes; }
  // What was granted cannot be taken back, so the peer is not told of as many bytes that are read.
  void PayBack(WindowBudget* budget) {
    const int32_t paid = std::min(given_up_, untold_);
    if (paid == 0) return;
    given_up_ -= paid;
    untold_ -= paid;
    if (budget != nullptr) budget->Give(paid);
  }

  int32_t bytes_ = kInitialBytes;
  int32_t given_up_ = 0;  // and not paid back yet
  int32_t untold_ = 0;    // the peer may send as many, and does not know yet
  bool started_ = false;
  size_t read_ = 0;  // since then
  MonotonicTime since_;
};

}  // namespace trunkline
