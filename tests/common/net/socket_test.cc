#include "common/net/socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"
#include "common/net/address.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline {
namespace {

using ::testing::HasSubstr;

Address Loopback(int port) { return {.host = "127.0.0.1", .port = static_cast<uint16_t>(port)}; }
Address Unix(const std::string& path) { return {.unix_path = path}; }

bool Readable(int fd, int millis = 5000) {
  pollfd wait{.fd = fd, .events = POLLIN};
  return poll(&wait, 1, millis) == 1;
}

UniqueFd ConnectBlocking(const Address& address) {
  ConnectResult result = ConnectTo(ResolveAddress(address).value());
  if (result.state == ConnectState::kInProgress) {
    pollfd wait{.fd = result.fd.get(), .events = POLLOUT};
    EXPECT_EQ(poll(&wait, 1, 5000), 1);
    EXPECT_EQ(SocketError(result.fd.get()), 0);
  }
  return std::move(result.fd);
}

TEST(SocketTest, SharedSocketsOnPortZeroGetOnePort) {
  auto sockets = ListenOnShared(Loopback(0), 3);
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  ASSERT_EQ(sockets->size(), 3u);
  const int port = BoundPort(sockets->front().get());
  EXPECT_GT(port, 0);
  for (const UniqueFd& socket : *sockets) EXPECT_EQ(BoundPort(socket.get()), port);
}

TEST(SocketTest, PortWhereAnotherSharingSocketListensIsRefused) {
  auto mine = ListenOnShared(Loopback(0), 2);
  ASSERT_TRUE(mine.ok());
  const int port = BoundPort(mine->front().get());
  const auto second = ListenOnShared(Loopback(port), 1);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(Loopback(port).ToString()));
}

TEST(SocketTest, PortWhereAPlainSocketListensIsRefused) {
  auto plain = ListenOn(Loopback(0));
  ASSERT_TRUE(plain.ok());
  const int port = BoundPort(plain->get());
  EXPECT_TRUE(absl::IsAlreadyExists(ListenOnShared(Loopback(port), 1).status()));
  EXPECT_TRUE(absl::IsAlreadyExists(ListenOn(Loopback(port)).status()));
}

TEST(SocketTest, WildcardsOfBothFamiliesListenOnOnePortSideBySide) {
  auto ipv4 = ListenOnShared({.host = "0.0.0.0", .port = 0}, 2);
  ASSERT_TRUE(ipv4.ok()) << ipv4.status();
  const auto port = static_cast<uint16_t>(BoundPort(ipv4->front().get()));
  const Address all = {.host = "::", .port = port};
  EXPECT_TRUE(absl::IsAlreadyExists(ListenOnShared(all, 2).status())) << "it includes IPv4";
  auto ipv6 = ListenOnShared(all, 2, ListenFamilies::kOwn);
  ASSERT_TRUE(ipv6.ok()) << ipv6.status();
  EXPECT_TRUE(ConnectBlocking({.host = "::1", .port = port}));
  // Without the listener for IPv4, the other one gets none of its clients.
  ipv4->clear();
  EXPECT_FALSE(test::ConnectPeer(Loopback(port)));
  ipv6->clear();
  ASSERT_TRUE(ListenOnShared(all, 1).ok());
}

TEST(SocketTest, PortWithConnectionsInTimeWaitCanBeReused) {
  auto first = ListenOnShared(Loopback(0), 1);
  ASSERT_TRUE(first.ok());
  const int port = BoundPort(first->front().get());
  UniqueFd client = ConnectBlocking(Loopback(port));
  ASSERT_TRUE(Readable(first->front().get()));
  UniqueFd accepted(accept(first->front().get(), nullptr, nullptr));
  // The side that closes first keeps TIME_WAIT.
  accepted.Reset();
  first->clear();
  EXPECT_TRUE(ListenOnShared(Loopback(port), 2).ok());
}

TEST(SocketTest, SharedSocketsOnAUnixPathAreRefused) {
  test::ScratchFolder folder;
  const auto sockets = ListenOnShared(Unix(folder.File("s")), 1);
  EXPECT_TRUE(absl::IsInvalidArgument(sockets.status())) << sockets.status();
}

