// Tests the search for the process behind a TCP port: which sockets, which processes, which one.
#include "agent/sample/listener_finder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "agent/proc/sock_diag.h"
#include "agent/sample/server_choice.h"
#include "agent/sample/socket_holders.h"
#include "agent/sample/target_listeners.h"
#include "common/base/system_files.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "common/net/ip_port.h"
#include "common/net/socket.h"
#include "tests/agent/fixture_root.h"

namespace trunkline {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ListeningSocket Listener(uint32_t inode, const std::string& ip, bool only_ipv6 = false) {
  IpPort address;
  const bool ipv6 = ip.find(':') != std::string::npos;
  EXPECT_TRUE(ParseIp(ip, ipv6 ? IpPort::Family::kIpv6 : IpPort::Family::kIpv4, &address)) << ip;
  return {.inode = inode, .ipv6 = ipv6, .only_ipv6 = only_ipv6, .address = address.ip};
}

std::set<uint32_t> InodesOf(const std::string& target, const std::vector<ListeningSocket>& all) {
  const ListeningSocket wanted = Listener(0, target);
  IpPort address;
  address.ip = wanted.address;
  address.family = wanted.ipv6 ? IpPort::Family::kIpv6 : IpPort::Family::kIpv4;
  return InodesOfTarget(all, address);
}

TEST(TargetListenersTest, ExactAddressComesBeforeTheWildcard) {
  const std::vector<ListeningSocket> all = {Listener(1, "0.0.0.0"), Listener(2, "127.0.0.1"),
                                            Listener(3, "10.0.0.1")};
  EXPECT_EQ(InodesOf("127.0.0.1", all), (std::set<uint32_t>{2}));
  EXPECT_EQ(InodesOf("10.0.0.2", all), (std::set<uint32_t>{1}));
}

TEST(TargetListenersTest, SocketOfBothFamiliesAcceptsIpv4UnlessOneOfIpv4Does) {
  EXPECT_EQ(InodesOf("127.0.0.1", {Listener(1, "::")}), (std::set<uint32_t>{1}));
  EXPECT_EQ(InodesOf("127.0.0.1", {Listener(1, "::"), Listener(2, "0.0.0.0")}),
            (std::set<uint32_t>{2}));
  EXPECT_EQ(InodesOf("127.0.0.1", {Listener(1, "::", true)}), std::set<uint32_t>());
  EXPECT_EQ(InodesOf("127.0.0.1", {Listener(1, "::1")}), std::set<uint32_t>());
}

TEST(TargetListenersTest, MappedAddressIsThatOfIpv4) {
  EXPECT_EQ(InodesOf("127.0.0.2", {Listener(1, "::ffff:127.0.0.2"), Listener(2, "0.0.0.0")}),
            (std::set<uint32_t>{1}));
  EXPECT_EQ(InodesOf("127.0.0.1", {Listener(1, "::ffff:127.0.0.2")}), std::set<uint32_t>());
  EXPECT_EQ(InodesOf("::ffff:127.0.0.2", {Listener(1, "127.0.0.2"), Listener(2, "::")}),
            (std::set<uint32_t>{1}));
}

TEST(TargetListenersTest, Ipv6IsNeverAcceptedByASocketOfIpv4) {
  EXPECT_EQ(InodesOf("::1", {Listener(1, "0.0.0.0"), Listener(2, "::ffff:0.0.0.0")}),
            std::set<uint32_t>());
  EXPECT_EQ(InodesOf("::1", {Listener(1, "::"), Listener(2, "::1")}), (std::set<uint32_t>{2}));
  EXPECT_EQ(InodesOf("fe80::1", {Listener(1, "::", true)}), (std::set<uint32_t>{1}));
}

TEST(TargetListenersTest, SocketsThatShareAnAddressAllCount) {
  EXPECT_EQ(InodesOf("127.0.0.1",
                     {Listener(1, "0.0.0.0"), Listener(2, "0.0.0.0"), Listener(0, "0.0.0.0")}),
            (std::set<uint32_t>{1, 2}));
}

class ServerChoiceTest : public testing::Test {
 protected:
  ServerChoiceTest() : files_(root_.path()) { Add(1, 0, "systemd", "/init.scope"); }

