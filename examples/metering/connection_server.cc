#include "examples/metering/connection_server.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "examples/metering/frame.h"

namespace trunkline::metering {
namespace {

constexpr int kEventsPerPass = 256;
// Limits how long established peers wait for a burst of accepts.
constexpr int kAcceptsPerPass = 64;
// Holds one frame and the start of the next, so that whole frames are handled in place.
constexpr size_t kReadBytes = 2 * kMaxMessageBytes;
static_assert(kReadBytes > kFrameHeaderBytes + kMaxMessageBytes);
// After an accept failed for lack of descriptors or memory, accepting pauses this long.
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);

constexpr uint64_t kWakeKey = uint64_t{1} << 63;
constexpr uint64_t kListenerKey = uint64_t{1} << 62;

int FdOf(ConnectionId id) { return static_cast<int>(id & 0xffffffff); }
uint32_t GenerationOf(ConnectionId id) { return static_cast<uint32_t>(id >> 32); }
ConnectionId IdOf(int fd, uint32_t generation) {
  return uint64_t{generation} << 32 | static_cast<uint32_t>(fd);
}

}  // namespace

ConnectionServer::ConnectionServer(Options options, FrameHandler handler, size_t max_fds)
    : options_(std::move(options)),
      handler_(std::move(handler)),
      connections_(max_fds),
      idle_(static_cast<int>(max_fds)),
      read_buffer_(kReadBytes),
      generations_(max_fds) {}

ConnectionServer::~ConnectionServer() {
  for (size_t fd = 0; fd < connections_.size(); ++fd) {
    if (connections_[fd].open) Close(static_cast<int>(fd));
  }
  for (const Address& address : addresses_) {
    if (address.is_unix()) unlink(address.unix_path.c_str());
  }
}

absl::StatusOr<std::unique_ptr<ConnectionServer>> ConnectionServer::Listen(Options options,
                                                                           FrameHandler handler) {
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  std::unique_ptr<ConnectionServer> server(
      new ConnectionServer(std::move(options), std::move(handler), limit.rlim_cur));
  if (absl::Status status = server->Watch(); !status.ok()) return status;
  return server;
}

absl::Status ConnectionServer::Watch() {
  epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  wake_.Reset(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!epoll_ || !wake_) {
    return absl::UnavailableError(absl::StrCat("epoll: ", strerror(errno)));
  }
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kWakeKey}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
  for (Address address : options_.listen) {
    absl::StatusOr<UniqueFd> socket = ListenOn(address);
    if (!socket.ok()) return socket.status();
    event.data.u64 = kListenerKey | static_cast<uint32_t>(socket->get());
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket->get(), &event);
    if (!address.is_unix()) address.port = static_cast<uint16_t>(BoundPort(socket->get()));
    listeners_.push_back(*std::move(socket));
    addresses_.push_back(std::move(address));
  }
  return absl::OkStatus();
}

size_t ConnectionServer::Run(absl::Duration grace) {
  now_ = MonotonicNow();
  while (!stopping_.load(std::memory_order_acquire)) OnePass(MonotonicTime::Infinite());
  PauseAccepting(true);
  const MonotonicTime deadline = MonotonicNow() + grace;
  while (unanswered_ > 0 && now_ < deadline) OnePass(deadline);
  return unanswered_;
}

bool ConnectionServer::MayResumeAccepting() const {
  return accepting_paused_ && !stopping_ && open_connections_ < options_.max_connections;
}

MonotonicTime ConnectionServer::NextAlarm() const {
  const MonotonicTime idle = idle_.OldestTouch() + options_.idle_timeout;
  return MayResumeAccepting() ? std::min(idle, accept_again_at_) : idle;
}

void ConnectionServer::OnePass(MonotonicTime until) {
  epoll_event events[kEventsPerPass];
  const absl::Duration wait = std::min(until, NextAlarm()) - MonotonicNow();
  const timespec timeout = absl::ToTimespec(std::max(wait, absl::ZeroDuration()));
  const int ready = epoll_pwait2(epoll_.get(), events, kEventsPerPass, &timeout, nullptr);
  now_ = MonotonicNow();
  for (int i = 0; i < ready; ++i) {
    const uint64_t key = events[i].data.u64;
    if (key == kWakeKey) {
      DeliverReplies();
    } else if (key & kListenerKey) {
      Accept(static_cast<int>(key & ~kListenerKey));
    } else {
      Serve(key, events[i].events);
    }
  }
  CloseIdle(now_);
  if (MayResumeAccepting() && now_ >= accept_again_at_) PauseAccepting(false);
}

void ConnectionServer::Accept(int listener) {
  for (int i = 0; i < kAcceptsPerPass; ++i) {
    if (accepting_paused_) return;
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      // Out of descriptors or memory: the peer stays in the listen queue, which would wake this
      // loop again at once.
      if (IsShortage(errno)) PauseAccepting(true);
      return;
    }
    Connection& connection = connections_[fd];
    connection.generation = generations_[fd].load(std::memory_order_relaxed) + 1;
    generations_[fd].store(connection.generation, std::memory_order_release);
    connection.open = true;
    ++open_connections_;
    idle_.Touch(fd, now_);
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                      .data = {.u64 = IdOf(fd, connection.generation)}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      Close(fd);
      continue;
    }
    if (open_connections_ >= options_.max_connections) PauseAccepting(true);
    Read(fd);  // a short request has often arrived already
  }
}