TEST(SocketTest, StaleUnixSocketIsReplaced) {
  test::ScratchFolder folder;
  const Address address = Unix(folder.File("s"));
  { ASSERT_TRUE(ListenOn(address).ok()); }
  struct stat info;
  ASSERT_EQ(stat(address.unix_path.c_str(), &info), 0) << "the file is left over";
  auto again = ListenOn(address);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ConnectTo(ResolveAddress(address).value()).state, ConnectState::kConnected);
}

TEST(SocketTest, LiveUnixSocketIsRefusedAndStaysUsable) {
  test::ScratchFolder folder;
  const Address address = Unix(folder.File("s"));
  auto live = ListenOn(address);
  ASSERT_TRUE(live.ok());
  const auto second = ListenOn(address);
  EXPECT_TRUE(absl::IsAlreadyExists(second.status())) << second.status();
  EXPECT_EQ(ConnectTo(ResolveAddress(address).value()).state, ConnectState::kConnected);
}

// connect() to a file that is no socket fails with ECONNREFUSED as well.
TEST(SocketTest, OrdinaryFileAtASocketPathIsNotDeleted) {
  test::ScratchFolder folder;
  const std::string path = folder.Write("precious", "data");
  EXPECT_TRUE(absl::IsAlreadyExists(ListenOn(Unix(path)).status()));
  std::string content;
  std::ifstream(path) >> content;
  EXPECT_EQ(content, "data");
}

TEST(SocketTest, NameThatDoesNotResolveIsUnavailableAndNamed) {
  const auto address = ResolveAddress({.host = "no-such-host.invalid", .port = 80});
  EXPECT_TRUE(absl::IsUnavailable(address.status()));
  EXPECT_THAT(std::string(address.status().message()), HasSubstr("no-such-host.invalid:80"));
}

TEST(SocketTest, TooLongUnixPathIsRefusedWithTheLimit) {
  const auto address = ResolveAddress(Unix("/" + std::string(200, 'x')));
  EXPECT_TRUE(absl::IsInvalidArgument(address.status()));
  EXPECT_THAT(std::string(address.status().message()), HasSubstr("107"));
}

TEST(SocketTest, AddressesAreFormattedAsConfigured) {
  for (const char* text : {"127.0.0.1:80", "[::1]:443", "unix:/run/x"}) {
    EXPECT_EQ(ResolveAddress(ParseAddress(text).value()).value().ToString(), text);
  }
}

// The zone tells two interfaces with the same link-local address apart.
TEST(SocketTest, AddressesAreShownWithTheirZones) {
  for (const char* text : {"[fe80::1%lo]:80", "[fe80::1]:80"}) {
    EXPECT_EQ(ResolveAddress(ParseAddress(text).value()).value().ToString(), text);
  }
  SocketAddress gone = ResolveAddress(ParseAddress("[fe80::1%lo]:80").value()).value();
  constexpr uint32_t kNoInterface = 999'999;
  reinterpret_cast<sockaddr_in6*>(&gone.storage)->sin6_scope_id = kNoInterface;
  EXPECT_EQ(gone.ToString(), "[fe80::1%999999]:80");
}

// The C library takes names of zones for link-local addresses only, and ::1 is the only address
// that every machine has.
TEST(SocketTest, AddressesWithZonesListenAndConnect) {
  const std::string host = absl::StrCat("::1%", if_nametoindex("lo"));
  auto listener = ListenOn({.host = host, .port = 0});
  ASSERT_TRUE(listener.ok()) << listener.status();
  const auto port = static_cast<uint16_t>(BoundPort(listener->get()));
  const SocketAddress where = ResolveAddress({.host = host, .port = port}).value();
  EXPECT_EQ(where.ToString(), absl::StrCat("[::1%lo]:", port));
  ConnectResult result = ConnectTo(where);
  ASSERT_EQ(result.state, ConnectState::kConnected);
  EXPECT_EQ(PeerAddress(result.fd.get()).port, port);
}

// "localhost" needs no DNS, so a look-up would succeed.
TEST(SocketTest, ListeningLooksNoNameUp) {
  const Address named = {.host = "localhost", .port = 0};
  for (const absl::Status& status :
       {ListenOn(named).status(), ListenOnShared(named, 1).status(),
        ListenBesideOwn(named, 1).status(), ListenOn({.host = "fe80::1%none"}).status()}) {
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("expected an IP address"));
  }
}