  // Processes start in the order in which they are added.
  void Add(int pid, int parent, const std::string& command, const std::string& group) {
    root_.WriteProcess(pid, parent, 0, 0, ++starts_, command);
    root_.Write(absl::StrCat("/proc/", pid, "/cgroup"), absl::StrCat("0::", group, "\n"));
  }

  FixtureRoot root_;
  SystemFiles files_;
  uint64_t starts_ = 0;
};

TEST_F(ServerChoiceTest, MasterStandsForItsWorkers) {
  Add(70, 1, "nginx", "/nginx.service");
  Add(71, 70, "nginx", "/nginx.service");
  Add(72, 71, "nginx", "/nginx.service");
  EXPECT_EQ(*ChooseServer(files_, {71, 70, 72}), 70);
}

TEST_F(ServerChoiceTest, ParentThatDoesNotHoldTheSocketIsNotTheServer) {
  Add(60, 1, "bash", "/session.scope");
  Add(70, 60, "server", "/session.scope");
  EXPECT_EQ(*ChooseServer(files_, {70}), 70);
}

TEST_F(ServerChoiceTest, ServiceIsChosenBeforeTheManagerThatOpenedItsSocket) {
  Add(70, 1, "server", "/server.service");
  Add(71, 70, "server", "/server.service");
  EXPECT_EQ(*ChooseServer(files_, {1, 70, 71}), 70);
}

TEST_F(ServerChoiceTest, ContainerIsChosenBeforeItsRuntime) {
  Add(60, 1, "conmon", "/conmon.scope");
  Add(70, 60, "server", "/libpod.scope");
  EXPECT_EQ(*ChooseServer(files_, {1, 60, 70}), 70);
}

TEST_F(ServerChoiceTest, SocketOfAServiceThatDoesNotRunHasNoServer) {
  const absl::StatusOr<int> server = ChooseServer(files_, {1});
  ASSERT_TRUE(absl::IsNotFound(server.status())) << server.status();
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("systemd"));
}

TEST_F(ServerChoiceTest, FirstProcessOfAContainerMayBeTheServer) {
  Add(1, 0, "server", "/");
  EXPECT_EQ(*ChooseServer(files_, {1}), 1);
}

TEST_F(ServerChoiceTest, ParentOfProcessesThatShareThePortIsTheServer) {
  Add(70, 1, "launcher", "/server.service");
  Add(71, 70, "worker", "/server.service");
  Add(72, 70, "worker", "/server.service");
  EXPECT_EQ(*ChooseServer(files_, {71, 72}), 70);
}

TEST_F(ServerChoiceTest, OldestOfUnrelatedProcessesThatShareThePortIsTheServer) {
  Add(80, 1, "server", "/a.service");
  Add(70, 1, "server", "/a.service");
  EXPECT_EQ(*ChooseServer(files_, {70, 80}), 80) << "process 1 is no common parent";
  Add(60, 1, "launcher", "/session.scope");
  Add(61, 60, "server", "/a.service");
  Add(62, 60, "server", "/a.service");
  EXPECT_EQ(*ChooseServer(files_, {62, 61}), 61) << "a parent in another group does not serve";
}

TEST_F(ServerChoiceTest, ProcessThatInheritedTheSocketByAccidentIsNotTheServer) {
  Add(70, 1, "server", "/server.service");
  Add(75, 1, "daemon", "/server.service");  // forked by 70, and detached
  EXPECT_EQ(*ChooseServer(files_, {70, 75}), 70);
}

TEST_F(ServerChoiceTest, HolderThatHasEndedIsNotTheServer) {
  Add(70, 1, "server", "/server.service");
  EXPECT_EQ(*ChooseServer(files_, {69, 70}), 70);
  EXPECT_TRUE(absl::IsNotFound(ChooseServer(files_, {69}).status()));
}

