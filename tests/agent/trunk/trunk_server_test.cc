// The agent's trunk port, with the test as the proxy and as the local server.
#include "agent/trunk/trunk_server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/sample/local_service.h"
#include "agent/sample/service_traffic.h"
#include "agent/trunk/trunk_worker.h"
#include "common/base/clock.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "common/net/socket.h"
#include "common/trunk/load_offer.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/eventually.h"
#include "tests/common/http2/http2_pair.h"
#include "tests/common/log_capture.h"
#include "tests/common/net/find_socket.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/no_descriptors.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Peer;
using test::TestStream;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kAuthority[] = "db:5432";

// A proxy's end of a trunk.
class RawProxy {
 public:
  explicit RawProxy(int port)
      : peer_(test::ConnectPeer({.host = "127.0.0.1", .port = static_cast<uint16_t>(port)})) {}
  ~RawProxy() { end_.session.CloseAll(NGHTTP2_NO_ERROR); }

  TestStream& Open(const std::string& authority = kAuthority) {
    streams_.push_back(std::make_unique<TestStream>());
    EXPECT_TRUE(end_.session.Connect(authority, streams_.back().get()).ok());
    return *streams_.back();
  }
  TestStream& AskForLoad() {
    streams_.push_back(std::make_unique<TestStream>());
    EXPECT_TRUE(trunkline::AskForLoad(end_.session, streams_.back().get()).ok());
    return *streams_.back();
  }
  bool offers_load() const { return PeerOffersLoad(end_.session); }
  // Exchanges bytes with the agent until `condition` holds or the trunk ends.
  template <typename Condition>
  [[nodiscard]] bool RunUntil(Condition condition) {
    const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(test::kPatienceMillis);
    while (!condition() && MonotonicNow() < deadline && peer_.ending() == Ending::kNone) {
      if (!peer_.Send(end_.TakeOutput())) return condition();
      if (!test::WaitFor(peer_.fd(), POLLIN, 5)) continue;
      std::string heard = peer_.Read(1);
      heard += peer_.Read(peer_.UnreadBytes());
      EXPECT_TRUE(heard.empty() || end_.Give(heard).ok());
    }
    return condition();
  }
  const std::vector<int32_t>& goaways() const { return end_.goaways; }
  Peer& peer() { return peer_; }

 private:
  Peer peer_;
  std::vector<std::unique_ptr<TestStream>> streams_;
  test::Http2Client end_{{.extension = LoadOffer(false)}};
};

