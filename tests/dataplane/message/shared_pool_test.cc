// A pool of shared connections: its dials, its backoff after a refusal, and its notifications of
// room. The test plays user, clients and server.
#include "dataplane/message/shared_pool.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/metrics.h"
#include "common/inband/inband_report.h"
#include "common/net/address_list.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/redis.h"
#include "dataplane/codec/redis_introduction.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/message/shared_connection.h"
#include "dataplane/route/carrier.h"
#include "dataplane/route/dialer.h"
#include "dataplane/stats/traffic_stats.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/message/connection_bench.h"

namespace trunkline {
namespace {

using test::Peer;
using test::TestClient;

const std::string kRequest = "request\n";

class SharedPoolTest : public ::testing::Test, private Carrier::User, private Dialer::Owner {
 protected:
  SharedPoolTest() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
  }
  ~SharedPoolTest() override {
    if (used_) Leave();
    pool_.reset();
    loop_.RunOnce(absl::ZeroDuration());
  }

  // The server's port refuses connects until this call.
  void Listen() { ASSERT_EQ(listen(socket_.get(), 16), 0); }
  void Start(SharedPool::Options options = {}) {
    if (options.connection.codec == nullptr) options.connection.codec = test::LineCodec();
    pool_ = std::make_unique<SharedPool>(loop_, dialer_, "the server", options, budget_,
                                         &stats_.worker(0).shared, &open_, 1);
    pool_->AddUser(this);
    used_ = true;
    pool_->SetTarget(KnownAddresses(
        {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(socket_.get()))}));
  }
  // The server's port answers no connect from this call on.
  void FillQueue() {
    ASSERT_EQ(listen(socket_.get(), 0), 0);
    const auto port = static_cast<uint16_t>(BoundPort(socket_.get()));
    const SocketAddress where = ResolveAddress({.host = "127.0.0.1", .port = port}).value();
    for (int i = 0; i < 4; ++i) fillers_.push_back(ConnectTo(where));
  }
  void Leave() {
    used_ = false;
    pool_->RemoveUser(this);
  }

  SharedConnection* Acquire(uint8_t variant = 0) { return pool_->AcquireConnection(variant); }
  // A request on the connection that the pool chooses; null if it has none.
  SharedConnection* Send() {
    SharedConnection* const connection = Acquire();
    if (connection != nullptr) {
      connection->Send(&client_, test::AsBytes(kRequest), Request(), /*open=*/false,
                       MonotonicTime());
    }
    return connection;
  }
  Peer Accept() { return test::AcceptPeer(socket_.get()); }
  // Sends a request on a new connection; the server's end of it, with the request read.
  Peer SendAndAccept() {
    EXPECT_NE(Send(), nullptr);
    Peer server = Accept();
    Run([&] { return server.UnreadBytes() == 8; });
    EXPECT_EQ(server.Read(8), "request\n");
    return server;
  }
  template <typename Condition>
  void Run(Condition condition) {
    EXPECT_TRUE(test::RunLoopUntil(loop_, condition));
  }
  int fd() const { return socket_.get(); }
  uint64_t shortages() { return stats_.worker(0).socket_shortages.Value(); }

  EventLoop loop_;
  TrafficStats stats_{1};
  Gauge open_;
  std::shared_ptr<ConnectionBudget> budget_ = std::make_shared<ConnectionBudget>();
  std::unique_ptr<SharedPool> pool_;
  TestClient client_;
  int changes_ = 0;
  int rooms_ = 0;
  bool has_socket_ = true;
  bool has_others_ = false;

 private:
  bool waits() const override { return true; }
  bool has_others() const override { return has_others_; }
  void OnCarrierChanged(Carrier&) override { ++changes_; }
  void OnCarrierRoom(Carrier&) override { ++rooms_; }
  void OnInbandReport(Carrier&, const InbandReport&) override {}
  void OnLoadUnknown(Carrier&) override {}
  bool HasSocket() const override { return has_socket_; }
  void DialAgain() override {}

  const UniqueFd socket_;
  std::vector<ConnectResult> fillers_;
  Dialer dialer_{loop_, stats_.worker(0), *this};
  bool used_ = false;
};

TEST_F(SharedPoolTest, DialsOnDemandAndSharesTheConnection) {
  Listen();
  Start();
  EXPECT_EQ(pool_->connections(), 0u);
  SharedConnection* const first = Send();
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(Send(), first);
  EXPECT_EQ(pool_->connections(), 1u);
  EXPECT_EQ(open_.Value(), 1);
  EXPECT_EQ(budget_->used(), 1u);
}

