// How much of one stream may be on its way to us: a window that grows for a reader that keeps up.
//
// A fixed window is wrong for everybody: 64 KiB hold a stream to 64 KiB a round trip, and megabytes
// for each of thousands of streams are memory that readers who stall will fill. So each stream
// starts small, and when half of its window was read and given back in less than two round trips,
// the window was the limit and doubles. A reader that stalls before that holds what the stream
// started with; all growth together is bounded by a budget, and goes back to it with the stream.
//
// The rule is that of quic-go and of Linux's receive buffer tuning (tcp_rcv_space_adjust): measure
// what the application read in a round trip. Pure; confined to the loop of their session.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "common/clock.h"

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

  int32_t bytes() const { return bytes_; }

  // `given_back` bytes were read and the peer is told. True: the window has grown. `budget` may be
  // null: it never grows.
  bool OnRead(size_t given_back, MonotonicTime now, absl::Duration round_trip,
              WindowBudget* budget) {
    read_ += given_back;
    if (2 * read_ < static_cast<size_t>(bytes_)) return false;
    const bool fast = started_ && now - since_ < 2 * round_trip;
    since_ = now;
    started_ = true;
    read_ = 0;
    const int32_t more = std::min(bytes_, kMaxBytes - bytes_);
    if (!fast || more == 0 || budget == nullptr || !budget->Take(more)) return false;
    bytes_ += more;
    return true;
  }

  // The stream is over.
  void Release(WindowBudget* budget) {
    if (budget != nullptr) budget->Give(bytes_ - kInitialBytes);
    *this = StreamWindow();
  }

 private:
  int32_t bytes_ = kInitialBytes;
  bool started_ = false;
  size_t read_ = 0;  // since then
  MonotonicTime since_;
};

}  // namespace trunkline
