// Services that listen on several addresses, which come, go, move and fail one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "common/observe/metrics_page.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/listeners_fixture.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline {
namespace {

using test::ConnectPeer;
using test::kAll;
using test::kOne;
using test::kOther;
using test::ListenersTest;
using test::LocalServer;
using test::Peer;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr char kThird[] = "127.0.0.3";
constexpr char kAllIpv6[] = "::";
constexpr char kOneIpv6[] = "::1";

class SeveralAddressesTest : public ListenersTest {
 protected:
  explicit SeveralAddressesTest(size_t max_clients = 1000) : ListenersTest(max_clients) {}

  // An address that no other program has, for each of these hosts.
  static std::vector<Address> FreeAddresses(const std::vector<std::string>& hosts) {
    std::vector<Address> addresses;
    for (const std::string& host : hosts) {
      addresses.push_back({.host = host, .port = test::FreePort()});
    }
    return addresses;
  }
  void ExpectAllOpen() { EXPECT_EQ(plane_.MissingListeners(), ""); }
};

TEST_F(SeveralAddressesTest, EachAddressIsServed) {
  const auto at = FreeAddresses({kOne, kOne, kOther});
  ApplyLists({{"db", at}});
  ExpectAllOpen();
  EXPECT_THAT(plane_.Listening(),
              ElementsAre(Pair("db", UnorderedElementsAre(at[0].ToString(), at[1].ToString(),
                                                          at[2].ToString()))));
  for (const Address& address : at) ExpectServed("db", address);
}

TEST_F(SeveralAddressesTest, BothFamiliesAreServed) {
  if (!ListenOn({.host = kOneIpv6, .port = 0}).ok()) GTEST_SKIP() << "this machine has no IPv6";
  const auto at = FreeAddresses({kOne, kOneIpv6});
  ApplyLists({{"db", at}});
  ExpectAllOpen();
  for (const Address& address : at) ExpectServed("db", address);
}

TEST_F(SeveralAddressesTest, AddressThatIsTakenIsNamedWhileTheOthersServe) {
  const Address free = FreeAddresses({kOne})[0];
  LocalServer program;
  const Address taken = program.address();
  ApplyLists({{"db", {free, taken}}, {"cache", {{.host = kOne, .port = 0}}}});
  EXPECT_THAT(plane_.MissingListeners(),
              AllOf(HasSubstr("service db listens on 1 of its 2 addresses: cannot listen on " +
                              taken.ToString()),
                    HasSubstr("in use"), Not(HasSubstr(free.ToString()))));
  EXPECT_EQ(plane_.NotReady(), plane_.MissingListeners());
  ExpectServed("db", free);
  ExpectServed("cache", BoundTo("cache"));
  plane_.RetryListeners();
  EXPECT_NE(plane_.MissingListeners(), "");
  ExpectServed("db", free);
  program.StopListening();
  plane_.RetryListeners();
  ExpectAllOpen();
  ExpectServed("db", taken);
  ExpectServed("db", free);
}

TEST_F(SeveralAddressesTest, EachAddressThatIsTakenIsNamed) {
  const LocalServer one, other;
  ApplyLists({{"db", {one.address(), other.address()}}});
  EXPECT_THAT(
      plane_.MissingListeners(),
      AllOf(
          HasSubstr("service db has no listener: cannot listen on " + one.address().ToString()),
          HasSubstr("service db has no listener: cannot listen on " + other.address().ToString())));
}

TEST_F(SeveralAddressesTest, MetricsNameTheServiceAndTheAddress) {
  const Address free = FreeAddresses({kOne})[0];
  const LocalServer program;
  ApplyLists({{"db", {free, program.address()}}});
  MetricsPage page("test");
  page.Register([&](MetricsWriter& writer) { plane_.Collect(writer); });
  const auto line = [](const Address& address, int value) {
    return absl::StrCat("trunkline_proxy_listener_open{service=\"db\",address=\"",
                        address.ToString(), "\"} ", value);
  };
  const std::string text = page.Render();
  EXPECT_THAT(text, HasSubstr(line(free, 1)));
  EXPECT_THAT(text, HasSubstr(line(program.address(), 0)));
  EXPECT_THAT(text, HasSubstr("\ntrunkline_proxy_listeners_missing 1"));
}

TEST_F(SeveralAddressesTest, AddedAndRemovedAddressesLeaveTheOthersAlone) {
  const auto at = FreeAddresses({kOne, kOne, kOther});
  ApplyLists({{"db", {at[0], at[1]}}});
  auto [client, server] = Answered(ConnectPeer(at[0]));
  auto [other_client, other_server] = Answered(ConnectPeer(at[1]));
  ApplyLists({{"db", {at[0], at[2]}}});
  ExpectAllOpen();
  ExpectClosed(at[1]);
  ExpectServed("db", at[0]);
  ExpectServed("db", at[2]);
  test::ExpectExchange(client, server, "still", "here");
  // Clients of the address that left finish as well.
  test::ExpectExchange(other_client, other_server, "still", "here");
}

TEST_F(SeveralAddressesTest, FormerAddressesStayUntilAllNewOnesAreOpen) {
  const auto at = FreeAddresses({kOne, kOther});
  LocalServer program;
  ApplyLists({{"db", at}});
  ApplyLists({{"db", {at[0], program.address()}}});
  EXPECT_THAT(plane_.MissingListeners(),
              HasSubstr("service db listens on 1 of its 2 addresses and still on " +
                        at[1].ToString() + ": cannot listen on " + program.address().ToString()));
  ExpectServed("db", at[0]);
  ExpectServed("db", at[1]);
  program.StopListening();
  plane_.RetryListeners();
  ExpectAllOpen();
  ExpectServed("db", program.address());
  ExpectServed("db", at[0]);
  ExpectClosed(at[1]);
}

TEST_F(SeveralAddressesTest, ChangedForwardingKeepsAllAddresses) {
  const auto at = FreeAddresses({kOne, kOther});
  ApplyLists({{"db", at}});
  forwarding_key_ = "changed";
  ApplyLists({{"db", at}});
  for (const Address& address : at) ExpectServed("db", address);
  ApplyLists({{"db", {at[1]}}});
  ExpectClosed(at[0]);
  ExpectServed("db", at[1]);
}

TEST_F(SeveralAddressesTest, WildcardsOfBothFamiliesShareAPortAndChangeAlone) {
  if (!ListenOn({.host = kOneIpv6, .port = 0}).ok()) GTEST_SKIP() << "this machine has no IPv6";
  const Address all = FreeAddresses({kAll})[0];
  const Address all_ipv6 = {.host = kAllIpv6, .port = all.port};
  const Address one = {.host = kOne, .port = all.port};
  const Address one_ipv6 = {.host = kOneIpv6, .port = all.port};
  const Address other = {.host = kOther, .port = all.port};
  ApplyLists({{"db", {all_ipv6}}});
  ExpectServed("db", one_ipv6);
  EXPECT_TRUE(Refuses(one)) << "[::] is IPv6 only";
  ApplyLists({{"db", {all, all_ipv6}}});
  ExpectAllOpen();
  ExpectServed("db", other);
  ExpectServed("db", one_ipv6);
  // The new listener opens beside the one that it replaces, although the port stays in use.
  ApplyLists({{"db", {one, all_ipv6}}});
  ExpectAllOpen();
  ExpectClosed(other);
  ExpectServed("db", one);
  ExpectServed("db", one_ipv6);
}

TEST_F(SeveralAddressesTest, AddressListedTwiceCountsOnce) {
  const Address one = FreeAddresses({kOne})[0];
  ApplyLists({{"db", {one, one}}});
  ExpectAllOpen();
  EXPECT_EQ(BoundTo("db"), one);
  ExpectServed("db", one);
}

// A proxy with room for one client. The next one waits in the accept queue.
class FullProxyOfSeveralTest : public SeveralAddressesTest {
 protected:
  FullProxyOfSeveralTest() : SeveralAddressesTest(/*max_clients=*/1) {}
};

TEST_F(FullProxyOfSeveralTest, WaitingClientOfAnAddressThatStaysIsServed) {
  const auto at = FreeAddresses({kOne, kOne, kOther});
  ApplyLists({{"db", {at[0], at[1]}}});
  std::optional<Peer> first = Serve(ConnectPeer(at[0]));
  Peer waiting = ConnectPeer(at[1]);
  ApplyLists({{"db", {at[1], at[2]}}});
  ExpectAllOpen();
  EXPECT_FALSE(server_.Knocked(0));
  first.reset();
  Serve(std::move(waiting));
}

TEST_F(FullProxyOfSeveralTest, AddressMovesAloneToAnotherServiceWithItsWaitingClient) {
  const auto at = FreeAddresses({kOne, kOther, kThird});
  ApplyLists({{"db", {at[0], at[1]}}, {"store", {at[2]}}});
  std::optional<Peer> first = Serve(ConnectPeer(at[0]));
  Peer waiting = ConnectPeer(at[1]);
  const uint64_t before = Accepted("store");
  ApplyLists({{"db", {at[0]}}, {"store", {at[1], at[2]}}});
  ExpectAllOpen();
  first.reset();
  Serve(std::move(waiting));
  EXPECT_EQ(Accepted("store"), before + 1);
  EXPECT_EQ(Accepted("db"), 1u);
}

// The successor of a hot restart.
class SuccessorOfSeveralTest : public SeveralAddressesTest {
 protected:
  void StartSuccessor(const ListenLists& lists, size_t workers = 1) {
    successor_stats_.emplace(workers);
    successor_.emplace(DataPlane::Options{.workers = workers, .random_seed = 2, .hold = true},
                       *successor_stats_, plane_.CopySockets().value());
    successor_->Apply(TableOfLists(lists, *successor_stats_));
  }
  void HandOver() {
    plane_.StopAccepting();
    successor_->StartAccepting();
  }

