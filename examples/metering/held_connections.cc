#include "examples/metering/held_connections.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/net/socket.h"
#include "examples/metering/random_bits.h"

namespace trunkline::metering {
namespace {

// Together 10,000 connections per second, which leaves the accept queues to the readings.
constexpr int kOpensPerBatch = 20;
constexpr absl::Duration kBatchGap = absl::Milliseconds(2);
// Lost connections are reopened over this span, so that they do not arrive as one wave.
constexpr double kReopenSpanSeconds = 5;

}  // namespace

HeldConnections::HeldConnections(int epoll, const std::vector<SocketAddress>& targets,
                                 size_t wanted, uint64_t seed)
    : epoll_(epoll), targets_(targets), random_(Mix(seed ^ wanted)), connections_(wanted) {
  for (uint32_t i = 0; i < wanted; ++i) due_.push({MonotonicTime(), i});
}

MonotonicTime HeldConnections::next_open() const {
  return due_.empty() ? MonotonicTime::Infinite() : std::max(due_.top().at, next_batch_);
}

void HeldConnections::Open(MonotonicTime now) {
  if (now < next_open()) return;
  next_batch_ = now + kBatchGap;
  for (int i = 0; i < kOpensPerBatch && !due_.empty() && due_.top().at <= now; ++i) {
    const uint32_t index = due_.top().index;
    due_.pop();
    ConnectResult result = ConnectTo(targets_[index % targets_.size()]);
    if (!result.fd) {
      Lost(index, now);
      continue;
    }
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                      .data = {.u64 = kKey | index}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, result.fd.get(), &event);
    connections_[index].fd = std::move(result.fd);
  }
}

void HeldConnections::Serve(uint64_t key, uint32_t events, MonotonicTime now) {
  const auto index = static_cast<uint32_t>(key & ~kKey);
  Connection& connection = connections_[index];
  if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) return Lost(index, now);
  if ((events & EPOLLOUT) && !connection.established) {
    connection.established = true;
    ++open_;
  }
}

void HeldConnections::Lost(uint32_t index, MonotonicTime now) {
  Connection& connection = connections_[index];
  if (connection.established) {
    --open_;
    ++reopened_;
  }
  connection = Connection();
  due_.push({now + absl::Seconds(random_.Uniform() * kReopenSpanSeconds), index});
}

}  // namespace trunkline::metering
