// Active health checks of a whole proxy: an endpoint that fails them gets no clients in any worker
// while others can take them, and gets them again once it passes. Checks never overlap, so a server
// that the test plays answers them one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "common/proxy_protocol/proxy_header.h"
#include "common/proxy_protocol/proxy_version.h"
#include "dataplane/stats/endpoint_health.h"
#include "dataplane/table/health_check.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/eventually.h"
#include "tests/common/log_capture.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline {
namespace {

using test::Eventually;
using test::Exchange;
using test::LocalServer;
using test::LogCapture;
using test::Peer;
using test::RefusingAddress;
using ::testing::HasSubstr;
using State = EndpointHealth::State;

constexpr size_t kWorkers = 2;
const char kPong[] = "+PONG\r\n";
const char kError[] = "-ERR busy\r\n";

// A server that answers lines: checks with what the test tells it, clients with its name.
class PlayedServer {
 public:
  explicit PlayedServer(char name) : PlayedServer(name, {.host = "127.0.0.1", .port = 0}) {}
  PlayedServer(char name, const Address& address) : name_(name), listener_(address) {}

  const Address& address() const { return listener_.address(); }
  // The answer to each check from now on. Before the first call, checks wait for their answer.
  void AnswerAll(const std::string& answer) { answer_ = answer; }
  // The answers to the next checks.
  void AnswerNext(const std::vector<std::string>& answers) {
    next_.insert(next_.end(), answers.begin(), answers.end());
  }
  // Sent on each connection before anything else.
  void Greet(const std::string& greeting) { greeting_ = greeting; }
  // Closes each connection after the greeting.
  void CloseAfterGreeting() { closes_ = true; }
  // Answers the clients' "hold" from now on.
  void Release() { released_ = true; }
  // Checks that got an answer, and those that wait for one.
  uint64_t checks() const { return checks_; }
  uint64_t waiting_checks() const { return waiting_checks_; }
  uint64_t clients() const { return clients_; }
  size_t connections() const { return connections_.size(); }

  // Does what can be done without waiting.
  void Step() {
    while (listener_.Knocked(0)) {
      connections_.push_back({.peer = listener_.Accept()});
      connections_.back().peer.Send(greeting_);
      if (closes_) connections_.pop_back();
    }
    waiting_checks_ = 0;
    std::erase_if(connections_, [this](Connection& connection) { return !Serve(connection); });
  }

 private:
  struct Connection {
    Peer peer;
    std::string unread = {};
  };