TEST_F(SharedPoolTest, DialsAnotherConnectionAboveSixteenRequestsUpToItsLimit) {
  Listen();
  Start({.max_shared = 2});
  for (int i = 0; i < 16; ++i) ASSERT_NE(Send(), nullptr);
  EXPECT_EQ(pool_->connections(), 1u);
  for (int i = 0; i < 100; ++i) ASSERT_NE(Send(), nullptr);
  EXPECT_EQ(pool_->connections(), 2u);
}

TEST_F(SharedPoolTest, SpentBudgetLeavesItWithoutRoomUntilAPlaceIsFree) {
  Listen();
  Start({.max_connections = 1});
  auto other = std::make_unique<ConnectionLease>(budget_, 1u);
  EXPECT_EQ(Acquire(), nullptr);
  pool_->Await();
  other.reset();
  pool_->OnPlaceFree();
  EXPECT_EQ(rooms_, 1);
  EXPECT_NE(Acquire(), nullptr);
}

TEST_F(SharedPoolTest, MissingDescriptorsLeaveNoRoomAndCountAgainstNoServer) {
  Listen();
  Start();
  has_socket_ = false;
  EXPECT_EQ(Acquire(), nullptr);
  EXPECT_EQ(shortages(), 1u);
  EXPECT_TRUE(pool_->usable());
  EXPECT_EQ(budget_->used(), 0u);
}

TEST_F(SharedPoolTest, RefusedDialMakesItUnusableAndReturnsTheRequest) {
  Start();
  ASSERT_NE(Send(), nullptr);
  const int before = changes_;
  Run([&] { return !pool_->usable(); });
  EXPECT_GT(changes_, before);
  EXPECT_EQ(pool_->connections(), 0u);
  EXPECT_EQ(budget_->used(), 0u);
  ASSERT_EQ(client_.unanswered.size(), 1u);
  EXPECT_FALSE(client_.unanswered[0].written);
}

TEST_F(SharedPoolTest, FailedPoolDialsByItsBackoffOnlyAndRecovers) {
  Start();
  ASSERT_NE(Send(), nullptr);
  Run([&] { return !pool_->usable(); });
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Acquire(), nullptr) << "no dial for a request";
  EXPECT_EQ(pool_->connections(), 0u);
  Listen();
  const int before = changes_;
  Run([&] { return pool_->usable(); });
  EXPECT_GT(changes_, before);
  EXPECT_NE(Acquire(), nullptr) << "on the connection that the backoff's dial made";
  EXPECT_EQ(pool_->connections(), 1u);
}

TEST_F(SharedPoolTest, KeepsItsConnectionsWhileAnotherDialFails) {
  Listen();
  SharedPool::Options options{.max_shared = 2};
  options.connection.max_in_flight = 1;
  Start(options);
  Peer server = SendAndAccept();
  // The port refuses from here on.
  ASSERT_EQ(shutdown(fd(), SHUT_RDWR), 0);
  ASSERT_NE(Send(), nullptr);
  Run([&] { return pool_->connections() == 1; });
  EXPECT_TRUE(pool_->usable());
  ASSERT_TRUE(server.Send("reply\n"));
  Run([&] { return client_.completed == 1; });
}

// The probe may last for the whole connect timeout, and no request must.
TEST_F(SharedPoolTest, RequestsDoNotJoinAProbeWhileAConnectionIsUp) {
  Listen();
  SharedPool::Options options{.max_shared = 2};
  options.connection.connect_timeout = absl::Milliseconds(50);
  Start(options);
  const Peer server = SendAndAccept();
  SharedConnection* const up = Acquire();
  FillQueue();
  while (pool_->connections() == 1) ASSERT_NE(Send(), nullptr);
  Run([&] { return pool_->connections() == 1; });
  Run([&] { return pool_->connections() == 2; });
  EXPECT_EQ(Acquire(), up);
}