void ConnectionServer::PauseAccepting(bool pause) {
  accepting_paused_ = pause;
  accept_again_at_ = now_ + kAcceptPause;
  for (const UniqueFd& listener : listeners_) {
    epoll_event event{.events = pause ? 0u : static_cast<uint32_t>(EPOLLIN),
                      .data = {.u64 = kListenerKey | static_cast<uint32_t>(listener.get())}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, listener.get(), &event);
  }
}

void ConnectionServer::Serve(ConnectionId id, uint32_t events) {
  if (Find(id) == nullptr) return;  // closed earlier in this pass
  const int fd = FdOf(id);
  if (events & (EPOLLHUP | EPOLLERR)) return Close(fd);
  if ((events & EPOLLOUT) && !connections_[fd].out.empty()) {
    Send(fd, "");
    if (Find(id) == nullptr) return;
  }
  if (events & EPOLLRDHUP) connections_[fd].peer_finishes = true;
  if (events & (EPOLLIN | EPOLLRDHUP)) Read(fd);
}

void ConnectionServer::Read(int fd) {
  while (true) {
    Connection& connection = connections_[fd];
    // Backpressure: with too many unanswered frames the socket is read again after answers left.
    if (connection.peer_finished || connection.unanswered >= options_.max_unanswered) return;
    const size_t kept = connection.in.size();
    std::copy(connection.in.begin(), connection.in.end(), read_buffer_.begin());
    const size_t space = read_buffer_.size() - kept;
    const ssize_t got = recv(fd, read_buffer_.data() + kept, space, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) return Close(fd);
    if (got == 0) {
      connection.peer_finished = true;
      return CloseWhenDone(fd);
    }
    idle_.Touch(fd, now_);
    connection.in.clear();
    if (!TakeFrames(fd, {read_buffer_.data(), kept + static_cast<size_t>(got)})) return;
    // Drained; new bytes raise another event. An end that was reported with these bytes does not.
    if (static_cast<size_t>(got) < space && !connection.peer_finishes) return;
  }
}

bool ConnectionServer::TakeFrames(int fd, std::string_view bytes) {
  Connection& connection = connections_[fd];
  const ConnectionId id = IdOf(fd, connection.generation);
  while (connection.unanswered < options_.max_unanswered) {
    absl::StatusOr<std::optional<std::string_view>> message = TakeFrame(&bytes);
    if (message.ok() && !message->has_value()) break;
    absl::Status status = message.ok() ? handler_(id, **message) : message.status();
    if (!status.ok()) {
      Close(fd);
      return false;
    }
    ++connection.unanswered;
    ++unanswered_;
  }
  connection.in.assign(bytes);
  return true;
}

void ConnectionServer::DeliverReplies() {
  uint64_t count = 0;
  (void)!read(wake_.get(), &count, sizeof count);
  std::vector<Reply> replies;
  {
    absl::MutexLock lock(&mutex_);
    replies.swap(replies_);
  }
  for (Reply& reply : replies) {
    --unanswered_;
    Connection* connection = Find(reply.connection);
    if (connection == nullptr) continue;
    const bool was_full = connection->unanswered-- >= options_.max_unanswered;
    const int fd = FdOf(reply.connection);
    Send(fd, std::move(reply.frame));
    if (Find(reply.connection) == nullptr) continue;
    // Frames already read come first, then the bytes in the socket.
    if (was_full && !TakeFrames(fd, std::exchange(connection->in, {}))) continue;
    if (was_full) Read(fd);
    if (Find(reply.connection) != nullptr) CloseWhenDone(fd);
  }
}

void ConnectionServer::Send(int fd, std::string frame) {
  Connection& connection = connections_[fd];
  if (!connection.out.empty()) frame = connection.out + frame;
  size_t sent = 0;
  while (sent < frame.size()) {
    const ssize_t n = send(fd, frame.data() + sent, frame.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) return Close(fd);
    sent += static_cast<size_t>(n);
  }
  connection.out.assign(frame, sent);
  idle_.Touch(fd, now_);
  CloseWhenDone(fd);
}

void ConnectionServer::CloseWhenDone(int fd) {
  const Connection& connection = connections_[fd];
  if (connection.peer_finished && connection.unanswered == 0 && connection.out.empty()) Close(fd);
}

void ConnectionServer::Close(int fd) {
  Connection& connection = connections_[fd];
  generations_[fd].store(connection.generation + 1, std::memory_order_release);
  idle_.Remove(fd);
  connection = Connection{.generation = connection.generation};
  --open_connections_;
  close(fd);
}

void ConnectionServer::CloseIdle(MonotonicTime now) {
  const MonotonicTime limit = now - options_.idle_timeout;
  for (int fd = idle_.OldestBefore(limit); fd >= 0; fd = idle_.OldestBefore(limit)) {
    if (connections_[fd].unanswered > 0 && connections_[fd].out.empty()) {
      idle_.Touch(fd, now);  // the peer waits for this server
    } else {
      Close(fd);
    }
  }
}

ConnectionServer::Connection* ConnectionServer::Find(ConnectionId id) {
  Connection& connection = connections_[FdOf(id)];
  return connection.open && connection.generation == GenerationOf(id) ? &connection : nullptr;
}

void ConnectionServer::Stop() {
  stopping_.store(true, std::memory_order_release);
  Answer({});
}

void ConnectionServer::Answer(std::vector<Reply> replies) {
  {
    absl::MutexLock lock(&mutex_);
    std::move(replies.begin(), replies.end(), std::back_inserter(replies_));
  }
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof one);
}

bool ConnectionServer::StillOpen(ConnectionId id) const {
  return generations_[FdOf(id)].load(std::memory_order_acquire) == GenerationOf(id);
}

}  // namespace trunkline::metering
