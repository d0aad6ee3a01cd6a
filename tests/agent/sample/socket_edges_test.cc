// Tests socket dumps and connect probes with the real kernel, on loopback sockets of this test.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/proc/process_clock.h"
#include "agent/proc/sock_diag.h"
#include "agent/sample/connect_probe.h"
#include "agent/sample/connection_bytes.h"
#include "agent/sample/listener_finder.h"
#include "agent/sample/sock_diag_socket.h"
#include "common/base/system_files.h"
#include "common/base/unique_fd.h"
#include "common/net/address_list.h"
#include "tests/agent/fixture_root.h"

namespace trunkline {
namespace {

// `reservation` is bound without listening, so that the port stays the test's after `fd` is closed.
struct Listener {
  UniqueFd fd;
  uint16_t port = 0;
  UniqueFd reservation;
};

UniqueFd BindLoopback(uint16_t port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

Listener Listen() {
  Listener listener;
  listener.reservation = BindLoopback(0);
  sockaddr_in address = {};
  socklen_t length = sizeof(address);
  getsockname(listener.reservation.get(), reinterpret_cast<sockaddr*>(&address), &length);
  listener.port = ntohs(address.sin_port);
  listener.fd = BindLoopback(listener.port);
  EXPECT_EQ(listen(listener.fd.get(), 8), 0);
  return listener;
}

UniqueFd Connect(uint16_t port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

TEST(SockDiagSocketTest, CountsOnlyTheServerSideOfConnections) {
  const Listener listener = Listen();
  const auto before = DumpSockets({listener.port});
  if (!before.ok()) GTEST_SKIP() << "this kernel has no sock_diag: " << before.status();
  EXPECT_TRUE(before->ports.empty()) << "a listening socket is not a connection";
  ConnectionBytes bytes;
  bytes.Add({});
  const UniqueFd client = Connect(listener.port);
  const UniqueFd server(accept(listener.fd.get(), nullptr, nullptr));
  ASSERT_EQ(write(client.get(), "hello", 5), 5);
  char buffer[8];
  ASSERT_EQ(read(server.get(), buffer, sizeof(buffer)), 5);
  const auto dump = DumpSockets({listener.port});
  ASSERT_TRUE(dump.ok()) << dump.status();
  EXPECT_EQ(dump->ports.size(), 1u);
  EXPECT_EQ(dump->ports.at(listener.port).established, 1u);
  EXPECT_EQ(bytes.Add(dump->ports.at(listener.port)), 5u);
}

// The kernel verifies and runs the filter program.
TEST(SockDiagSocketTest, DumpCoversExactlyTheGivenPorts) {
  std::vector<Listener> listeners;
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 6; ++i) {
    listeners.push_back(Listen());
    for (int j = 0; j <= i; ++j) clients.push_back(Connect(listeners.back().port));
  }
  std::vector<uint16_t> asked;
  for (const int i : {0, 2, 5, 3}) asked.push_back(listeners[i].port);
  const auto dump = DumpSockets(asked);
  if (!dump.ok()) GTEST_SKIP() << "this kernel has no sock_diag: " << dump.status();
  ASSERT_EQ(dump->ports.size(), 4u);
  for (const int i : {0, 2, 5, 3}) {
    EXPECT_EQ(dump->ports.at(listeners[i].port).established, i + 1u);
  }
}

TEST(SockDiagSocketTest, LargestRequestIsAccepted) {
  const Listener listener = Listen();
  const UniqueFd client = Connect(listener.port);
  std::vector<uint16_t> asked(kMaxDumpPorts - 1, 1);
  asked.push_back(listener.port);
  const auto dump = DumpSockets(asked);
  if (!dump.ok()) GTEST_SKIP() << "this kernel has no sock_diag: " << dump.status();
  EXPECT_EQ(dump->ports.at(listener.port).established, 1u);
}

// Returns the inode of a socket of this process.
uint32_t InodeOf(const UniqueFd& fd) {
  struct stat info = {};
  EXPECT_EQ(fstat(fd.get(), &info), 0);
  return static_cast<uint32_t>(info.st_ino);
}

TEST(SockDiagSocketTest, ListenerIsFoundByItsPortAndConnectionsAreNot) {
  const Listener listener = Listen();
  const Listener other = Listen();
  const UniqueFd client = Connect(listener.port);
  const auto found = DumpListeners(listener.port);
  if (!found.ok()) GTEST_SKIP() << "this kernel has no sock_diag: " << found.status();
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ((*found)[0].inode, InodeOf(listener.fd));
}

TEST(ListenerFinderEdgeTest, ThisProcessIsFoundBehindItsPort) {
  const Listener listener = Listen();
  const auto dump = DumpListeners(listener.port);
  if (!dump.ok()) GTEST_SKIP() << "this kernel has no sock_diag: " << dump.status();
  const SystemFiles files;
  ListenerFinder finder(files, {.target = {.host = "127.0.0.1", .port = listener.port},
                                .lookup = KnownAddresses,
                                .dump = DumpListeners,
                                .is_local = IsLocalAddress});
  absl::StatusOr<int> pid = finder.Find(0);
  // A machine with more descriptors than one step visits.
  for (int i = 0; i < 1000 && absl::IsUnavailable(pid.status()); ++i) pid = finder.Find(0);
  ASSERT_TRUE(pid.ok()) << pid.status();
  EXPECT_EQ(*pid, getpid());
  EXPECT_EQ(*finder.Find(getpid()), getpid());
}

uint64_t OwnCpuNanos() {
  timespec used = {};
  EXPECT_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
  return static_cast<uint64_t>(used.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(used.tv_nsec);
}

TEST(ProcessClockTest, CountsAllThreadsOfAProcessAndEndedOnes) {
  const uint64_t before = OwnCpuNanos();
  std::thread([&] {
    while (OwnCpuNanos() < before + 2'000'000) {
    }
  }).join();
  const absl::StatusOr<uint64_t> read = ProcessCpuNanos(getpid());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_GE(*read, before + 2'000'000);
  EXPECT_LE(*read, OwnCpuNanos());
}

TEST(ProcessClockTest, ProcessThatHasEndedIsNotFound) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_GT(child, 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(absl::IsNotFound(ProcessCpuNanos(child).status()));
  EXPECT_TRUE(absl::IsNotFound(ProcessCpuNanos(0).status())) << "not this process";
}

TEST(IsLocalAddressTest, OwnAddressesAreLocalAndOthersAreNot) {
  const auto local = [](const std::string& host) {
    return IsLocalAddress(KnownAddresses({.host = host, .port = 80})->front());
  };
  EXPECT_TRUE(local("127.0.0.1"));
  EXPECT_TRUE(local("127.9.9.9"));
  EXPECT_TRUE(local("0.0.0.0"));
  EXPECT_TRUE(local("::1"));
  EXPECT_TRUE(local("::ffff:127.0.0.1"));
  // TEST-NET-3 and the documentation prefix belong to no host.
  EXPECT_FALSE(local("203.0.113.7"));
  EXPECT_FALSE(local("2001:db8::7"));
}

TEST(ConnectProbeTest, TcpServerIsReachableUntilItsSocketCloses) {
  Listener listener = Listen();
  const ConnectProbe probe({.host = "127.0.0.1", .port = listener.port, .unix_path = ""},
                           KnownAddresses);
  EXPECT_TRUE(probe.Try(absl::Seconds(1)));
  listener.fd.Reset();
  EXPECT_FALSE(probe.Try(absl::Seconds(1)));
}

TEST(ConnectProbeTest, UnixServerIsReachableUntilItsSocketCloses) {
  const FixtureRoot folder;
  const std::string path = folder.path() + "/server.sock";
  const ConnectProbe probe({.host = "", .port = 0, .unix_path = path}, KnownAddresses);
  EXPECT_FALSE(probe.Try(absl::Seconds(1)));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(fd.get(), 8), 0);
  EXPECT_TRUE(probe.Try(absl::Seconds(1)));
  EXPECT_EQ(probe.ServerPid(), getpid());
  EXPECT_EQ(*probe.FindServer(0), getpid());
  fd.Reset();
  EXPECT_FALSE(probe.Try(absl::Seconds(1)));
  EXPECT_EQ(probe.ServerPid(), 0);
  EXPECT_TRUE(absl::IsNotFound(probe.FindServer(0).status()));
}

TEST(ConnectProbeTest, RunningUnixServerIsNotConnectedToAgain) {
  const FixtureRoot folder;
  const std::string path = folder.path() + "/server.sock";
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(fd.get(), 8), 0);
  const ConnectProbe probe({.host = "", .port = 0, .unix_path = path}, KnownAddresses);
  EXPECT_EQ(*probe.FindServer(70), 70);
  EXPECT_EQ(accept(fd.get(), nullptr, nullptr), -1)
      << "each question is a connection to the server";
  EXPECT_EQ(*probe.FindServer(0), getpid());
  EXPECT_GE(UniqueFd(accept(fd.get(), nullptr, nullptr)).get(), 0);
}

TEST(ConnectProbeTest, TcpServerHasNoKnownProcess) {
  const Listener listener = Listen();
  const ConnectProbe probe({.host = "127.0.0.1", .port = listener.port, .unix_path = ""},
                           KnownAddresses);
  EXPECT_EQ(probe.ServerPid(), 0);
}

TEST(ConnectProbeTest, PathTooLongForASocketIsUnreachable) {
  EXPECT_FALSE(
      ConnectProbe({.host = "", .port = 0, .unix_path = std::string(200, 'x')}, KnownAddresses)
          .Try(absl::Seconds(1)));
}

}  // namespace
}  // namespace trunkline
