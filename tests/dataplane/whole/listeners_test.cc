// Tables that move listeners of a running proxy, and ports that another program uses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "dataplane/stats/traffic_stats.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/listeners_fixture.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/no_descriptors.h"

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
using ::testing::Pair;

TEST_F(ListenersTest, ChangedHostOpensANewListenerAndClosesTheOldOne) {
  const Address all = StartOn("db", kAll);
  const Address one = {.host = kOne, .port = all.port};
  const Address other = {.host = kOther, .port = all.port};
  ExpectServed("db", other);
  Apply({{"db", one}});
  EXPECT_EQ(plane_.MissingListeners(), "");
  EXPECT_EQ(BoundTo("db"), one);
  ExpectClosed(other);
  ExpectServed("db", one);
  Apply({{"db", all}});
  EXPECT_EQ(plane_.MissingListeners(), "");
  ExpectServed("db", other);
}

TEST_F(ListenersTest, ServicesThatSwapAddressesSwapSockets) {
  const Address first = StartOn("db", kOne);
  Apply({{"db", first}, {"cache", {.host = kOne, .port = 0}}});
  const Address second = BoundTo("cache");
  Apply({{"db", first}, {"cache", second}});
  Apply({{"db", second}, {"cache", first}});
  EXPECT_EQ(plane_.MissingListeners(), "");
  ExpectServed("db", second);
  ExpectServed("cache", first);
}

TEST_F(ListenersTest, OldListenerStaysWhileTheNewPortIsTaken) {
  const Address old = StartOn("db", kOne);
  LocalServer program;
  Apply({{"db", program.address()}, {"cache", {.host = kOne, .port = 0}}});
  EXPECT_THAT(plane_.MissingListeners(),
              AllOf(HasSubstr("service db still listens on " + old.ToString()),
                    HasSubstr(program.address().ToString()), HasSubstr("in use")));
  ExpectServed("cache", BoundTo("cache"));
  ExpectServed("db", old);
  plane_.RetryListeners();
  EXPECT_NE(plane_.MissingListeners(), "");
  ExpectServed("db", old);
  test::HoldPort(old.port);
  program.StopListening();
  plane_.RetryListeners();
  EXPECT_EQ(plane_.MissingListeners(), "");
  ExpectServed("db", program.address());
  ExpectClosed(old);
}

TEST_F(ListenersTest, ServiceListensOnceItsTakenPortIsFree) {
  LocalServer program;
  Apply({{"db", program.address()}});
  EXPECT_THAT(plane_.MissingListeners(),
              AllOf(HasSubstr("service db has no listener"),
                    HasSubstr(program.address().ToString()), HasSubstr("in use")));
  EXPECT_TRUE(plane_.Listening().empty());
  program.StopListening();
  plane_.RetryListeners();
  EXPECT_EQ(plane_.MissingListeners(), "");
  ExpectServed("db", program.address());
}

TEST_F(ListenersTest, MissingListenerIsForgottenOnceNoLongerConfigured) {
  LocalServer program;
  Apply({{"db", program.address()}});
  Apply({});
  EXPECT_EQ(plane_.MissingListeners(), "");
}

// Part of a wider address may belong to another program, which only opening it shows.
TEST_F(ListenersTest, OldListenerStaysWhileAPartOfTheNewAddressIsTaken) {
  const Address one = StartOn("db", kOne);
  const Address all = {.host = kAll, .port = one.port};
  auto program = ListenOn({.host = kOther, .port = one.port});
  ASSERT_TRUE(program.ok()) << program.status();
  Apply({{"db", all}});
  EXPECT_THAT(plane_.MissingListeners(), HasSubstr(all.ToString()));
  ExpectServed("db", one);
  program->Reset();
  plane_.RetryListeners();
  EXPECT_EQ(plane_.MissingListeners(), "");
  ExpectServed("db", {.host = kOther, .port = one.port});
}