class TrunkServerTest : public ::testing::Test {
 protected:
  void Start(const Address& target, absl::Duration connect_timeout = absl::Seconds(3)) {
    TrunkServer::Options options;
    options.listen = {.host = "127.0.0.1", .port = 0};
    options.services = {{.name = "db", .target = target}};
    options.connect_timeout = connect_timeout;
    auto server = TrunkServer::Start(options, traffic_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  // The test's local server.
  void StartWithLocalServer() {
    auto listener = ListenOn({.host = "127.0.0.1", .port = 0});
    ASSERT_TRUE(listener.ok());
    local_ = *std::move(listener);
    Start({.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(local_.get()))});
  }
  Peer Accept() { return test::AcceptPeer(local_.get()); }
  ServiceTrafficTotals Totals() const { return traffic_.Totals(0); }

  TrafficTable traffic_{1, 1};
  UniqueFd local_;
  std::unique_ptr<TrunkServer> server_;
};

// Plays an agent whose epoll refuses the listening socket: epoll watches no regular files.
class UnwatchedListenerTest : public TrunkServerTest {
 protected:
  UnwatchedListenerTest() {
    UniqueFd refused(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    fd_ = refused.get();
    worker_.emplace(TrunkWorker::Options{}, std::move(refused), services_, targets_, traffic_);
  }
  // Puts another file in the place of the worker's listening socket.
  void Replace(const UniqueFd& by) const { ASSERT_EQ(dup2(by.get(), fd_), fd_); }
  void ExpectTrunk() const {
    const RawProxy proxy(BoundPort(socket_.get()));
    EXPECT_TRUE(test::Eventually([&] { return worker_->counters().trunks_accepted.Value() > 0; }));
  }
  void AwaitRefusals(int count) const {
    EXPECT_TRUE(test::Eventually([&] {
      return log_.Count("a worker accepts no trunks, because epoll cannot watch") == count;
    })) << log_.text();
  }

  const test::LogCapture log_;
  const UniqueFd socket_ = ListenOn({.host = "127.0.0.1", .port = 0}).value();
  const std::vector<LocalService> services_;
  const std::vector<TrunkWorker::Target> targets_;
  int fd_ = -1;
  std::optional<TrunkWorker> worker_;
};

TEST_F(UnwatchedListenerTest, IsTriedAgain) {
  AwaitRefusals(1);
  Replace(socket_);
  ExpectTrunk();
  EXPECT_EQ(log_.Count("the worker accepts trunks again"), 1);
}

TEST_F(UnwatchedListenerTest, IsTriedAgainAfterAPauseToo) {
  TRUNKLINE_SKIP_UNDER_SANITIZERS();
  AwaitRefusals(1);
  Replace(socket_);
  EXPECT_TRUE(test::Eventually([&] { return log_.Count("accepts trunks again") == 1; }));
  UniqueFd waiting = test::NewClientSocket();
  const UniqueFd refused(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  {
    test::NoDescriptors none;
    const Peer client = test::ConnectSocket(
        std::move(waiting),
        {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(socket_.get()))});
    EXPECT_TRUE(test::Eventually([&] { return log_.Count("no trunk can be accepted") == 1; }));
    Replace(refused);
    AwaitRefusals(2);
  }
  Replace(socket_);
  ExpectTrunk();
}

TEST_F(TrunkServerTest, SecondAgentOnThePortIsRefusedLoudly) {
  StartWithLocalServer();
  TrafficTable traffic(1, 0);
  TrunkServer::Options options;
  options.listen = {.host = "127.0.0.1", .port = static_cast<uint16_t>(server_->port())};
  EXPECT_TRUE(absl::IsAlreadyExists(TrunkServer::Start(options, traffic).status()));
}

// The addresses that a test gives to a target with a host name.
class MovingTarget {
 public:
  void Set(AddressList addresses) {
    const std::lock_guard lock(mutex_);
    addresses_ = std::move(addresses);
  }
  AddressList Get() const {
    const std::lock_guard lock(mutex_);
    return addresses_;
  }

 private:
  mutable std::mutex mutex_;
  AddressList addresses_;
};

class NamedTargetTest : public TrunkServerTest {
 protected:
  NamedTargetTest() : local_address_(Listen()) {
    TrunkServer::Options options;
    options.listen = {.host = "127.0.0.1", .port = 0};
    options.services = {{.name = "db", .target = {.host = "db.test", .port = 1}}};
    options.lookup = [this](const Address&) { return target_.Get(); };
    auto server = TrunkServer::Start(options, traffic_);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  Address Listen() {
    local_ = ListenOn({.host = "127.0.0.1", .port = 0}).value();
    return {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(local_.get()))};
  }
  // Opens a stream and returns its status.
  int StatusOfNewStream() {
    RawProxy proxy(server_->port());
    TestStream& stream = proxy.Open();
    EXPECT_TRUE(proxy.RunUntil([&] { return !stream.headers.empty(); }));
    return stream.headers.empty() ? 0 : stream.headers.front();
  }

