// What a client of `message` mode has not taken of its replies.
//
// Replies are sent as they come, and what the kernel does not take is kept here, counted in the
// service's gauge, with the age of its oldest byte. Made while there is something in it, so that an
// idle client pays for none. Its owner bounds it. Confined to its flow.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/net/backlog_age.h"
#include "common/net/output_buffer.h"
#include "common/net/socket.h"

namespace trunkline {

class ReplyBacklog {
 public:
  enum class Sent {
    kAll,
    kPart,    // the rest is kept
    kBroken,  // the client is gone
  };

  void BelongTo(Gauge* gauge) { share_.BelongTo(gauge); }

  bool empty() const { return kept_ == nullptr; }
  size_t bytes() const { return empty() ? 0 : kept_->size(); }
  // Not empty.
  MonotonicTime since() const { return kept_->age.since(); }

  // Behind what is kept.
  Sent Write(int fd, std::span<const uint8_t> bytes, MonotonicTime now) {
    if (empty()) {
      const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && !WouldBlock(errno)) return Sent::kBroken;
      bytes = bytes.subspan(n < 0 ? 0 : static_cast<size_t>(n));
      if (bytes.empty()) return Sent::kAll;
      kept_ = std::make_unique<Kept>();
    }
    kept_->Append(bytes.data(), bytes.size());
    Count(0, now);
    return Sent::kPart;
  }
  // What is kept; not empty.
  Sent Flush(int fd, MonotonicTime now) {
    while (!kept_->empty()) {
      const ssize_t n = send(fd, kept_->data(), kept_->size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return WouldBlock(errno) ? Sent::kPart : Sent::kBroken;
      kept_->Consume(static_cast<size_t>(n));
      Count(static_cast<size_t>(n), now);
    }
    kept_.reset();
    return Sent::kAll;
  }
  // The flow is over: nothing of it counts any more.
  void Uncount() { share_.Set(0); }

 private:
  struct Kept : OutputBuffer {
    BacklogAge age;
  };

  void Count(size_t taken, MonotonicTime now) {
    kept_->age.Update(taken, kept_->size(), now);
    share_.Set(kept_->size());
  }

  std::unique_ptr<Kept> kept_;
  GaugeShare share_;
};

}  // namespace trunkline