TEST_F(ListenersTest, AddressMovesToItsNewServiceEvenIfTheOldOneGetsNone) {
  const Address address = StartOn("db", kOne);
  LocalServer program;
  Apply({{"cache", address}, {"db", program.address()}});
  EXPECT_THAT(plane_.MissingListeners(), HasSubstr("service db has no listener"));
  ExpectServed("cache", address);
}

TEST_F(ListenersTest, DrainingProxyOpensNoListener) {
  LocalServer program;
  Apply({{"db", program.address()}});
  plane_.Drain(absl::ZeroDuration());
  program.StopListening();
  plane_.RetryListeners();
  Apply({{"db", program.address()}, {"cache", {.host = kOne, .port = 0}}});
  EXPECT_TRUE(Refuses(program.address()));
  EXPECT_TRUE(plane_.Listening().empty());
}

// The accept queue belongs to the kernel, so no client is lost while no process accepts.
TEST_F(ListenersTest, StoppedProxyAcceptsWaitingClientsWhenItStartsAgain) {
  const Address address = StartOn("db", kOne);
  plane_.StopAccepting();
  const uint64_t before = Accepted("db");
  Peer waiting = ConnectPeer(address);
  plane_.StopAccepting();
  EXPECT_EQ(Accepted("db"), before);
  EXPECT_TRUE(plane_.Listening().empty());
  plane_.StartAccepting();
  Serve(std::move(waiting));
  ExpectServed("db", address);
}

TEST_F(ListenersTest, HeldSuccessorAcceptsOnlyOnceItStarts) {
  const Address address = StartOn("db", kOne);
  TrafficStats stats(1);
  DataPlane successor({.workers = 1, .random_seed = 2, .hold = true}, stats,
                      plane_.CopySockets().value());
  successor.Apply(Table({{"db", address}}, stats));
  EXPECT_TRUE(successor.UsesInherited());
  successor.RetryListeners();
  EXPECT_TRUE(successor.Listening().empty());
  // All of these reach the predecessor.
  for (int i = 0; i < 10; ++i) ExpectServed("db", address);
  plane_.StopAccepting();
  Peer waiting = ConnectPeer(address);
  successor.StartAccepting();
  Serve(std::move(waiting));
  plane_.Drain(absl::ZeroDuration());
  Serve(ConnectPeer(address));
}

// A hand-over would otherwise pass messages without a descriptor.
TEST_F(ListenersTest, NoCopiesAreOfferedWithoutDescriptorsForAll) {
  TRUNKLINE_SKIP_UNDER_SANITIZERS();
  StartOn("db", kOne);
  test::NoDescriptors none;
  EXPECT_THAT(std::string(plane_.CopySockets().status().message()),
              HasSubstr("Too many open files; raise the limit on open files"));
  none.GiveBack();
  EXPECT_TRUE(plane_.CopySockets().ok());
}

TEST_F(ListenersTest, ServiceThatStartsWithoutDescriptorsAcceptsOnceThereAreSome) {
  TRUNKLINE_SKIP_UNDER_SANITIZERS();
  const Address address = StartOn("db", kOne);
  plane_.StopAccepting();
  test::NoDescriptors none;
  plane_.StartAccepting();
  EXPECT_THAT(plane_.NotReady(), HasSubstr(absl::StrCat("cannot accept clients on ",
                                                        address.ToString(), ": no descriptor")));
  none.GiveBack();
  plane_.RetryListeners();
  EXPECT_EQ(plane_.NotReady(), "");
  ExpectServed("db", address);
}

TEST_F(ListenersTest, HeldSuccessorOpensNoListenerOfItsOwn) {
  const Address old = StartOn("db", kOne);
  LocalServer program;
  const Address other = program.address();
  TrafficStats stats(1);
  DataPlane successor({.workers = 1, .random_seed = 2, .hold = true}, stats,
                      plane_.CopySockets().value());
  program.StopListening();
  successor.Apply(Table({{"db", old}, {"cache", other}}, stats));
  EXPECT_TRUE(Refuses(other)) << "clients would wait for a process that may not come up";
  plane_.StopAccepting();
  successor.StartAccepting();
  Serve(ConnectPeer(other));
}