class ListenerFinderTest : public testing::Test {
 protected:
  ListenerFinderTest() : files_(root_.path()) {
    root_.WriteProcess(70, 1, 0, 0, 1000);
    root_.WriteSockets(70, {{3, 7001}, {4, 500}});
    // A client of the port.
    root_.WriteProcess(90, 1, 0, 0, 500);
    root_.WriteSockets(90, {{3, 9001}});
    listeners_ = {Listener(500, "0.0.0.0")};
  }

  ListenerFinder Finder() {
    return ListenerFinder(
        files_, {.target = {.host = "127.0.0.1", .port = 9000},
                 .lookup =
                     [this](const Address& address) {
                       return resolved_ ? KnownAddresses(address) : nullptr;
                     },
                 .dump = [this](uint16_t port) -> absl::StatusOr<std::vector<ListeningSocket>> {
                   EXPECT_EQ(port, 9000);
                   if (!dump_error_.ok()) return dump_error_;
                   return listeners_;
                 },
                 .is_local = [this](const SocketAddress&) { return local_; }});
  }

  std::string ErrorOf(ListenerFinder& finder, int running = 0) {
    const absl::StatusOr<int> found = finder.Find(running);
    EXPECT_TRUE(absl::IsNotFound(found.status())) << found.status();
    return std::string(found.status().message());
  }

  FixtureRoot root_;
  SystemFiles files_;
  std::vector<ListeningSocket> listeners_;
  absl::Status dump_error_;
  bool resolved_ = true;
  bool local_ = true;
};

TEST_F(ListenerFinderTest, ProcessThatHoldsTheListeningSocketIsTheServer) {
  ListenerFinder finder = Finder();
  EXPECT_EQ(*finder.Find(0), 70);
  EXPECT_EQ(*finder.Find(70), 70);
}

TEST_F(ListenerFinderTest, ServerThatRestartsIsFoundAgain) {
  ListenerFinder finder = Finder();
  EXPECT_EQ(*finder.Find(0), 70);
  root_.Remove("/proc/70");
  listeners_.clear();
  EXPECT_THAT(ErrorOf(finder), AllOf(HasSubstr("no socket"), HasSubstr("127.0.0.1:9000")));
  root_.WriteProcess(71, 1, 0, 0, 2000);
  root_.WriteSockets(71, {{3, 501}});
  listeners_ = {Listener(501, "0.0.0.0")};
  EXPECT_EQ(*finder.Find(0), 71);
}

TEST_F(ListenerFinderTest, ChildThatTakesTheSocketOverIsTheServer) {
  ListenerFinder finder = Finder();
  EXPECT_EQ(*finder.Find(0), 70);
  // The parent forks and closes its copy, and goes on for its open connections.
  root_.WriteProcess(71, 70, 0, 0, 2000);
  root_.WriteSockets(71, {{4, 500}});
  EXPECT_EQ(*finder.Find(70), 70) << "both hold it";
  root_.WriteSockets(70, {{3, 7001}});
  EXPECT_EQ(*finder.Find(70), 71);
}

TEST_F(ListenerFinderTest, NewSocketOfAnotherProcessIsFollowedWhileTheOldOneRuns) {
  ListenerFinder finder = Finder();
  EXPECT_EQ(*finder.Find(0), 70);
  root_.WriteProcess(71, 1, 0, 0, 2000);
  root_.WriteSockets(71, {{3, 501}});
  listeners_ = {Listener(500, "0.0.0.0"), Listener(501, "0.0.0.0")};
  EXPECT_EQ(*finder.Find(70), 70) << "both accept connections";
  listeners_ = {Listener(501, "0.0.0.0")};
  EXPECT_EQ(*finder.Find(70), 71);
}

TEST_F(ListenerFinderTest, ServerThatDrainsStaysTheServerUntilItEnds) {
  ListenerFinder finder = Finder();
  EXPECT_EQ(*finder.Find(0), 70);
  listeners_.clear();
  EXPECT_EQ(*finder.Find(70), 70);
}

TEST_F(ListenerFinderTest, DumpThatFailsKeepsTheServer) {
  ListenerFinder finder = Finder();
  EXPECT_EQ(*finder.Find(0), 70);
  dump_error_ = absl::PermissionDeniedError("sock_diag: refused");
  EXPECT_EQ(*finder.Find(70), 70);
  EXPECT_EQ(finder.Find(0).status(), dump_error_);
}

