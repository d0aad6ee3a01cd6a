// A stream's receive window, which grows for a reader that keeps up.
//
// A fixed window suits no case: 64 KiB limit a stream to 64 KiB per round trip, and megabytes for
// each of thousands of streams are memory that stalled readers would fill. So each stream starts
// small. When half of its window was read and returned in less than two round trips, the window was
// the limit and doubles. A reader that stalls before that holds the initial window. A reader that
// stalls later loses the growth: the bytes that it reads then are not returned to the peer until
// the window has its initial size. A budget bounds the growth of all windows together; growth
// returns to it with those bytes, or with the end of the stream.
//
// The rule is that of quic-go and of Linux's receive buffer tuning (tcp_rcv_space_adjust): measure
// what the application reads per round trip. Pure; confined to the loop of its session.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/window_budget.h"

namespace trunkline {

class StreamWindow {
 public:
  static constexpr int32_t kInitialBytes = 64 * 1024;
  static constexpr int32_t kMaxBytes = 4 * 1024 * 1024;
  // The budget of one loop: sixteen windows at full size.
  static constexpr int64_t kBudgetBytes = 64 * 1024 * 1024;
  // A reader that reads less than half a window of waiting bytes in this time has stalled.
  static constexpr absl::Duration kStalledAfter = absl::Seconds(1);
  static_assert(kMaxBytes % kInitialBytes == 0 && kBudgetBytes >= kMaxBytes);

  int32_t bytes() const { return bytes_; }

  // `read` bytes were read; `waited`: they did not leave when they arrived. Returns the size of the
  // WINDOW_UPDATE to send, 0 if there is none yet. Without a `budget` the window never grows.
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
      Restart(now);  // the reader was only idle
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
  // A granted window cannot shrink. Instead, that many bytes that are read are not returned.
  void PayBack(WindowBudget* budget) {
    const int32_t paid = std::min(given_up_, untold_);
    if (paid == 0) return;
    given_up_ -= paid;
    untold_ -= paid;
    TRUNKLINE_CHECK(given_up_ >= 0 && untold_ >= 0, "no more is paid back than was granted");
    if (budget != nullptr) budget->Give(paid);
  }

  int32_t bytes_ = kInitialBytes;
  int32_t given_up_ = 0;  // growth that was lost and is not paid back yet
  int32_t untold_ = 0;    // bytes read and not yet returned by a WINDOW_UPDATE
  bool started_ = false;
  size_t read_ = 0;  // since since_
  MonotonicTime since_;
};

}  // namespace trunkline
