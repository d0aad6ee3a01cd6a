#include "common/net/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/unique_fd.h"
#include "common/net/address.h"
#include "common/net/ip_port.h"

namespace trunkline {
namespace {

// The kernel accepts no more unsent bytes than this. The rest stays in user space, where a client's
// bytes are counted and a trunk's are scheduled. Without it a stalled client costs up to tcp_wmem
// (4 MiB).
constexpr int kUnsentLowatBytes = 128 * 1024;
constexpr int kTrunkUserTimeoutMillis = 10'000;
constexpr int kListenBacklog = 4096;  // the kernel lowers it to net.core.somaxconn

void SetFlag(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

absl::Status ListenError(const Address& address, const char* step, int error) {
  const std::string text =
      absl::StrCat("cannot ", step, " ", address.ToString(), ": ", ErrorText(error));
  if (error == EADDRINUSE) {
    return absl::AlreadyExistsError(
        absl::StrCat(text, "; another program listens there: stop it or choose another port"));
  }
  return absl::UnavailableError(text);
}

UniqueFd NewSocket(int family) {
  return UniqueFd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

const sockaddr* Raw(const SocketAddress& address) {
  return reinterpret_cast<const sockaddr*>(&address.storage);
}

bool IsLoopback(const SocketAddress& address) {
  constexpr uint32_t kNetwork = 127;
  constexpr int kHostBits = 24;
  if (address.family() == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&address.storage);
    return ntohl(in->sin_addr.s_addr) >> kHostBits == kNetwork;
  }
  const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
  return address.family() == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

SocketAddress UnixAddress(const std::string& path) {
  SocketAddress result;
  auto* un = reinterpret_cast<sockaddr_un*>(&result.storage);
  un->sun_family = AF_UNIX;
  std::strncpy(un->sun_path, path.c_str(), sizeof un->sun_path - 1);
  result.size = sizeof(sockaddr_un);
  return result;
}

bool IsIpv6Wildcard(const SocketAddress& address) {
  const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
  return address.family() == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

// Opens a socket that bind() and listen() follow. `address` is for the error.
absl::StatusOr<UniqueFd> OpenToListen(const Address& address, const SocketAddress& where,
                                      ListenFamilies families) {
  UniqueFd fd = NewSocket(where.family());
  if (!fd) return ListenError(address, "open a socket for", errno);
  if (address.is_unix()) return fd;
  SetFlag(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (families == ListenFamilies::kOwn && IsIpv6Wildcard(where)) {
    SetFlag(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  }
  return fd;
}

// The text behind the IP address: "%eth0", or nothing without a zone.
std::string ZoneText(uint32_t scope_id) {
  if (scope_id == 0) return "";
  char name[IF_NAMESIZE] = "";
  if (if_indextoname(scope_id, name) == nullptr) return absl::StrCat("%", scope_id);
  return absl::StrCat("%", name);
}

// `flags` are those of getaddrinfo.
absl::StatusOr<SocketAddress> Resolve(const Address& address, int flags) {
  if (address.is_unix()) {
    if (address.unix_path.size() >= sizeof(sockaddr_un::sun_path)) {
      return absl::InvalidArgumentError(absl::StrCat("unix socket path is longer than ",
                                                     sizeof(sockaddr_un::sun_path) - 1,
                                                     " bytes: ", address.unix_path));
    }
    return UnixAddress(address.unix_path);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV | (address.host.empty() ? AI_PASSIVE : 0);
  addrinfo* found = nullptr;
  const int rc = getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                             absl::StrCat(address.port).c_str(), &hints, &found);
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  if (rc != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot resolve ", address.ToString(), ": ", gai_strerror(rc)));
  }
  SocketAddress result;
  std::memcpy(&result.storage, found->ai_addr, found->ai_addrlen);
  result.size = found->ai_addrlen;
  return result;
}

// Where to listen. Does not look names up, because the caller must not wait for DNS.
absl::StatusOr<SocketAddress> OwnPlace(const Address& address) {
  absl::StatusOr<SocketAddress> where = Resolve(address, AI_NUMERICHOST);
  if (where.ok() || absl::IsInvalidArgument(where.status())) return where;
  return absl::UnavailableError(
      absl::StrCat("cannot listen on ", address.ToString(),
                   ": expected an IP address, and a zone, if any, that this machine has"));
}

// SO_REUSEPORT would let a second process share the port silently; a plain bind fails.
absl::Status CheckPortFree(const Address& address, const SocketAddress& where,
                           ListenFamilies families) {
  absl::StatusOr<UniqueFd> opened = OpenToListen(address, where, families);
  if (!opened.ok()) return opened.status();
  const UniqueFd& probe = *opened;
  if (bind(probe.get(), Raw(where), where.size) != 0)
    return ListenError(address, "listen on", errno);
  return absl::OkStatus();
}

// A socket file that refuses connects is left over from a crash. Connecting to any other kind of
// file is refused as well, so only a socket is ever removed.
absl::Status RemoveStaleUnixSocket(const Address& address, const SocketAddress& where) {
  struct stat info;
  if (lstat(address.unix_path.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode))
    return absl::OkStatus();
  UniqueFd probe = NewSocket(AF_UNIX);
  if (connect(probe.get(), Raw(where), where.size) == 0) {
    return ListenError(address, "listen on", EADDRINUSE);
  }
  if (errno == ECONNREFUSED) unlink(address.unix_path.c_str());
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> Listen(const Address& address, const SocketAddress& where,
                                ListenFamilies families, bool share) {
  absl::StatusOr<UniqueFd> opened = OpenToListen(address, where, families);
  if (!opened.ok()) return opened;
  UniqueFd fd = *std::move(opened);
  if (!address.is_unix()) {
    SetFlag(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    // Accepted sockets inherit these options.
    SetFlag(fd.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, kUnsentLowatBytes);
    if (share) SetFlag(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
  }
  if (bind(fd.get(), Raw(where), where.size) != 0) return ListenError(address, "listen on", errno);
  if (listen(fd.get(), kListenBacklog) != 0) return ListenError(address, "listen on", errno);
  return fd;
}

absl::StatusOr<std::vector<UniqueFd>> ListenTogether(const Address& address, SocketAddress where,
                                                     size_t count, ListenFamilies families) {
  std::vector<UniqueFd> sockets;
  while (sockets.size() < count) {
    absl::StatusOr<UniqueFd> fd = Listen(address, where, families, /*share=*/true);
    if (!fd.ok()) return fd.status();
    // The first socket resolves port 0 for the others.
    where.size = sizeof where.storage;
    getsockname(fd->get(), reinterpret_cast<sockaddr*>(&where.storage), &where.size);
    sockets.push_back(*std::move(fd));
  }
  return sockets;
}

ConnectResult Connect(UniqueFd fd, const SocketAddress& address) {
  if (!fd) return {.fd = UniqueFd(), .state = ConnectState::kFailed, .error = errno};
  if (connect(fd.get(), Raw(address), address.size) == 0) {
    return {.fd = std::move(fd), .state = ConnectState::kConnected};
  }
  // Over loopback the connect is settled by now, so an established connection needs no event. A
  // failed one reports its error by an event; a second connect() would clear that error.
  if (errno == EINPROGRESS) {
    const bool settled = IsLoopback(address) && IsConnected(fd.get());
    return {.fd = std::move(fd),
            .state = settled ? ConnectState::kConnected : ConnectState::kInProgress};
  }
  if (errno == EAGAIN && address.family() == AF_UNIX) {
    return {.fd = UniqueFd(), .state = ConnectState::kRetryLater, .error = EAGAIN};
  }
  return {.fd = UniqueFd(), .state = ConnectState::kFailed, .error = errno};
}

}  // namespace

std::string ErrorText(int error) { return std::generic_category().message(error); }

std::string SocketAddress::ToString() const {
  char host[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&storage);
    inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
    return absl::StrCat(host, ":", ntohs(in->sin_port));
  }
  if (family() == AF_INET6) {
    const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
    return absl::StrCat("[", host, ZoneText(in6->sin6_scope_id), "]:", ntohs(in6->sin6_port));
  }
  return absl::StrCat("unix:", reinterpret_cast<const sockaddr_un*>(&storage)->sun_path);
}

absl::StatusOr<SocketAddress> ResolveAddress(const Address& address) {
  return Resolve(address, /*flags=*/0);
}

absl::StatusOr<UniqueFd> ListenOn(const Address& address) {
  absl::StatusOr<SocketAddress> where = OwnPlace(address);
  if (!where.ok()) return where.status();
  if (address.is_unix()) {
    if (absl::Status free = RemoveStaleUnixSocket(address, *where); !free.ok()) return free;
  }
  return Listen(address, *where, ListenFamilies::kBoth, /*share=*/false);
}

absl::StatusOr<std::vector<UniqueFd>> ListenOnShared(const Address& address, size_t count,
                                                     ListenFamilies families) {
  if (address.is_unix()) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected host:port to listen on; got ", address.ToString()));
  }
  absl::StatusOr<SocketAddress> where = OwnPlace(address);
  if (!where.ok()) return where.status();
  if (address.port != 0) {
    if (absl::Status free = CheckPortFree(address, *where, families); !free.ok()) return free;
  }
  return ListenTogether(address, *where, count, families);
}

absl::StatusOr<std::vector<UniqueFd>> ListenBesideOwn(const Address& address, size_t count,
                                                      ListenFamilies families) {
  absl::StatusOr<SocketAddress> where = OwnPlace(address);
  if (!where.ok()) return where.status();
  return ListenTogether(address, *where, count, families);
}

absl::StatusOr<UniqueFd> CopyOf(const UniqueFd& socket) {
  UniqueFd copy(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (copy) return copy;
  return absl::ResourceExhaustedError(
      absl::StrCat("no descriptor for a copy of the socket of port ", BoundPort(socket.get()), ": ",
                   ErrorText(errno), "; raise the limit on open files"));
}

int BoundPort(int fd) {
  SocketAddress bound;
  bound.size = sizeof bound.storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.size) != 0) return 0;
  if (bound.family() == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in*>(&bound.storage)->sin_port);
  }
  if (bound.family() == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&bound.storage)->sin6_port);
  }
  return 0;
}

IpPort PeerAddress(int fd) {
  SocketAddress peer;
  peer.size = sizeof peer.storage;
  const int rc = getpeername(fd, reinterpret_cast<sockaddr*>(&peer.storage), &peer.size);
  return rc == 0 ? IpPortOf(Raw(peer)) : IpPort();
}

IpPort OwnAddress(int fd) {
  SocketAddress own;
  own.size = sizeof own.storage;
  const int rc = getsockname(fd, reinterpret_cast<sockaddr*>(&own.storage), &own.size);
  return rc == 0 ? IpPortOf(Raw(own)) : IpPort();
}

ConnectResult ConnectTo(const SocketAddress& address) {
  UniqueFd fd = NewSocket(address.family());
  if (fd && address.family() != AF_UNIX) SetNoDelay(fd.get());
  return Connect(std::move(fd), address);
}

ConnectResult ConnectToSend(const SocketAddress& address) {
  UniqueFd fd = NewSocket(address.family());
  if (fd && address.family() != AF_UNIX) SetFlag(fd.get(), IPPROTO_TCP, TCP_QUICKACK, 0);
  return Connect(std::move(fd), address);
}

void AcknowledgeConnect(int fd) { SetFlag(fd, IPPROTO_TCP, TCP_QUICKACK, 1); }

void SetNoDelay(int fd) { SetFlag(fd, IPPROTO_TCP, TCP_NODELAY, 1); }

void SetKeepalive(int fd, const Keepalive& keepalive) {
  const bool on = keepalive.idle > absl::ZeroDuration();
  SetFlag(fd, SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0);
  if (!on) return;
  SetFlag(fd, IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(absl::ToInt64Seconds(keepalive.idle)));
  SetFlag(fd, IPPROTO_TCP, TCP_KEEPINTVL,
          static_cast<int>(absl::ToInt64Seconds(keepalive.interval)));
  SetFlag(fd, IPPROTO_TCP, TCP_KEEPCNT, keepalive.count);
}

bool IsConnected(int fd) {
  sockaddr_storage peer;
  socklen_t size = sizeof peer;
  return getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0;
}

int SocketError(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

void CloseWithReset(UniqueFd fd) {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

size_t QueuedToSend(int fd) {
  int bytes = 0;
  return ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<size_t>(bytes) : 0;
}

TcpPath PathOf(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return {};
  return {.round_trip = absl::Microseconds(info.tcpi_rtt),
          .resent_segments = info.tcpi_total_retrans};
}

void SetTrunkOptions(int fd) {
  SetFlag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetFlag(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kUnsentLowatBytes);
  SetFlag(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kTrunkUserTimeoutMillis);
}

}  // namespace trunkline