  // Returns false if the connection has ended.
  bool Serve(Connection& connection) {
    char bytes[4096];
    const ssize_t n = recv(connection.peer.fd(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) return false;
    if (n > 0) connection.unread.append(bytes, static_cast<size_t>(n));
    for (;;) {
      const size_t end = connection.unread.find('\n');
      if (end == std::string::npos) return true;
      if (!Answer(connection.peer, connection.unread.substr(0, end + 1))) return true;
      connection.unread.erase(0, end + 1);
    }
  }
  // Returns false if there is no answer yet.
  bool Answer(Peer& peer, const std::string& line) {
    if (line == "ask\n") {
      ++clients_;
      return peer.Send(std::string(1, name_) + "\n");
    }
    if (line == "hold\n") return released_ && peer.Send(std::string(1, name_) + "\n");
    if (line != "PING\r\n" && !line.starts_with("GET ")) return true;
    if (next_.empty() && answer_.empty()) {
      ++waiting_checks_;
      return false;
    }
    ++checks_;
    const std::string answer = next_.empty() ? answer_ : next_.front();
    if (!next_.empty()) next_.pop_front();
    peer.Send(answer);
    return true;
  }

  const char name_;
  LocalServer listener_;
  std::string answer_;
  std::deque<std::string> next_;
  std::string greeting_;
  bool closes_ = false;
  bool released_ = false;
  uint64_t waiting_checks_ = 0;
  std::vector<Connection> connections_;
  uint64_t checks_ = 0;
  uint64_t clients_ = 0;
};

// Often, and patient: a slow test is no sick server.
HealthCheck Often(HealthCheck check) {
  check.interval = absl::Milliseconds(10);
  check.timeout = absl::Seconds(20);
  return check;
}

class HealthChecksTest : public ::testing::Test {
 protected:
  void StartWith(ForwardingMode mode, const HealthCheck& check,
                 const std::vector<Address>& addresses) {
    exchange_ = std::make_unique<Exchange>(Exchange::Options{
        .workers = kWorkers, .mode = mode, .health_check = std::make_shared<HealthCheck>(check)});
    for (const Address& address : addresses) exchange_->AddServer(address);
    exchange_->Apply();
  }
  // Plays both servers until the condition holds.
  [[nodiscard]] bool PlayUntil(const std::function<bool()>& condition) {
    return Eventually([&] {
      a_.Step();
      b_.Step();
      return condition();
    });
  }
  // Returns the name of the server that a new client reaches.
  std::string Ask() {
    Peer client = exchange_->Connect();
    EXPECT_TRUE(client.Send("ask\n"));
    EXPECT_TRUE(PlayUntil([&] { return test::WaitFor(client.fd(), POLLIN, 0); }));
    return client.Read(2);
  }
  State StateOf(size_t endpoint) const { return exchange_->health(endpoint).state(); }
  // Returns the number of workers that eject the endpoint.
  int64_t Ejected(size_t endpoint) const {
    int64_t sum = 0;
    for (size_t w = 0; w < kWorkers; ++w) sum += exchange_->cell(endpoint, w).ejected.Value();
    return sum;
  }
  bool EjectedByAll(size_t endpoint) const {
    return Ejected(endpoint) == static_cast<int64_t>(kWorkers);
  }
  uint64_t Checked(size_t endpoint) const {
    const EndpointHealth& health = exchange_->health(endpoint);
    return health.passed.Value() + health.failed.Value();
  }

