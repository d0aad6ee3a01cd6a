// Sockets, the raw calls in one place. All are non-blocking and close-on-exec.
//
// Errors are Status with the address and the system's word for what went wrong. Thread-safe: no
// state.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/unique_fd.h"
#include "common/net/address.h"
#include "common/net/ip_port.h"

namespace trunkline {

// Name look-up; blocks, so never on a worker's loop. The result is usable with Connect*.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  int family() const { return storage.ss_family; }
  std::string ToString() const;
};
absl::StatusOr<SocketAddress> ResolveAddress(const Address& address);

// TCP_NODELAY and SO_REUSEADDR are set and inherited by accepted sockets. A stale unix socket file
// is replaced, a live one is an error. ALREADY_EXISTS: somebody listens there.
absl::StatusOr<UniqueFd> ListenOn(const Address& address);

// `count` sockets on one TCP address, one a worker; the kernel spreads connections over them.
// Another process that listens there is an error, though SO_REUSEPORT by itself would share with it
// silently.
absl::StatusOr<std::vector<UniqueFd>> ListenOnShared(const Address& address, size_t count);

// As ListenOnShared, where this process listens on the port already, by sockets that it will close:
// on 0.0.0.0, and now on 127.0.0.1. Both listen until then. What is not seen: another process of
// the same user that shares ports, too.
absl::StatusOr<std::vector<UniqueFd>> ListenBesideOwn(const Address& address, size_t count);

// The port that a socket is bound to; 0 for a unix socket.
int BoundPort(int fd);

// Whom a TCP connection is with, and its own end. Not known: it is broken already, or not TCP.
IpPort PeerAddress(int fd);
IpPort OwnAddress(int fd);

// Of an errno: there is nothing to read, or no room to write to, yet.
inline bool WouldBlock(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

enum class ConnectState {
  kConnected,
  kInProgress,  // wait for EPOLLOUT, then look at SocketError
  kRetryLater,  // unix: the server's accept queue is full
  kFailed,      // errno tells
};
struct ConnectResult {
  UniqueFd fd;
  ConnectState state;
  int error = 0;
};
ConnectResult ConnectTo(const SocketAddress& address);

// As ConnectTo, for a caller that has bytes to send as a rule: over TCP the last acknowledgement of
// the handshake goes out with them instead of before them, which saves a packet, and the server an
// event. Where there are none after all, AcknowledgeConnect must be called: a server that speaks
// first would wait a fifth of a second. Nagle's delay is not off: SetNoDelay before the second
// send.
ConnectResult ConnectToSend(const SocketAddress& address);
void AcknowledgeConnect(int fd);
void SetNoDelay(int fd);

// It has a peer: the connect is through, and no reset has ended it since.
bool IsConnected(int fd);

// SO_ERROR, cleared by reading; 0: none.
int SocketError(int fd);

// Closes with RST instead of FIN, so that the peer does not take a broken stream for a whole one.
void CloseWithReset(UniqueFd fd);

// What the kernel has of our bytes that the peer has not acknowledged; 0 where it does not say.
size_t QueuedToSend(int fd);

// What a long-lived connection between Trunkline's parts has: no Nagle delay, little unsent data in
// the kernel (so that scheduling stays ours), and an end to unacknowledged silence.
void SetTrunkOptions(int fd);

// What the kernel knows of the way of a TCP connection; all zero: it has none.
struct TcpPath {
  absl::Duration round_trip;  // smoothed
  uint64_t resent_segments = 0;
};
TcpPath PathOf(int fd);

// What errno said, as "Connection refused".
std::string ErrorText(int error);

}  // namespace trunkline