TEST_F(SharedPoolTest, NotifiesOfRoomOnceIfFlowsWait) {
  Listen();
  SharedPool::Options options{.max_shared = 1};
  options.connection.max_in_flight = 1;
  Start(options);
  Peer server = SendAndAccept();
  const int before = rooms_;
  EXPECT_EQ(Acquire(), nullptr);
  pool_->Await();
  ASSERT_TRUE(server.Send("reply\n"));
  Run([&] { return client_.completed == 1; });
  EXPECT_EQ(rooms_, before + 1);
  ASSERT_NE(Send(), nullptr);
  Run([&] { return server.UnreadBytes() == 8; });
  ASSERT_TRUE(server.Send("reply\n"));
  Run([&] { return client_.completed == 2; });
  EXPECT_EQ(rooms_, before + 1) << "no flow waits any more";
}

TEST_F(SharedPoolTest, SlowClientLearnsThatFlowsWaitForRoom) {
  Listen();
  SharedPool::Options options{.max_shared = 1};
  options.connection.max_in_flight = 1;
  Start(options);
  SharedConnection* const connection = Send();
  connection->PauseFor(&client_);
  EXPECT_EQ(Acquire(), nullptr);
  pool_->Await();
  EXPECT_EQ(client_.others, 1);
  EXPECT_TRUE(connection->OthersWait(&client_));
}

TEST_F(SharedPoolTest, RequestsAvoidAConnectionThatASlowClientHoldsUp) {
  Listen();
  Start({.max_shared = 2});
  SharedConnection* const held_up = Send();
  held_up->ReadOnFor(&client_);
  SharedConnection* const other = Send();
  EXPECT_NE(other, held_up) << "another one is dialed";
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Send(), other);
  other->ReadOnFor(&client_);
  EXPECT_EQ(Send(), held_up) << "all are held up, so the least busy one";
  held_up->Release(&client_);
  EXPECT_EQ(Send(), held_up);
}

// The lines that are logged while it exists.
class LogCapture {
 public:
  LogCapture()
      : before_(spdlog::default_logger()),
        sink_(std::make_shared<spdlog::sinks::ostream_sink_mt>(lines_)) {
    sink_->set_pattern("%v");
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink_));
  }
  ~LogCapture() { spdlog::set_default_logger(before_); }
  std::string Lines() const { return lines_.str(); }

 private:
  const std::shared_ptr<spdlog::logger> before_;
  std::ostringstream lines_;
  const std::shared_ptr<spdlog::sinks::ostream_sink_mt> sink_;
};

TEST_F(SharedPoolTest, UnaskedBytesAreCountedAndLoggedOnceInTenSeconds) {
  Listen();
  const auto stats = std::make_shared<EndpointStats>("db", "e0", 1);
  Start({.stats = stats});
  const LogCapture log;
  for (uint64_t losses = 1; losses <= 3; ++losses) {
    Peer server = SendAndAccept();
    ASSERT_TRUE(server.Send("reply\nunasked\n"));
    Run([&] { return pool_->connections() == 0; });
    EXPECT_EQ(stats->cell(0).unasked.Value(), losses);
  }
  const std::string lines = log.Lines();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 1) << lines;
  EXPECT_NE(lines.find("lost a shared connection to the server: the server sent bytes that no "
                       "request asked for"),
            std::string::npos)
      << lines;
}

TEST_F(SharedPoolTest, DialLeavesTimeForAnotherEndpointIfThereIsOne) {
  Listen();
  FillQueue();
  SharedPool::Options options;
  options.connection.connect_timeout = absl::Milliseconds(100);
  for (const bool others : {false, true}) {
    has_others_ = others;
    Start(options);
    const LogCapture log;
    ASSERT_NE(Send(), nullptr);
    Run([&] { return !pool_->usable(); });
    EXPECT_NE(log.Lines().find(absl::StrCat("the server cannot be reached: no connection within ",
                                            others ? "40ms" : "100ms")),
              std::string::npos)
        << log.Lines();
    Leave();
    pool_.reset();
  }
}