  PlayedServer a_{'A'};
  PlayedServer b_{'B'};
  std::unique_ptr<Exchange> exchange_;
};

class HealthChecksInModeTest : public HealthChecksTest,
                               public testing::WithParamInterface<ForwardingMode> {
 protected:
  void Start(const HealthCheck& check) {
    StartWith(GetParam(), check, {a_.address(), b_.address()});
  }
};

TEST_P(HealthChecksInModeTest, ServerThatAnswers503GetsNoClients) {
  const LogCapture log;
  a_.AnswerAll("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
  b_.AnswerAll("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  Start(Often({.kind = HttpCheck{.path = "/live"}}));
  ASSERT_TRUE(PlayUntil([&] { return EjectedByAll(0) && StateOf(1) == State::kHealthy; }));
  for (int i = 0; i < 20; ++i) ASSERT_EQ(Ask(), "B\n") << i;
  EXPECT_EQ(a_.clients(), 0u);
  EXPECT_EQ(Ejected(1), 0);
  EXPECT_EQ(log.Count("endpoint e0 of service db is unhealthy"), 1);
  EXPECT_THAT(log.text(), HasSubstr(absl::StrCat(
                              "it failed its first health check: ", a_.address().ToString(),
                              " gave a wrong answer: sent \"GET /live HTTP/1.1\\r\\nHost: ")));
  EXPECT_THAT(log.text(), HasSubstr("got \"HTTP/1.1 503 Service Unavailable\\r\\n"));
  EXPECT_THAT(log.text(), HasSubstr("expected a status of 200-399; it gets new flows only while "));
  EXPECT_EQ(log.Count("endpoint e1"), 0);
}

TEST_P(HealthChecksInModeTest, ServerThatIsBackGetsClientsAgainInEveryWorker) {
  const LogCapture log;
  a_.AnswerAll(kError);
  b_.AnswerAll(kPong);
  Start(Often({.kind = RedisCheck()}));
  exchange_->SetWeight(0, 1000);
  exchange_->SetWeight(1, 1);
  exchange_->Apply();
  ASSERT_TRUE(PlayUntil([&] { return EjectedByAll(0); }));
  for (int i = 0; i < 10; ++i) ASSERT_EQ(Ask(), "B\n") << i;
  a_.AnswerAll(kPong);
  ASSERT_TRUE(PlayUntil([&] { return Ejected(0) == 0; }));
  for (int i = 0; i < 20; ++i) Ask();
  EXPECT_GE(a_.clients(), 15u);
  EXPECT_EQ(log.Count("endpoint e0 of service db is healthy again: it passed 2 health checks in a "
                      "row"),
            1);
}

TEST_P(HealthChecksInModeTest, UnhealthyServersAreUsedWhenThereIsNoOther) {
  a_.AnswerAll(kError);
  b_.AnswerAll(kError);
  Start(Often({.kind = RedisCheck()}));
  ASSERT_TRUE(PlayUntil([&] { return EjectedByAll(0) && EjectedByAll(1); }));
  for (int i = 0; i < 20; ++i) Ask();
  EXPECT_EQ(a_.clients() + b_.clients(), 20u);
}

TEST_P(HealthChecksInModeTest, ServiceThatIsNoLongerCheckedUsesAllServers) {
  a_.AnswerAll(kError);
  b_.AnswerAll(kPong);
  Start(Often({.kind = RedisCheck()}));
  ASSERT_TRUE(PlayUntil([&] { return EjectedByAll(0); }));
  exchange_->SetHealthCheck(nullptr);
  exchange_->Apply();
  ASSERT_TRUE(PlayUntil([&] { return Ejected(0) == 0; }));
  EXPECT_EQ(StateOf(0), State::kUnknown);
  ASSERT_TRUE(PlayUntil([&] { return Ask() == "A\n"; }));
}

INSTANTIATE_TEST_SUITE_P(Modes, HealthChecksInModeTest,
                         testing::Values(ForwardingMode::kDirect, ForwardingMode::kMessage),
                         [](const auto& info) {
                           return info.param == ForwardingMode::kDirect ? "Direct" : "Message";
                         });

// Requests must not spill to the server that fails its checks when the others are full.
TEST_F(HealthChecksTest, RequestsWaitForTheHealthyServerWhileItIsFull) {
  exchange_ = std::make_unique<Exchange>(Exchange::Options{
      .max_in_flight = 1,
      .health_check = std::make_shared<HealthCheck>(Often({.kind = RedisCheck()}))});
  a_.AnswerAll(kError);
  b_.AnswerAll(kPong);
  exchange_->AddServer(a_.address());
  exchange_->AddServer(b_.address());
  exchange_->Apply();
  ASSERT_TRUE(PlayUntil(
      [&] { return exchange_->cell(0).ejected.Value() == 1 && StateOf(1) == State::kHealthy; }));
  Peer first = exchange_->Connect();
  ASSERT_TRUE(first.Send("hold\n"));
  ASSERT_TRUE(PlayUntil([&] { return exchange_->cell(1).active.Value() == 1; }));
  Peer second = exchange_->Connect();
  ASSERT_TRUE(second.Send("ask\n"));
  ASSERT_TRUE(
      PlayUntil([&] { return exchange_->listener().pending.Value() == 1 || a_.clients() == 1; }));
  EXPECT_EQ(a_.clients(), 0u);
  b_.Release();
  ASSERT_TRUE(PlayUntil([&] { return test::WaitFor(second.fd(), POLLIN, 0); }));
  EXPECT_EQ(second.Read(2), "B\n");
  EXPECT_EQ(first.Read(2), "B\n");
}

// The check must find out that a device hangs whose other connections all wait for it.
TEST_F(HealthChecksTest, CheckHasOneOfFewConnectionsForItself) {
  exchange_ = std::make_unique<Exchange>(Exchange::Options{
      .shared_connections = 4,
      .max_connections = 2,
      .max_in_flight = 1,
      .health_check = std::make_shared<HealthCheck>(Often({.kind = RedisCheck()}))});
  exchange_->AddServer(a_.address());
  exchange_->Apply();
  Peer first = exchange_->Connect();
  ASSERT_TRUE(first.Send("hold\n"));
  Peer second = exchange_->Connect();
  ASSERT_TRUE(second.Send("ask\n"));
  ASSERT_TRUE(PlayUntil(
      [&] { return a_.waiting_checks() == 1 && exchange_->listener().pending.Value() == 1; }));
  EXPECT_EQ(a_.connections(), 2u);
  a_.AnswerAll(kError);
  ASSERT_TRUE(PlayUntil([&] { return StateOf(0) == State::kUnhealthy; }));
  a_.Release();
  ASSERT_TRUE(PlayUntil([&] { return test::WaitFor(second.fd(), POLLIN, 0); }));
  EXPECT_EQ(second.Read(2), "A\n");
}

TEST_F(HealthChecksTest, FlappingServerFallsAndRisesByItsChecksInARow) {
  StartWith(ForwardingMode::kDirect, Often({.kind = RedisCheck(), .rise = 2, .fall = 3}),
            {a_.address()});
  const auto play = [&](const std::vector<std::string>& answers) {
    const uint64_t before = Checked(0);
    a_.AnswerNext(answers);
    return PlayUntil([&] { return Checked(0) == before + answers.size(); });
  };
  ASSERT_TRUE(play({kPong, kError, kError, kPong, kError, kError, kPong}));
  EXPECT_EQ(StateOf(0), State::kHealthy) << "never three failures in a row";
  ASSERT_TRUE(play({kError, kError, kError}));
  EXPECT_EQ(StateOf(0), State::kUnhealthy);
  ASSERT_TRUE(play({kPong, kError, kPong, kError}));
  EXPECT_EQ(StateOf(0), State::kUnhealthy) << "never two passes in a row";
  ASSERT_TRUE(play({kPong, kPong}));
  EXPECT_EQ(StateOf(0), State::kHealthy);
  EXPECT_EQ(exchange_->health(0).falls.Value(), 1u);
}

TEST_F(HealthChecksTest, ClientsOfAServerThatBecomesUnhealthyStay) {
  a_.AnswerNext({kPong});
  b_.AnswerAll(kPong);
  StartWith(ForwardingMode::kDirect, Often({.kind = RedisCheck()}), {a_.address(), b_.address()});
  exchange_->SetWeight(1, 0);
  exchange_->Apply();
  Peer client = exchange_->Connect();
  ASSERT_TRUE(client.Send("ask\n"));
  ASSERT_TRUE(PlayUntil([&] { return a_.clients() == 1; }));
  ASSERT_EQ(client.Read(2), "A\n");
  exchange_->SetWeight(1, 1);
  exchange_->Apply();
  a_.AnswerAll(kError);
  ASSERT_TRUE(PlayUntil([&] { return EjectedByAll(0); }));
  EXPECT_EQ(Ask(), "B\n");
  ASSERT_TRUE(client.Send("ask\n"));
  ASSERT_TRUE(PlayUntil([&] { return a_.clients() == 2; }));
  EXPECT_EQ(client.Read(2), "A\n");
}

TEST_F(HealthChecksTest, SilentServerFails) {
  const LogCapture log;
  HealthCheck check = Often({.kind = RedisCheck()});
  check.timeout = absl::Milliseconds(30);
  StartWith(ForwardingMode::kDirect, check, {a_.address()});
  ASSERT_TRUE(PlayUntil([&] { return EjectedByAll(0); }));
  EXPECT_THAT(log.text(), HasSubstr("did not answer in full within 30ms: sent \"PING\\r\\n\", got "
                                    "nothing, expected \"+PONG\""));
  a_.AnswerAll(kPong);
  EXPECT_TRUE(PlayUntil([&] { return Ejected(0) == 0; }));
}

TEST_F(HealthChecksTest, WrongBannerFails) {
  const LogCapture log;
  a_.Greet("554 no service\r\n");
  a_.CloseAfterGreeting();
  b_.Greet("220 ready\r\n");
  StartWith(ForwardingMode::kDirect, Often({.kind = TcpCheck{.expect = "220 "}}),
            {a_.address(), b_.address()});
  ASSERT_TRUE(PlayUntil([&] { return EjectedByAll(0) && StateOf(1) == State::kHealthy; }));
  EXPECT_THAT(log.text(),
              HasSubstr("sent nothing, got \"554 no service\\r\\n\", expected \"220 \""));
}

TEST_F(HealthChecksTest, RefusedConnectFails) {
  const LogCapture log;
  const Address refusing = RefusingAddress();
  StartWith(ForwardingMode::kDirect, Often({.kind = TcpCheck()}), {refusing});
  ASSERT_TRUE(PlayUntil([&] { return EjectedByAll(0); }));
  EXPECT_THAT(log.text(), HasSubstr(absl::StrCat("the connect to ", refusing.ToString(),
                                                 " failed: Connection refused")));
}

TEST_F(HealthChecksTest, NameIsHealthyIfOneOfItsAddressesPasses) {
  b_.AnswerAll(kError);
  a_.AnswerAll(kPong);
  StartWith(ForwardingMode::kDirect, Often({.kind = RedisCheck(), .fall = 1}), {});
  exchange_->SetAddresses(exchange_->AddServer(a_.address()),
                          {RefusingAddress(), b_.address(), a_.address()});
  exchange_->Apply();
  ASSERT_TRUE(PlayUntil([&] { return b_.checks() > 0 && Checked(0) > 5; }));
  EXPECT_EQ(exchange_->health(0).failed.Value(), 0u);
  a_.AnswerAll(kError);
  EXPECT_TRUE(PlayUntil([&] { return EjectedByAll(0); })) << "no address passes";
}

TEST_F(HealthChecksTest, ServersBehindTheProxyProtocolGetItsHeader) {
  for (const ProxyVersion version : {ProxyVersion::kV1, ProxyVersion::kV2}) {
    const LocalServer server;
    Exchange exchange({.mode = ForwardingMode::kDirect,
                       .health_check = std::make_shared<HealthCheck>(
                           HealthCheck{.kind = RedisCheck(), .timeout = absl::Seconds(20)}),
                       .send_proxy_protocol = version});
    exchange.AddServer(server.address());
    exchange.Apply();
    Peer check = server.Accept();
    const std::string expected = WriteProxyHeader(version, {}) + "PING\r\n";
    EXPECT_EQ(check.Read(expected.size()), expected);
    ASSERT_TRUE(check.Send(kPong));
    EXPECT_TRUE(Eventually([&] { return exchange.health(0).state() == State::kHealthy; }));
    EXPECT_EQ(check.ReadToEnd(), "");
    EXPECT_EQ(check.ending(), test::Ending::kFin) << "a check ends in good order";
  }
}

TEST_F(HealthChecksTest, ServerOnAUnixSocketIsChecked) {
  const test::ScratchFolder folder;
  PlayedServer server('U', {.unix_path = folder.File("s")});
  server.AnswerAll(kError);
  StartWith(ForwardingMode::kMessage, Often({.kind = RedisCheck()}), {server.address()});
  const auto play_until = [&](State state) {
    return Eventually([&] {
      server.Step();
      return StateOf(0) == state;
    });
  };
  ASSERT_TRUE(play_until(State::kUnhealthy));
  server.AnswerAll(kPong);
  EXPECT_TRUE(play_until(State::kHealthy));
}

TEST_F(HealthChecksTest, ProxyStopsDuringChecks) {
  StartWith(ForwardingMode::kDirect, Often({.kind = RedisCheck()}), {a_.address(), b_.address()});
  ASSERT_TRUE(PlayUntil([&] { return a_.waiting_checks() == 1 && b_.waiting_checks() == 1; }));
  exchange_->Stop();
}

}  // namespace
}  // namespace trunkline