  std::optional<TrafficStats> successor_stats_;
  std::optional<DataPlane> successor_;
};

TEST_F(SuccessorOfSeveralTest, SuccessorTakesOverTheWaitingClientsOfAllAddresses) {
  const auto at = FreeAddresses({kOne, kOne, kOther});
  ApplyLists({{"db", at}});
  StartSuccessor({{"db", at}});
  EXPECT_TRUE(successor_->UsesInherited());
  plane_.StopAccepting();
  std::vector<Peer> waiting;
  for (const Address& address : at) waiting.push_back(ConnectPeer(address));
  successor_->StartAccepting();
  EXPECT_EQ(successor_->MissingListeners(), "");
  for (size_t i = 0; i < waiting.size(); ++i) {
    ASSERT_TRUE(waiting[i].Send(absl::StrCat("ask", i)));
  }
  // The worker accepts them in any order.
  for (size_t i = 0; i < waiting.size(); ++i) {
    Peer server = server_.Accept();
    const std::string ask = server.Read(4);
    ASSERT_EQ(ask.size(), 4u);
    ASSERT_TRUE(server.Send(ask));
    EXPECT_EQ(waiting.at(static_cast<size_t>(ask[3] - '0')).Read(4), ask);
  }
  plane_.Drain(absl::ZeroDuration());
  for (const Address& address : at) Serve(ConnectPeer(address));
}

TEST_F(SuccessorOfSeveralTest, SuccessorOpensAndClosesAddressesThatDiffer) {
  const auto at = FreeAddresses({kOne, kOne, kOther});
  ApplyLists({{"db", {at[0], at[1]}}});
  StartSuccessor({{"db", {at[1]}}, {"store", {at[2]}}});
  EXPECT_TRUE(successor_->UsesInherited());
  HandOver();
  EXPECT_EQ(successor_->MissingListeners(), "");
  plane_.Drain(absl::ZeroDuration());
  ExpectClosed(at[0]);
  Serve(ConnectPeer(at[1]));
  Serve(ConnectPeer(at[2]));
}

TEST_F(SuccessorOfSeveralTest, OneSharedAddressIsEnoughToTakeOver) {
  const auto at = FreeAddresses({kOne, kOne, kOther});
  ApplyLists({{"db", {at[0], at[1]}}});
  StartSuccessor({{"db", {at[2]}}});
  EXPECT_FALSE(successor_->UsesInherited());
  successor_->Apply(TableOfLists({{"store", {at[2], at[1]}}}, *successor_stats_));
  EXPECT_TRUE(successor_->UsesInherited());
}

TEST_F(SuccessorOfSeveralTest, PredecessorServesAllAddressesAgain) {
  const auto at = FreeAddresses({kOne, kOther});
  ApplyLists({{"db", at}});
  StartSuccessor({{"db", at}});
  HandOver();
  successor_->StopAccepting();
  plane_.StartAccepting();
  successor_.reset();
  for (const Address& address : at) ExpectServed("db", address);
}

// Proxies on one machine, each with one address, replace the hosts of all listeners.
TEST(BindAddressTest, AddressesThatBecomeEqualAreOneListener) {
  const uint16_t port = test::FreePort();
  TrafficStats stats(1);
  DataPlane plane({.workers = 1, .bind_address = kOne, .random_seed = 1}, stats);
  auto table = std::make_shared<RoutingTable>();
  for (const char* name : {"db", "store"}) {
    auto set = std::make_shared<EndpointSet>();
    set->service = name;
    set->listen = {{.host = kAll, .port = port}, {.host = kAllIpv6, .port = port}};
    set->mode = ForwardingMode::kDirect;
    set->stats = stats.Listener(name);
    table->services.push_back(std::move(set));
  }
  plane.Apply(table);
  const std::string address = absl::StrCat(kOne, ":", port);
  EXPECT_THAT(plane.Listening(), ElementsAre(Pair("db", ElementsAre(address))));
  EXPECT_THAT(plane.MissingListeners(),
              HasSubstr(absl::StrCat("service store has no listener: cannot listen on ", address,
                                     ": service db of this proxy listens there")));
  table = std::make_shared<RoutingTable>();
  plane.Apply(table);
  EXPECT_THAT(plane.Listening(), IsEmpty());
}

}  // namespace
}  // namespace trunkline
