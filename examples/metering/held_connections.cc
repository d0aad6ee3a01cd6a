#include "examples/metering/held_connections.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <utility>

#include "absl/time/time.h"

namespace trunkline::metering {
namespace {

// Every 10 ms: 2,000 a second, a pace that leaves the accept queues to the readings.
constexpr int kOpensAPass = 20;
// Those that were cut off come back over this span, so that they do not come back as one wave.
constexpr double kReopenSpanSeconds = 5;

}  // namespace

HeldConnections::HeldConnections(int epoll, const std::vector<SocketAddress>& targets,
                                 size_t wanted, uint64_t seed)
    : epoll_(epoll), targets_(targets), random_(Mix(seed ^ wanted)), connections_(wanted) {
  for (uint32_t i = 0; i < wanted; ++i) due_.push({MonotonicTime(), i});
}

void HeldConnections::Open(MonotonicTime now) {
  for (int i = 0; i < kOpensAPass && !due_.empty() && due_.top().at <= now; ++i) {
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
