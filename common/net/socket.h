// Socket system calls. All sockets are non-blocking and close-on-exec. Only ResolveAddress looks up
// host names: the calls that listen refuse them, because they must not wait for DNS.
// Errors are a Status that names the address and the system's reason. Stateless; thread-safe.
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

// A resolved address in the kernel's form, for Connect*. It keeps what the compact IpPort cannot:
// an IPv6 scope id, and the path of a unix socket.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  int family() const { return storage.ss_family; }
  std::string ToString() const;
};
// Looks the host's name up. Blocks: never call it on a worker's loop.
absl::StatusOr<SocketAddress> ResolveAddress(const Address& address);

// TCP_NODELAY and SO_REUSEADDR are set and inherited by accepted sockets. A stale unix socket file
// is replaced. ALREADY_EXISTS: another socket listens there.
absl::StatusOr<UniqueFd> ListenOn(const Address& address);

// The families that a socket on [::] accepts. With kOwn a socket on 0.0.0.0 may listen beside it.
enum class ListenFamilies { kBoth, kOwn };

// `count` sockets on one TCP address, one per worker; the kernel spreads connections over them.
// ALREADY_EXISTS: another process listens there. SO_REUSEPORT alone would silently share with it.
absl::StatusOr<std::vector<UniqueFd>> ListenOnShared(
    const Address& address, size_t count, ListenFamilies families = ListenFamilies::kBoth);

// As ListenOnShared, while this process listens on the port already with sockets that it will
// close, for example on 0.0.0.0 and now on 127.0.0.1. Both listen until then. Does not detect
// another process of the same user that also uses SO_REUSEPORT.
absl::StatusOr<std::vector<UniqueFd>> ListenBesideOwn(
    const Address& address, size_t count, ListenFamilies families = ListenFamilies::kBoth);

// Another descriptor of the same socket. RESOURCE_EXHAUSTED: no descriptor is left.
absl::StatusOr<UniqueFd> CopyOf(const UniqueFd& socket);

// The port to which a socket is bound; 0 for a unix socket.
int BoundPort(int fd);

// The peer's and the local address of a TCP connection; unknown if it is broken or not TCP.
IpPort PeerAddress(int fd);
IpPort OwnAddress(int fd);

// Returns true for an errno that means that there is nothing to read or no room to write.
inline bool WouldBlock(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

// Returns true for an errno that means that this machine can open or watch no socket at all: it
// lacks a descriptor, memory or an epoll watch. No peer is at fault, and it may pass.
inline bool IsShortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
         error == ENOSPC;
}

enum class ConnectState {
  kConnected,
  kInProgress,  // wait for EPOLLOUT, then check SocketError
  kRetryLater,  // unix: the server's accept queue is full
  kFailed,      // `error` has the errno
};
struct ConnectResult {
  UniqueFd fd;
  ConnectState state;
  int error = 0;
};
ConnectResult ConnectTo(const SocketAddress& address);

// As ConnectTo, for a caller that usually has bytes to send: over TCP the last acknowledgement of
// the handshake travels with them, which saves a packet, and an event at the server. A caller
// without bytes must call AcknowledgeConnect; otherwise a server that speaks first waits 200 ms.
// Nagle's delay is still on: call SetNoDelay before the second send.
ConnectResult ConnectToSend(const SocketAddress& address);
void AcknowledgeConnect(int fd);
void SetNoDelay(int fd);

// Returns true if the connect is complete and no reset has ended the connection since.
bool IsConnected(int fd);

// Returns SO_ERROR, which the call clears; 0 if there is no error.
int SocketError(int fd);

// TCP keepalive, which notices that a peer is gone although nothing is sent. A connection without
// traffic for `idle` is probed once per `interval`; `count` probes without an answer end it. Whole
// seconds. An `idle` of zero turns it off.
struct Keepalive {
  absl::Duration idle = absl::Minutes(1);
  absl::Duration interval = absl::Seconds(10);
  int count = 6;
};
// Sockets that a listening one accepts inherit its setting.
void SetKeepalive(int fd, const Keepalive& keepalive);

// Closes with RST instead of FIN, so that the peer does not take a broken stream for a complete
// one.
void CloseWithReset(UniqueFd fd);

// Sent bytes that the peer has not acknowledged; 0 if the kernel does not report them.
size_t QueuedToSend(int fd);

// Options of a long-lived connection between Trunkline's programs: no Nagle delay, little unsent
// data in the kernel so that the program schedules it, and a timeout for unacknowledged data.
void SetTrunkOptions(int fd);

// The kernel's measurements of a TCP connection; all zero for other sockets.
struct TcpPath {
  absl::Duration round_trip;  // smoothed
  uint64_t resent_segments = 0;
};
TcpPath PathOf(int fd);

// The text of an errno, such as "Connection refused".
std::string ErrorText(int error);

}  // namespace trunkline
