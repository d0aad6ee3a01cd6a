// Two ends of one loopback connection. The test's end has blocking calls with a timeout.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>

#include "common/base/unique_fd.h"
#include "common/net/socket.h"

namespace trunkline::test {

inline constexpr int kPatienceMillis = 20'000;

inline bool WaitFor(int fd, short events, int millis = kPatienceMillis) {
  pollfd wait{.fd = fd, .events = events};
  return poll(&wait, 1, millis) == 1;
}

// How a stream of bytes ends, as its reader sees it.
enum class Ending { kFin, kReset, kNone };

inline std::ostream& operator<<(std::ostream& out, Ending ending) {
  return out << (ending == Ending::kFin ? "FIN" : ending == Ending::kReset ? "RST" : "nothing");
}

// A socket of a test: a client, a server, or a raw peer.
class Peer {
 public:
  Peer() = default;
  explicit Peer(UniqueFd fd) : fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }
  explicit operator bool() const { return static_cast<bool>(fd_); }

  // Returns false if the connection broke or the peer read nothing for long.
  bool Send(const std::string& bytes) {
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t n =
          send(fd(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) sent += static_cast<size_t>(n);
      if (n < 0 && errno != EAGAIN) return false;
      if (n < 0 && !WaitFor(fd(), POLLOUT)) return false;
    }
    return true;
  }
  // Sends the bytes that the kernel accepts without blocking.
  size_t SendWhatFits(const std::string& bytes) {
    const ssize_t n = send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    send_failed_ = n < 0 && errno != EAGAIN;
    return n > 0 ? static_cast<size_t>(n) : 0;
  }
  // Returns true if the last SendWhatFits found the connection broken.
  bool send_failed() const { return send_failed_; }
  // Reads up to `size` bytes; fewer at the end.
  std::string Read(size_t size) {
    std::string bytes;
    while (bytes.size() < size && ReadSome(bytes, size - bytes.size())) {
    }
    return bytes;
  }
  // Reads everything up to the end; ending() returns the kind of end.
  std::string ReadToEnd(int millis = kPatienceMillis) {
    std::string bytes;
    while (ReadSome(bytes, 1 << 16, millis)) {
    }
    return bytes;
  }
  // The end that the last Read found; kNone while the stream is open.
  Ending ending() const { return ending_; }

  void ShutdownWrite() { shutdown(fd(), SHUT_WR); }
  void Close() { fd_.Reset(); }
  void Reset() { CloseWithReset(std::move(fd_)); }

  size_t UnreadBytes() const { return Queue(FIONREAD); }
  size_t UnsentBytes() const { return Queue(TIOCOUTQ); }

 private:
  bool ReadSome(std::string& bytes, size_t most, int millis = kPatienceMillis) {
    char piece[1 << 16];
    if (!WaitFor(fd(), POLLIN, millis)) return false;
    const ssize_t n = recv(fd(), piece, std::min(most, sizeof piece), MSG_DONTWAIT);
    if (n > 0) {
      bytes.append(piece, static_cast<size_t>(n));
      return true;
    }
    if (n < 0 && errno == EAGAIN) return true;
    ending_ = n == 0 ? Ending::kFin : Ending::kReset;
    return false;
  }
  size_t Queue(unsigned long what) const {
    int bytes = 0;
    ioctl(fd(), what, &bytes);
    return static_cast<size_t>(bytes);
  }

  UniqueFd fd_;
  Ending ending_ = Ending::kNone;
  bool send_failed_ = false;
};

// Connects within kPatienceMillis; empty if that fails.
inline Peer ConnectPeer(const Address& address, int receive_buffer = 0) {
  const auto where = ResolveAddress(address);
  if (!where.ok()) return Peer();
  UniqueFd fd(socket(where->family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (receive_buffer > 0) {
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  }
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&where->storage), where->size) != 0) {
    return Peer();
  }
  return Peer(std::move(fd));
}

inline Peer AcceptPeer(int listener, int millis = kPatienceMillis) {
  if (!WaitFor(listener, POLLIN, millis)) return Peer();
  return Peer(UniqueFd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)));
}

// A port of 127.0.0.1 that refuses connects and stays reserved while this object lives.
class RefusingPort {
 public:
  RefusingPort() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(fd_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
  }
  Address address() const {
    return {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(fd_.get()))};
  }

 private:
  UniqueFd fd_;
};

// A non-blocking end for the code under test and a peer for the test.
inline std::pair<UniqueFd, Peer> TcpPair(int peers_receive_buffer = 0) {
  auto listener = ListenOn({.host = "127.0.0.1", .port = 0});
  EXPECT_TRUE(listener.ok());
  const int port = BoundPort(listener->get());
  Peer peer =
      ConnectPeer({.host = "127.0.0.1", .port = static_cast<uint16_t>(port)}, peers_receive_buffer);
  EXPECT_TRUE(WaitFor(listener->get(), POLLIN));
  UniqueFd fd(accept4(listener->get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  return {std::move(fd), std::move(peer)};
}

}  // namespace trunkline::test