  MovingTarget target_;
  Address local_address_;
};

TEST_F(NamedTargetTest, AgentStartsBeforeItsServersNameIsKnown) {
  EXPECT_EQ(StatusOfNewStream(), 503);
  target_.Set(KnownAddresses(local_address_));
  EXPECT_EQ(StatusOfNewStream(), 200);
}

TEST_F(NamedTargetTest, NewStreamsFollowANameThatMoves) {
  test::RefusingPort before;
  target_.Set(KnownAddresses(before.address()));
  EXPECT_EQ(StatusOfNewStream(), 503);
  target_.Set(KnownAddresses(local_address_));
  EXPECT_EQ(StatusOfNewStream(), 200);
}

TEST_F(NamedTargetTest, EveryAddressOfANameIsTried) {
  test::RefusingPort closed, closed_too;
  target_.Set(std::make_shared<const std::vector<SocketAddress>>(std::vector<SocketAddress>{
      ResolveAddress(closed.address()).value(), ResolveAddress(closed_too.address()).value(),
      ResolveAddress(local_address_).value()}));
  EXPECT_EQ(StatusOfNewStream(), 200);
  EXPECT_EQ(Totals().errors_connect, 0u);
}

TEST_F(TrunkServerTest, StreamIsAcceptedOnlyAfterTheServersConnect) {
  test::ScratchFolder folder;
  const Address address{.unix_path = folder.File("s")};
  auto listener = ListenOn(address);
  ASSERT_TRUE(listener.ok());
  local_ = *std::move(listener);
  ASSERT_EQ(listen(local_.get(), 0), 0);  // a queue of one, which is full
  Peer filler = test::ConnectPeer(address);
  Start(address, absl::Seconds(20));
  RawProxy proxy(server_->port());
  TestStream& stream = proxy.Open();
  stream.source = "early";
  ASSERT_TRUE(proxy.RunUntil([&] { return Totals().active_streams == 1; }));
  EXPECT_TRUE(stream.headers.empty());
  Peer filler_server = Accept();
  Peer server = Accept();
  EXPECT_EQ(server.Read(5), "early");
  ASSERT_TRUE(proxy.RunUntil([&] { return !stream.headers.empty(); }));
  EXPECT_THAT(stream.headers, ElementsAre(200));
}

TEST_F(TrunkServerTest, FullServerQueueIsAnswered503AfterTheConnectTimeout) {
  test::ScratchFolder folder;
  const Address address{.unix_path = folder.File("s")};
  auto listener = ListenOn(address);
  ASSERT_TRUE(listener.ok());
  ASSERT_EQ(listen(listener->get(), 0), 0);
  Peer filler = test::ConnectPeer(address);
  Start(address, absl::Milliseconds(50));
  RawProxy proxy(server_->port());
  TestStream& stream = proxy.Open();
  ASSERT_TRUE(proxy.RunUntil([&] { return !stream.closes.empty(); }));
  EXPECT_THAT(stream.headers, ElementsAre(503));
  EXPECT_EQ(Totals().errors_connect, 1u);
}

// A server's machine that is gone would otherwise keep the stream of an idle client for ever.
TEST_F(TrunkServerTest, IdleConnectionToTheServerIsProbed) {
  StartWithLocalServer();
  RawProxy proxy(server_->port());
  TestStream& stream = proxy.Open();
  ASSERT_TRUE(proxy.RunUntil([&] { return !stream.headers.empty(); }));
  Peer server = Accept();
  const int upstream = test::FindSocket(PeerAddress(server.fd()).port,
                                        static_cast<uint16_t>(BoundPort(local_.get())));
  ASSERT_GE(upstream, 0);
  ASSERT_TRUE(
      proxy.RunUntil([&] { return test::OptionOf(upstream, SOL_SOCKET, SO_KEEPALIVE) == 1; }));
  EXPECT_EQ(test::OptionOf(upstream, IPPROTO_TCP, TCP_KEEPIDLE), 60);
  EXPECT_EQ(test::OptionOf(upstream, IPPROTO_TCP, TCP_KEEPINTVL), 10);
  EXPECT_EQ(test::OptionOf(upstream, IPPROTO_TCP, TCP_KEEPCNT), 6);
}

int OwnNiceness() { return getpriority(PRIO_PROCESS, 0); }

// The niceness that a thread of this process may have: 4 below its own, or its own.
int NicenessAllowed() {
  int niceness = 0;
  std::thread([&] {
    setpriority(PRIO_PROCESS, 0, OwnNiceness() - 4);
    niceness = OwnNiceness();
  }).join();
  return niceness;
}

std::vector<int> NicenessOfOtherThreads() {
  std::vector<int> all;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    const int id = std::stoi(task.path().filename());
    if (id != getpid()) all.push_back(getpriority(PRIO_PROCESS, id));
  }
  return all;
}

// Beside a busy server each stream would wait for that server's threads in both directions.
TEST_F(TrunkServerTest, TrunkThreadGetsPriorityAndItsStarterKeepsItsOwn) {
  const int own = OwnNiceness();
  StartWithLocalServer();
  RawProxy proxy(server_->port());
  ASSERT_TRUE(proxy.RunUntil([&] { return proxy.offers_load(); }));
  // Before the thread of NicenessAllowed; a sanitizer may have one of its own.
  const std::vector<int> others = NicenessOfOtherThreads();
  EXPECT_THAT(others, Contains(NicenessAllowed()));
  EXPECT_EQ(OwnNiceness(), own);
}

TEST_F(TrunkServerTest, CountsStreamOutcomes) {
  StartWithLocalServer();
  RawProxy proxy(server_->port());
  // A stream that ends cleanly.
  TestStream& good = proxy.Open();
  good.source = "12345";
  good.finish = true;
  ASSERT_TRUE(proxy.RunUntil([&] { return !good.headers.empty(); }));
  Peer server = Accept();
  EXPECT_EQ(server.ReadToEnd(), "12345");
  ASSERT_TRUE(server.Send("123"));
  EXPECT_EQ(Totals().active_streams, 1u);
  server.Close();
  ASSERT_TRUE(proxy.RunUntil([&] { return !good.closes.empty(); }));
  // A stream that the server resets.
  TestStream& broken = proxy.Open();
  ASSERT_TRUE(proxy.RunUntil([&] { return !broken.headers.empty(); }));
  Accept().Reset();
  ASSERT_TRUE(proxy.RunUntil([&] { return !broken.closes.empty(); }));
  EXPECT_THAT(broken.closes, ElementsAre(NGHTTP2_CONNECT_ERROR));
  // A stream whose server refuses the connect.
  local_.Reset();
  TestStream& refused = proxy.Open();
  ASSERT_TRUE(proxy.RunUntil([&] { return !refused.closes.empty(); }));
  EXPECT_THAT(refused.headers, ElementsAre(503));

  const ServiceTrafficTotals totals = Totals();
  EXPECT_EQ(totals.streams_opened, 3u);
  EXPECT_EQ(totals.successes, 1u);
  EXPECT_EQ(totals.errors_reset, 1u);
  EXPECT_EQ(totals.errors_connect, 1u);
  EXPECT_EQ(totals.bytes_from_proxy, 5u);
  EXPECT_EQ(totals.bytes_to_proxy, 3u);
  EXPECT_EQ(totals.active_streams, 0u);
  EXPECT_FALSE(totals.reachable);
}

TEST_F(TrunkServerTest, ProxyThatDiesResetsItsStreamsOnly) {
  StartWithLocalServer();
  RawProxy living(server_->port());
  TestStream& stream = living.Open();
  ASSERT_TRUE(living.RunUntil([&] { return !stream.headers.empty(); }));
  Peer living_server = Accept();
  Peer orphan;
  {
    RawProxy dying(server_->port());
    TestStream& lost = dying.Open();
    ASSERT_TRUE(dying.RunUntil([&] { return !lost.headers.empty(); }));
    orphan = Accept();
  }
  orphan.ReadToEnd();
  EXPECT_EQ(orphan.ending(), Ending::kReset);
  ASSERT_TRUE(living_server.Send("still here"));
  ASSERT_TRUE(living.RunUntil([&] { return stream.received == "still here"; }));
}

TEST_F(TrunkServerTest, ChangingLoadIsSentOnALoadStream) {
  StartWithLocalServer();
  traffic_.SetUtilization(0, 0.25);
  RawProxy proxy(server_->port());
  TestStream& load = proxy.AskForLoad();
  ASSERT_TRUE(proxy.RunUntil([&] { return load.received == "db 0 250\n"; }));
  EXPECT_TRUE(proxy.offers_load());
  EXPECT_THAT(load.headers, ElementsAre(200));
  load.received.clear();
  // Another proxy's stream.
  RawProxy other(server_->port());
  other.Open();
  ASSERT_TRUE(other.RunUntil([&] { return Totals().load_streams == 1; }));
  ASSERT_TRUE(proxy.RunUntil([&] { return load.received.starts_with("db 1 250\n"); }));
  load.received.clear();
  traffic_.SetUtilization(0, 1.5);
  ASSERT_TRUE(proxy.RunUntil([&] { return load.received.ends_with("db 1 1500\n"); }));
}

TEST_F(TrunkServerTest, SecondLoadStreamOfATrunkIsRefused) {
  StartWithLocalServer();
  RawProxy proxy(server_->port());
  TestStream& first = proxy.AskForLoad();
  TestStream& second = proxy.AskForLoad();
  ASSERT_TRUE(proxy.RunUntil([&] { return !second.closes.empty(); }));
  EXPECT_THAT(second.headers, ElementsAre(429));
  EXPECT_THAT(first.headers, ElementsAre(200));
  RawProxy other(server_->port());
  TestStream& of_another = other.AskForLoad();
  ASSERT_TRUE(other.RunUntil([&] { return !of_another.received.empty(); }));
}

TEST_F(TrunkServerTest, AbandonedLoadStreamMayBeRequestedAgain) {
  StartWithLocalServer();
  RawProxy proxy(server_->port());
  TestStream& first = proxy.AskForLoad();
  ASSERT_TRUE(proxy.RunUntil([&] { return !first.received.empty(); }));
  first.session()->Abandon(&first, NGHTTP2_CANCEL);
  TestStream& second = proxy.AskForLoad();
  ASSERT_TRUE(proxy.RunUntil([&] { return !second.headers.empty(); }));
  EXPECT_THAT(second.headers, ElementsAre(200));
}

TEST_F(TrunkServerTest, DrainEndsLoadStreams) {
  StartWithLocalServer();
  RawProxy proxy(server_->port());
  TestStream& load = proxy.AskForLoad();
  ASSERT_TRUE(proxy.RunUntil([&] { return !load.received.empty(); }));
  server_->Drain(absl::Milliseconds(50));
  ASSERT_TRUE(proxy.RunUntil([&] { return !load.closes.empty(); }));
  EXPECT_THAT(load.closes, ElementsAre(0u));
}

TEST_F(TrunkServerTest, JunkOnThePortClosesOnlyThatConnection) {
  StartWithLocalServer();
  RawProxy proxy(server_->port());
  TestStream& stream = proxy.Open();
  ASSERT_TRUE(proxy.RunUntil([&] { return !stream.headers.empty(); }));
  for (const std::string& junk : {std::string("GET / HTTP/1.0\r\n\r\n"), std::string(100'000, '\0'),
                                  std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\njunkjunkjunk")}) {
    Peer stranger =
        test::ConnectPeer({.host = "127.0.0.1", .port = static_cast<uint16_t>(server_->port())});
    stranger.Send(junk);
    stranger.ReadToEnd();
    EXPECT_NE(stranger.ending(), Ending::kNone) << "closed";
  }
  Peer server = Accept();
  ASSERT_TRUE(server.Send("still here"));
  ASSERT_TRUE(proxy.RunUntil([&] { return stream.received == "still here"; }));
}

// The proxy sees only a connection that stays silent.
TEST_F(TrunkServerTest, TrunkThatCannotBeAcceptedIsLogged) {
  TRUNKLINE_SKIP_UNDER_SANITIZERS();
  const test::LogCapture log;
  StartWithLocalServer();
  UniqueFd socket = test::NewClientSocket();
  const Address port = {.host = "127.0.0.1", .port = static_cast<uint16_t>(server_->port())};
  test::NoDescriptors none;
  Peer waiting = test::ConnectSocket(std::move(socket), port);
  const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(test::kPatienceMillis);
  while (log.Count("no trunk can be accepted: Too many open files") == 0) {
    ASSERT_LT(MonotonicNow(), deadline) << log.text();
    test::WaitFor(waiting.fd(), POLLIN, 5);
  }
  none.GiveBack();
  EXPECT_TRUE(test::WaitFor(waiting.fd(), POLLIN)) << "accepted when there are descriptors again";
  server_.reset();  // logs until then
}

TEST_F(TrunkServerTest, DrainWithoutStreamsNotifiesThePeerAndReturnsSoon) {
  StartWithLocalServer();
  RawProxy proxy(server_->port());
  TestStream& stream = proxy.Open();
  ASSERT_TRUE(proxy.RunUntil([&] { return !stream.headers.empty(); }));
  stream.Abort();
  ASSERT_TRUE(proxy.RunUntil([&] { return Totals().active_streams == 0; }));
  const MonotonicTime start = MonotonicNow();
  server_->Drain(absl::Minutes(1));
  EXPECT_LT(MonotonicNow() - start, absl::Seconds(20));
  EXPECT_TRUE(proxy.RunUntil([&] { return !proxy.goaways().empty(); }));
  EXPECT_FALSE(
      test::ConnectPeer({.host = "127.0.0.1", .port = static_cast<uint16_t>(server_->port())}));
}

TEST_F(TrunkServerTest, DrainReturnsAtItsDeadlineWithAStreamStillOpen) {
  StartWithLocalServer();
  RawProxy proxy(server_->port());
  TestStream& stream = proxy.Open();
  ASSERT_TRUE(proxy.RunUntil([&] { return !stream.headers.empty(); }));
  const MonotonicTime start = MonotonicNow();
  server_->Drain(absl::Milliseconds(300));
  EXPECT_GE(MonotonicNow() - start, absl::Milliseconds(300));
  EXPECT_EQ(Totals().active_streams, 1u);
  server_.reset();
  EXPECT_FALSE(proxy.RunUntil([&] { return !stream.closes.empty(); }));
  EXPECT_NE(proxy.peer().ending(), Ending::kNone) << "the trunk ended under it";
}

}  // namespace
}  // namespace trunkline