TEST(SocketTest, FullUnixAcceptQueueIsRetryLater) {
  test::ScratchFolder folder;
  const Address address = Unix(folder.File("s"));
  auto listener = ListenOn(address);
  ASSERT_TRUE(listener.ok());
  ASSERT_EQ(listen(listener->get(), 0), 0);  // a queue of one
  const SocketAddress where = ResolveAddress(address).value();
  std::vector<ConnectResult> results;
  while (results.empty() ||
         (results.back().state == ConnectState::kConnected && results.size() < 10)) {
    results.push_back(ConnectTo(where));
  }
  EXPECT_EQ(results.back().state, ConnectState::kRetryLater);
}

// Without the acknowledgement a server that speaks first would wait for bytes that never come.
TEST(SocketTest, ConnectWithoutDataIsAcknowledgedIfRequested) {
  auto listener = ListenOn(Loopback(0));
  ASSERT_TRUE(listener.ok());
  const auto port = static_cast<uint16_t>(BoundPort(listener->get()));
  ConnectResult result = ConnectToSend(ResolveAddress(Loopback(port)).value());
  ASSERT_EQ(result.state, ConnectState::kConnected);
  AcknowledgeConnect(result.fd.get());
  EXPECT_TRUE(test::WaitFor(listener->get(), POLLIN, 0)) << "the handshake is incomplete";
}

TEST(SocketTest, ConnectWithDataCompletesTheHandshakeWithIt) {
  auto listener = ListenOn(Loopback(0));
  ASSERT_TRUE(listener.ok());
  const auto port = static_cast<uint16_t>(BoundPort(listener->get()));
  // The kernel waits 200 ms for bytes. The machine may stop the test for that long once, but not in
  // every attempt.
  constexpr int kTries = 20;
  bool acknowledged_alone = true;
  for (int i = 0; i < kTries && acknowledged_alone; ++i) {
    ConnectResult result = ConnectToSend(ResolveAddress(Loopback(port)).value());
    ASSERT_EQ(result.state, ConnectState::kConnected);
    acknowledged_alone = test::WaitFor(listener->get(), POLLIN, 0);
    ASSERT_EQ(send(result.fd.get(), "hello", 5, MSG_NOSIGNAL), 5);
    EXPECT_EQ(test::AcceptPeer(listener->get(), test::kPatienceMillis).Read(5), "hello");
  }
  EXPECT_FALSE(acknowledged_alone);
}

TEST(SocketTest, RefusedConnectNamesItsReason) {
  const test::RefusingPort port;
  ConnectResult result = ConnectTo(ResolveAddress(port.address()).value());
  if (result.state == ConnectState::kInProgress) {
    pollfd wait{.fd = result.fd.get(), .events = POLLOUT};
    ASSERT_EQ(poll(&wait, 1, 5000), 1);
    result.error = SocketError(result.fd.get());
  }
  EXPECT_EQ(result.error, ECONNREFUSED);
  EXPECT_EQ(ErrorText(result.error), "Connection refused");
}

TEST(SocketTest, TrunkSocketTimesOutWithoutAcknowledgement) {
  auto [near, far] = test::TcpPair();
  SetTrunkOptions(near.get());
  unsigned millis = 0;
  socklen_t size = sizeof millis;
  ASSERT_EQ(getsockopt(near.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &millis, &size), 0);
  EXPECT_EQ(millis, 10'000u) << "with 0 the kernel retries for 15 minutes";
}

TEST(SocketTest, CloseWithResetSendsAReset) {
  auto listener = ListenOn(Loopback(0));
  ASSERT_TRUE(listener.ok());
  UniqueFd client = ConnectBlocking(Loopback(BoundPort(listener->get())));
  ASSERT_TRUE(Readable(listener->get()));
  UniqueFd server(accept(listener->get(), nullptr, nullptr));
  CloseWithReset(std::move(client));
  ASSERT_TRUE(Readable(server.get()));
  char byte;
  EXPECT_EQ(read(server.get(), &byte, 1), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

}  // namespace
}  // namespace trunkline
