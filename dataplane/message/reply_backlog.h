// The buffered replies of one client in `message` mode.
//
// Replies go to the kernel as they come. The backlog buffers what the kernel does not take, counts
// it in the worker's gauge and knows for how long its front has waited. Its memory is allocated
// while it is not empty, so an idle client costs none. Unbounded by itself: slow_reader_rule.h and
// the memory budget bound it. Confined to its flow.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/net/backlog_age.h"
#include "common/net/socket.h"
#include "dataplane/message/block_queue.h"

namespace trunkline {

class ReplyBacklog {
 public:
  enum class Sent {
    kAll,
    kPart,    // the rest is buffered
    kBroken,  // the client's connection failed
  };

  void BelongTo(Gauge* gauge) { share_.BelongTo(gauge); }

  bool empty() const { return buffer_ == nullptr; }
  size_t bytes() const { return empty() ? 0 : buffer_->size(); }
  // The time since which the front has waited: the arrival of the oldest byte or, if more than
  // kAgedBytes are buffered, the time at which the previous kAgedBytes had been taken. A client
  // that reads keeps it recent, however much is buffered. Requires !empty().
  MonotonicTime since() const { return buffer_->age.since(); }

  // Sends `bytes` behind those that are buffered.
  Sent Write(int fd, std::span<const uint8_t> bytes, MonotonicTime now) {
    if (empty()) {
      const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && !WouldBlock(errno)) return Sent::kBroken;
      bytes = bytes.subspan(n < 0 ? 0 : static_cast<size_t>(n));
      if (bytes.empty()) return Sent::kAll;
      buffer_ = std::make_unique<Buffer>();
    }
    buffer_->Append(bytes);
    Count(0, now);
    return Sent::kPart;
  }
  // Sends buffered bytes. Requires !empty().
  Sent Flush(int fd, MonotonicTime now) {
    while (!buffer_->empty()) {
      const std::span<const uint8_t> front = buffer_->front();
      const ssize_t n = send(fd, front.data(), front.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return WouldBlock(errno) ? Sent::kPart : Sent::kBroken;
      buffer_->Consume(static_cast<size_t>(n));
      Count(static_cast<size_t>(n), now);
    }
    buffer_.reset();
    return Sent::kAll;
  }
  // Takes the bytes off the gauge when the flow is done.
  void Uncount() { share_.Set(0); }

 private:
  // The bytes whose age is that of the backlog: the smallest window of a client, to which the rule
  // for stalled clients refers.
  static constexpr size_t kAgedBytes = 64 * 1024;
  struct Buffer : BlockQueue {
    BacklogAge age;
  };

  void Count(size_t taken, MonotonicTime now) {
    buffer_->age.Update(taken, std::min(buffer_->size(), kAgedBytes), now);
    share_.Set(buffer_->size());
  }

  std::unique_ptr<Buffer> buffer_;
  GaugeShare share_;
};

}  // namespace trunkline