TEST_F(ListenersTest, SuccessorWithOtherAddressesUsesNoInheritedSocket) {
  const Address old = StartOn("db", kOne);
  LocalServer program;
  const Address free = program.address();
  program.StopListening();
  TrafficStats stats(1);
  DataPlane successor({.workers = 1, .random_seed = 2, .hold = true}, stats,
                      plane_.CopySockets().value());
  successor.Apply(Table({}, stats));
  EXPECT_FALSE(successor.UsesInherited());
  successor.Apply(Table({{"db", free}}, stats));
  EXPECT_FALSE(successor.UsesInherited());
  successor.Apply(Table({{"db", {.host = kOther, .port = old.port}}}, stats));
  EXPECT_FALSE(successor.UsesInherited());
  successor.Apply(Table({{"store", old}}, stats));
  EXPECT_TRUE(successor.UsesInherited()) << "a renamed service";
  successor.Apply(Table({{"db", {.host = kAll, .port = old.port}}}, stats));
  EXPECT_TRUE(successor.UsesInherited()) << "the same port on all addresses";
}

// The predecessor keeps its sockets until the successor has served for a time.
TEST_F(ListenersTest, SuccessorServesAChangedAddressBesideItsPredecessor) {
  const Address all = StartOn("db", kAll);
  const Address one = {.host = kOne, .port = all.port};
  const Address other = {.host = kOther, .port = all.port};
  TrafficStats stats(1);
  DataPlane successor({.workers = 1, .random_seed = 2, .hold = true}, stats,
                      plane_.CopySockets().value());
  successor.Apply(Table({{"db", one}}, stats));
  plane_.StopAccepting();
  successor.StartAccepting();
  EXPECT_EQ(successor.MissingListeners(), "");
  Serve(ConnectPeer(one));
  plane_.Drain(absl::ZeroDuration());
  ExpectClosed(other);
  Serve(ConnectPeer(one));
}

TEST_F(ListenersTest, SuccessorKeepsTheSocketIfTheNewPortIsTaken) {
  const Address old = StartOn("db", kOne);
  LocalServer program;
  TrafficStats stats(1);
  DataPlane successor({.workers = 1, .random_seed = 2, .hold = true}, stats,
                      plane_.CopySockets().value());
  successor.Apply(Table({{"db", program.address()}}, stats));
  EXPECT_TRUE(successor.UsesInherited());
  plane_.StopAccepting();
  successor.StartAccepting();
  EXPECT_THAT(successor.MissingListeners(), HasSubstr("still listens on " + old.ToString()));
  plane_.Drain(absl::ZeroDuration());
  Serve(ConnectPeer(old));
}

// A proxy with room for one client. The next one waits in the accept queue.
class FullProxyTest : public ListenersTest {
 protected:
  FullProxyTest() : ListenersTest(/*max_clients=*/1) {}
};

TEST_F(FullProxyTest, RenamedServiceTakesOverTheSocketWithItsWaitingClient) {
  const Address address = StartOn("db", kOne);
  std::optional<Peer> first = Serve(ConnectPeer(address));
  Peer waiting = ConnectPeer(address);
  auto store = stats_.Listener("store");
  Apply({{"store", address}});
  EXPECT_EQ(plane_.MissingListeners(), "");
  EXPECT_THAT(plane_.Listening(), ElementsAre(Pair("store", ElementsAre(address.ToString()))));
  EXPECT_FALSE(server_.Knocked(0));
  first.reset();
  Serve(std::move(waiting));
  EXPECT_EQ(Accepted("store"), 1u);
}

}  // namespace
}  // namespace trunkline