TEST_F(SharedPoolTest, ResetOfAStalledClientIsLogged) {
  Listen();
  Start();
  const LogCapture log;
  Send()->ReportStalled(300'000, absl::Seconds(4));
  EXPECT_NE(log.Lines().find("the server: resetting a client"), std::string::npos) << log.Lines();
  EXPECT_NE(log.Lines().find("300000 bytes are buffered for it, the oldest for 4s"),
            std::string::npos)
      << log.Lines();
}

TEST_F(SharedPoolTest, MakesRoomByClosingAnIdleConnectionOnly) {
  Listen();
  Start();
  Peer server = SendAndAccept();
  EXPECT_FALSE(pool_->MakeRoom()) << "its request is in flight";
  ASSERT_TRUE(server.Send("reply\n"));
  Run([&] { return client_.completed == 1; });
  EXPECT_TRUE(pool_->MakeRoom());
  EXPECT_EQ(pool_->connections(), 0u);
  EXPECT_EQ(budget_->used(), 0u);
  EXPECT_EQ(open_.Value(), 0);
}

// Two variants of a protocol, of which only the second needs an opening.
SharedPool::Options RedisOptionsOf(uint32_t max_connections) {
  SharedPool::Options options{.max_connections = max_connections};
  options.connection.codec = std::shared_ptr<const Codec>(NewRedisCodec({}));
  return options;
}

TEST_F(SharedPoolTest, VariantsDoNotShareConnections) {
  Listen();
  Start(RedisOptionsOf(/*max_connections=*/0));
  SharedConnection* const resp2 = Acquire(kResp2);
  SharedConnection* const resp3 = Acquire(kResp3);
  ASSERT_NE(resp3, nullptr);
  EXPECT_NE(resp2, resp3);
  EXPECT_EQ(Acquire(kResp2), resp2);
  EXPECT_EQ(Acquire(kResp3), resp3);
  EXPECT_EQ(pool_->connections(), 2u);
}

TEST_F(SharedPoolTest, IdleConnectionGivesItsPlaceToTheFirstOfAnotherVariant) {
  Listen();
  Start(RedisOptionsOf(/*max_connections=*/1));
  ASSERT_NE(Acquire(kResp2), nullptr);
  SharedConnection* const resp3 = Acquire(kResp3);
  ASSERT_NE(resp3, nullptr);
  EXPECT_EQ(resp3->variant(), kResp3);
  EXPECT_EQ(pool_->connections(), 1u);
  EXPECT_EQ(budget_->used(), 1u);
  ASSERT_NE(Send(), nullptr) << "and back";
  EXPECT_EQ(Acquire(kResp3), nullptr) << "a request is in flight on the only one";
}

TEST_F(SharedPoolTest, ServerThatRefusesAVariantServesTheOthers) {
  Listen();
  const auto stats = std::make_shared<EndpointStats>("db", "e0", 1);
  SharedPool::Options options = RedisOptionsOf(/*max_connections=*/0);
  options.stats = stats;
  Start(options);
  const LogCapture log;
  SharedConnection* const resp3 = Acquire(kResp3);
  ASSERT_NE(resp3, nullptr);
  resp3->Send(&client_, test::AsBytes(kRequest), Request(), /*open=*/false, MonotonicTime());
  Peer server = Accept();
  Run([&] { return server.UnreadBytes() > 0; });
  ASSERT_TRUE(server.Send("-NOPROTO sorry, this protocol version is not supported\r\n"));
  Run([&] { return pool_->connections() == 0; });
  EXPECT_TRUE(pool_->Refuses(kResp3));
  EXPECT_FALSE(pool_->Refuses(kResp2));
  EXPECT_EQ(Acquire(kResp3), nullptr) << "no dial for each client";
  EXPECT_TRUE(pool_->usable());
  EXPECT_FALSE(pool_->failing());
  EXPECT_FALSE(stats->reachability.IsFailing(options.address));
  EXPECT_NE(Acquire(kResp2), nullptr);
  EXPECT_EQ(client_.unanswered.size(), 1u);
  EXPECT_NE(log.Lines().find("the server: the server refused the opening of the connection: "
                             "NOPROTO sorry"),
            std::string::npos)
      << log.Lines();
}

// A server, or a box before it, may treat the opening of a variant in these ways.
struct OpeningFailure {
  const char* name;
  const char* answer;  // empty: none
  bool closes;
};

class FailedVariantTest : public SharedPoolTest,
                          public testing::WithParamInterface<OpeningFailure> {};

TEST_P(FailedVariantTest, ConcernsNoOtherVariantAndIsTriedAgainWithBackoff) {
  Listen();
  const auto stats = std::make_shared<EndpointStats>("db", "e0", 1);
  SharedPool::Options options = RedisOptionsOf(/*max_connections=*/0);
  options.stats = stats;
  options.connection.connect_timeout = absl::Milliseconds(300);
  Start(options);
  const LogCapture log;
  SharedConnection* const resp3 = Acquire(kResp3);
  ASSERT_NE(resp3, nullptr);
  resp3->Send(&client_, test::AsBytes(kRequest), Request(), /*open=*/false, MonotonicTime());
  Peer server = Accept();
  Run([&] { return server.UnreadBytes() > 0; });
  server.Read(server.UnreadBytes());
  ASSERT_TRUE(server.Send(GetParam().answer));
  if (GetParam().closes) server.Close();
  Run([&] { return pool_->connections() == 0; });
  EXPECT_EQ(client_.unanswered.size(), 1u);
  EXPECT_FALSE(pool_->Refuses(kResp3)) << "its clients need no dedicated connections";
  EXPECT_EQ(Acquire(kResp3), nullptr) << "no dial for each client";
  EXPECT_TRUE(pool_->usable());
  EXPECT_FALSE(pool_->failing());
  EXPECT_FALSE(stats->reachability.IsFailing(options.address));
  EXPECT_EQ(stats->cell(0).connect_refused.Value() + stats->cell(0).connect_timeouts.Value(), 0u);
  EXPECT_NE(log.Lines().find("ask for this version of the protocol go to other endpoints"),
            std::string::npos)
      << log.Lines();
  const int before = rooms_;
  pool_->Await();
  Run([&] { return rooms_ > before; });
  Run([&] { return Acquire(kResp3) != nullptr; });
  EXPECT_NE(Acquire(kResp2), nullptr);
}

INSTANTIATE_TEST_SUITE_P(
    Openings, FailedVariantTest,
    testing::Values(OpeningFailure{"Fin", "", true}, OpeningFailure{"Silence", "", false},
                    OpeningFailure{"Malformed", "220 ready\r\n", false},
                    OpeningFailure{"Push", ">1\r\n+news\r\n", false},
                    OpeningFailure{"Full", "-ERR max number of clients reached\r\n", true}),
    [](const auto& info) { return info.param.name; });

TEST_F(SharedPoolTest, RefusedVariantOfADedicatedConnectionConcernsNoOther) {
  Listen();
  Start(RedisOptionsOf(/*max_connections=*/0));
  pool_->OnVariantRefused(kResp3, /*lacking=*/false);
  EXPECT_EQ(Acquire(kResp3), nullptr);
  EXPECT_FALSE(pool_->Refuses(kResp3));
  EXPECT_NE(Acquire(kResp2), nullptr);
  pool_->OnVariantRefused(kResp3, /*lacking=*/true);
  EXPECT_TRUE(pool_->Refuses(kResp3));
  EXPECT_TRUE(pool_->usable());
}

class TurnsTest : public SharedPoolTest {
 protected:
  void SetUp() override {
    Listen();
    Start(RedisOptionsOf(/*max_connections=*/1));
  }
  // Sends a request on the only connection; its server's end, which has answered the opening.
  Peer Occupy(uint8_t variant) {
    Run([&] { return Acquire(variant) != nullptr; });
    SharedConnection* const connection = Acquire(variant);
    connection->Send(&client_, test::AsBytes(kRequest), Request(), /*open=*/false, MonotonicTime());
    Peer server = Accept();
    if (variant == kResp3) {
      Run([&] { return server.UnreadBytes() > 0; });
      EXPECT_TRUE(server.Send("+OK\r\n"));
    }
    Run([&] { return connection->up(); });
    return server;
  }
  // Flows of `variant` wait until the connection of the other one takes no more requests.
  void WaitForTurn(uint8_t variant, uint8_t other) {
    ASSERT_NE(Acquire(other), nullptr);
    Run([&] {
      EXPECT_EQ(Acquire(variant), nullptr) << "requests are in flight on the only one";
      pool_->Await();
      return Acquire(other) == nullptr;
    });
    EXPECT_EQ(pool_->connections(), 1u) << "it has not answered yet";
  }
};

TEST_F(TurnsTest, BusyConnectionGivesItsPlaceToTheOtherVariantInBothDirections) {
  uint8_t variant = kResp2;
  for (uint32_t round = 1; round <= 4; ++round) {
    const uint8_t other = variant == kResp2 ? kResp3 : kResp2;
    Peer server = Occupy(variant);
    WaitForTurn(other, variant);
    const int before = rooms_;
    ASSERT_TRUE(server.Send("+OK\r\n"));
    Run([&] { return pool_->connections() == 0; });
    EXPECT_EQ(client_.completed, round) << "after its last reply";
    EXPECT_TRUE(client_.unanswered.empty());
    EXPECT_GT(rooms_, before);
    EXPECT_EQ(Acquire(variant), nullptr) << "the place is for the one that waited";
    EXPECT_NE(Acquire(other), nullptr);
    variant = other;
  }
}

TEST_F(TurnsTest, PlaceOfAFlowThatLeftIsFreeForTheOthersAfterAMoment) {
  Peer server = Occupy(kResp2);
  WaitForTurn(kResp3, kResp2);
  ASSERT_TRUE(server.Send("+OK\r\n"));
  Run([&] { return pool_->connections() == 0; });
  EXPECT_EQ(Acquire(kResp2), nullptr);
  pool_->Await();
  const int before = rooms_;
  Run([&] { return rooms_ > before; });
  Run([&] { return Acquire(kResp2) != nullptr; });
}

TEST_F(TurnsTest, ConnectionThatIsNotUpYetKeepsItsPlace) {
  SharedConnection* const resp2 = Send();
  ASSERT_NE(resp2, nullptr);
  EXPECT_EQ(Acquire(kResp3), nullptr);
  EXPECT_EQ(Acquire(kResp2), resp2) << "it takes more requests";
}

// With two places, each variant keeps one.
TEST_F(SharedPoolTest, VariantWithAPlaceTakesNoOther) {
  Listen();
  SharedPool::Options options = RedisOptionsOf(/*max_connections=*/2);
  options.connection.max_in_flight = 1;
  Start(options);
  SharedConnection* const resp3 = Acquire(kResp3);
  resp3->Send(&client_, test::AsBytes(kRequest), Request(), /*open=*/false, MonotonicTime());
  SharedConnection* const resp2 = Send();
  Run([&] { return resp2->up(); });
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Acquire(kResp3), nullptr) << "its connection is full";
    EXPECT_FALSE(resp2->retiring());
  }
}

