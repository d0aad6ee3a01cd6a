#include "dataplane/flow/lingering_closes.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "common/net/timer_wheel.h"

namespace trunkline {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
// Bounds one pass; the rest is read in the next pass.
constexpr int kReadsPerPass = 16;

// Reads and discards what has arrived. Returns false if the client has ended its side or the
// connection is broken.
bool DropWhatCame(int fd) {
  thread_local std::vector<uint8_t> buffer(kReadBytes);
  for (int i = 0; i < kReadsPerPass; ++i) {
    const ssize_t n = recv(fd, buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  }
  return true;
}

}  // namespace

class LingeringCloses::Socket final : public EventHandler {
 public:
  Socket(LingeringCloses* owner, UniqueFd fd) : owner_(owner), fd_(std::move(fd)) {}

  // Level-triggered, so that the next pass finds what this one leaves.
  bool Watch(EventLoop& loop, absl::Duration patience) {
    loop.Arm(timer_, patience);
    return loop.Add(fd_.get(), EPOLLIN | EPOLLRDHUP, this).ok();
  }

 private:
  void OnEvents(uint32_t) override {
    if (fd_ && !DropWhatCame(fd_.get())) End();
  }
  void End() {
    timer_.Cancel();
    fd_.Reset();
    owner_->Remove(*this);
  }

  LingeringCloses* const owner_;
  UniqueFd fd_;
  MemberTimer<Socket, &Socket::End> timer_{this};
};

LingeringCloses::LingeringCloses(EventLoop& loop, absl::Duration patience)
    : loop_(loop), patience_(patience) {}

LingeringCloses::~LingeringCloses() = default;

void LingeringCloses::Add(UniqueFd client) {
  shutdown(client.get(), SHUT_WR);
  if (!DropWhatCame(client.get()) || sockets_.size() >= kMost) return;
  auto socket = std::make_unique<Socket>(this, std::move(client));
  if (socket->Watch(loop_, patience_)) sockets_.push_back(std::move(socket));
}

void LingeringCloses::Remove(Socket& socket) {
  const auto it = std::find_if(sockets_.begin(), sockets_.end(),
                               [&](const auto& owned) { return owned.get() == &socket; });
  TRUNKLINE_CHECK(it != sockets_.end(), "a lingering socket is removed once");
  loop_.Retire(std::move(*it));
  sockets_.erase(it);
}

}  // namespace trunkline