TEST_F(ListenerFinderTest, ProcessesAreReadOnlyWhileTheServerIsUnknown) {
  ListenerFinder finder = Finder();
  EXPECT_EQ(*finder.Find(0), 70);
  // An older process would be chosen now.
  root_.WriteProcess(60, 1, 0, 0, 100);
  root_.WriteSockets(60, {{4, 500}});
  EXPECT_EQ(*finder.Find(70), 70);
}

TEST_F(ListenerFinderTest, SearchInVainIsRepeatedAfterAWhileOrForAnotherSocket) {
  root_.WriteSockets(70, {});
  ListenerFinder finder = Finder();
  EXPECT_THAT(ErrorOf(finder), AllOf(HasSubstr("process namespace"), HasSubstr("cgroup_path")));
  root_.WriteSockets(70, {{4, 500}});
  for (int i = 1; i < ListenerFinder::kCallsBetweenSearches; ++i) ErrorOf(finder);
  EXPECT_EQ(*finder.Find(0), 70);

  root_.WriteSockets(70, {});
  ErrorOf(finder);
  root_.WriteSockets(70, {{4, 502}});
  listeners_ = {Listener(502, "0.0.0.0")};
  EXPECT_EQ(*finder.Find(0), 70) << "a new socket is a new server";
}

TEST_F(ListenerFinderTest, ListenerOfThisHostIsNotTheServerOfAnotherHost) {
  local_ = false;
  ListenerFinder finder = Finder();
  EXPECT_THAT(ErrorOf(finder), HasSubstr("127.0.0.1:9000 is not an address of this host"));
}

TEST_F(ListenerFinderTest, NameThatIsNotResolvedYetIsUnknown) {
  resolved_ = false;
  ListenerFinder finder = Finder();
  EXPECT_THAT(ErrorOf(finder), HasSubstr("not known yet"));
  resolved_ = true;
  EXPECT_EQ(*finder.Find(0), 70);
}

TEST_F(ListenerFinderTest, ProcessesThatMayNotBeReadAreNamedWithTheRemedy) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read every descriptor";
  std::filesystem::permissions(root_.path() + "/proc/70/fd", std::filesystem::perms::none);
  ListenerFinder finder = Finder();
  EXPECT_THAT(ErrorOf(finder), AllOf(HasSubstr("may not read"), HasSubstr("pid_file")));
  std::filesystem::permissions(root_.path() + "/proc/70/fd", std::filesystem::perms::owner_all);
}

TEST_F(ListenerFinderTest, ParentOfProcessesThatShareThePortIsKeptWhileOneOfThemHoldsIt) {
  for (const int pid : {71, 72}) {
    root_.WriteProcess(pid, 70, 0, 0, 2000);
    root_.WriteSockets(pid, {{4, static_cast<uint32_t>(500 + pid)}});
  }
  root_.WriteSockets(70, {});
  listeners_ = {Listener(571, "0.0.0.0"), Listener(572, "0.0.0.0")};
  ListenerFinder finder = Finder();
  EXPECT_EQ(*finder.Find(0), 70);
  root_.Remove("/proc/71");
  listeners_ = {Listener(572, "0.0.0.0")};
  EXPECT_EQ(*finder.Find(70), 70);
}

TEST(SocketHoldersTest, SearchVisitsABoundedNumberOfDescriptorsPerStep) {
  FixtureRoot root;
  for (int pid = 10; pid < 15; ++pid) root.WriteSockets(pid, {{3, 7}, {4, 8}, {5, 500}});
  const SystemFiles files(root.path());
  SocketHolders holders(files);
  holders.Start({500});
  // Each process has four descriptors and costs one more.
  EXPECT_FALSE(holders.Step(11));
  EXPECT_EQ(holders.found().size(), 3u);
  EXPECT_TRUE(holders.Step(11));
  EXPECT_EQ(holders.found().size(), 5u);
}

}  // namespace
}  // namespace trunkline