TEST_F(SharedPoolTest, FailingPoolRecoversAlthoughItsProbeWasClosedForAnotherConnection) {
  Start();
  ASSERT_NE(Send(), nullptr);
  Run([&] { return pool_->failing(); });
  Listen();
  Run([&] { return pool_->connections() == 1; });
  EXPECT_TRUE(pool_->MakeRoom());
  EXPECT_EQ(pool_->connections(), 0u);
  Run([&] { return pool_->usable(); });
}

// Without the credential, no variant can be served.
TEST_F(SharedPoolTest, RefusedCredentialMakesItUnusable) {
  Listen();
  SharedPool::Options options;
  options.connection.codec = std::shared_ptr<const Codec>(
      NewRedisCodec({.credential = RedisCredential{.user = "", .password = "secret"}}));
  Start(options);
  const LogCapture log;
  ASSERT_NE(Send(), nullptr);
  Peer server = Accept();
  Run([&] { return server.UnreadBytes() > 0; });
  ASSERT_TRUE(server.Send("-WRONGPASS invalid username-password pair\r\n"));
  Run([&] { return !pool_->usable(); });
  EXPECT_EQ(client_.unanswered.size(), 1u);
  EXPECT_NE(log.Lines().find("cannot be reached: the server refused the opening of the "
                             "connection: WRONGPASS"),
            std::string::npos)
      << log.Lines();
  EXPECT_EQ(log.Lines().find("secret"), std::string::npos) << log.Lines();
}

TEST_F(SharedPoolTest, UnusedPoolFinishesItsRequestsAndCloses) {
  Listen();
  Start();
  Peer server = SendAndAccept();
  Leave();
  EXPECT_EQ(pool_->connections(), 1u);
  EXPECT_FALSE(pool_->idle());
  ASSERT_TRUE(server.Send("reply\n"));
  Run([&] { return pool_->idle(); });
  EXPECT_EQ(client_.replies, "reply\n");
}

TEST_F(SharedPoolTest, LostConnectionIsReplacedByTheNextRequest) {
  Listen();
  Start();
  Peer server = SendAndAccept();
  server.Reset();
  Run([&] { return pool_->connections() == 0; });
  EXPECT_TRUE(pool_->usable()) << "the dial had succeeded";
  EXPECT_EQ(client_.unanswered.size(), 1u);
  SendAndAccept();
  EXPECT_EQ(pool_->connections(), 1u);
}

}  // namespace
}  // namespace trunkline
