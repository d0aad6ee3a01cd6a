#include "tests/dataplane/whole/local_server.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline::test {
namespace {

absl::StatusOr<UniqueFd> Listen(const Address& address) {
  if (address.is_unix()) return ListenOn(address);
  auto sockets = ListenOnShared(address, 1);
  if (!sockets.ok()) return sockets.status();
  return std::move(sockets->front());
}

// Binds without listening; listeners with SO_REUSEPORT may share the port. Empty if that fails.
UniqueFd Bind(const Address& address) {
  const SocketAddress where = ResolveAddress(address).value();
  UniqueFd fd(socket(where.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&where.storage), where.size) != 0) {
    return UniqueFd();
  }
  return fd;
}

// Binds until the end of the process.
bool Hold(const Address& address) {
  static auto& held = *new std::vector<UniqueFd>;
  held.push_back(Bind(address));
  return static_cast<bool>(held.back());
}

}  // namespace

void HoldPort(uint16_t port) { EXPECT_TRUE(Hold({.host = "127.0.0.1", .port = port})); }

uint16_t FreePort() {
  constexpr int kAttempts = 100;
  for (int i = 0; i < kAttempts; ++i) {
    const UniqueFd first = Bind({.host = "0.0.0.0", .port = 0});
    const auto port = static_cast<uint16_t>(BoundPort(first.get()));
    const bool ipv6_free = Bind({.host = "::", .port = port}) || !Bind({.host = "::", .port = 0});
    if (!ipv6_free) continue;
    Hold({.host = "::", .port = port});  // fails on a machine without IPv6
    EXPECT_TRUE(Hold({.host = "0.0.0.0", .port = port}));
    return port;
  }
  ADD_FAILURE() << "no port is free for both families";
  return 0;
}

LocalServer::LocalServer(const Address& address) : address_(address) {
  auto listener = Listen(address);
  EXPECT_TRUE(listener.ok()) << listener.status();
  if (!listener.ok()) return;
  listener_ = *std::move(listener);
  if (!address_.is_unix()) address_.port = static_cast<uint16_t>(BoundPort(listener_.get()));
}

void LocalServer::StopListening() {
  if (!address_.is_unix()) HoldPort(address_.port);
  listener_.Reset();
}

Address RefusingAddress() {
  LocalServer server;
  server.StopListening();
  return server.address();
}

size_t AllowDescriptors(size_t wanted) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted) limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, wanted);
  setrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<size_t>(limit.rlim_cur);
}

void ExpectCarried(Peer& from, Peer& to, const std::string& bytes) {
  ASSERT_TRUE(from.Send(bytes));
  EXPECT_EQ(to.Read(bytes.size()), bytes);
}

void ExpectExchange(Peer& client, Peer& server, const std::string& question,
                    const std::string& answer) {
  ExpectCarried(client, server, question);
  ExpectCarried(server, client, answer);
}

SilentServer::SilentServer() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(bind(fd_.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
  EXPECT_EQ(listen(fd_.get(), 0), 0);
  const SocketAddress where = ResolveAddress(address()).value();
  for (int i = 0; i < 4; ++i) fillers_.push_back(ConnectTo(where));
}

Address SilentServer::address() const {
  return {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(fd_.get()))};
}

}  // namespace trunkline::test
