// Tests the server's stages together in one process: connections, admission, cost, commit, answer.
#include "examples/metering/meter_service.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "common/net/address.h"
#include "examples/metering/connection_server.h"
#include "examples/metering/frame.h"
#include "examples/metering/payload_hash.h"
#include "examples/metering/reading_store.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/metering/test_client.h"

namespace trunkline::metering {
namespace {

class MeterServiceTest : public testing::Test {
 protected:
  struct Setting {
    ConnectionServer::Options server;
    MeterService::Options service;
  };

  void Start(Setting setting = {}) {
    setting.server.listen = {Address{.host = "127.0.0.1"}};
    setting.server.listen.push_back(Address{.unix_path = dir_.File("socket")});
    auto server = ConnectionServer::Listen(
        setting.server,
        [this](ConnectionId id, std::string_view m) { return service_->Receive(id, m); });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto store = ReadingStore::Open(dir_.File("readings.db"));
    ASSERT_TRUE(store.ok()) << store.status();
    service_ = std::make_unique<MeterService>(setting.service, *std::move(store), *server_);
    loop_ = std::thread([this] { unanswered_ = server_->Run(absl::Seconds(10)); });
  }
  size_t Stop() {
    server_->Stop();
    loop_.join();
    return unanswered_;
  }
  void TearDown() override {
    if (loop_.joinable()) Stop();
    service_.reset();
  }

  const Address& tcp() const { return server_->addresses()[0]; }
  const Address& unix_socket() const { return server_->addresses()[1]; }

  test::ScratchFolder dir_;
  std::unique_ptr<ConnectionServer> server_;
  std::unique_ptr<MeterService> service_;
  std::thread loop_;
  size_t unanswered_ = 0;
};

TEST_F(MeterServiceTest, ReadingIsAcknowledgedWithItsHashOverTcpAndUnixSocket) {
  Start();
  uint64_t sequence = 0;
  for (const Address& address : {tcp(), unix_socket()}) {
    TestClient client(address);
    client.Send(FrameOf(TestReading(3, ++sequence, "12.5 kWh")));
    const auto ack = client.AwaitAck();
    ASSERT_TRUE(ack.has_value());
    EXPECT_EQ(ack->meter_id(), 3u);
    EXPECT_EQ(ack->sequence(), sequence);
    EXPECT_EQ(ack->status(), Ack::STORED);
    EXPECT_EQ(ack->payload_hash(), PayloadHash("12.5 kWh"));
  }
}

TEST_F(MeterServiceTest, ReadingSplitAtEveryByteIsAcknowledged) {
  Start();
  TestClient client(tcp());
  const std::string frame = FrameOf(TestReading(1, 1));
  for (size_t cut = 1; cut < frame.size(); ++cut) {
    client.Send(frame.substr(0, cut));
    client.Send(frame.substr(cut));
    ASSERT_TRUE(client.AwaitAck().has_value()) << "cut at " << cut;
  }
}

TEST_F(MeterServiceTest, PipelinedReadingsBeyondMaxUnansweredAreAllAcknowledged) {
  Setting setting;
  setting.server.max_unanswered = 4;
  Start(setting);
  TestClient client(tcp());
  std::string frames;
  for (uint64_t sequence = 1; sequence <= 100; ++sequence) {
    frames += FrameOf(TestReading(1, sequence, std::string(2000, 'x')));
  }
  client.Send(frames);
  for (int i = 0; i < 100; ++i) {
    const auto ack = client.AwaitAck();
    ASSERT_TRUE(ack.has_value()) << "after " << i;
    EXPECT_EQ(ack->status(), Ack::STORED);
  }
}

TEST_F(MeterServiceTest, HalfClosedClientGetsItsAckAndThenTheEnd) {
  Start();
  for (const Address& address : {tcp(), unix_socket()}) {
    TestClient client(address);
    client.Send(FrameOf(TestReading(1, 1)));
    client.FinishSending();
    EXPECT_TRUE(client.AwaitAck().has_value());
    EXPECT_TRUE(client.AwaitClose());
  }
}

// The server's loop is busy meanwhile, so both arrive as one event.
TEST(ConnectionServerTest, EndThatArrivesWithTheLastBytesClosesTheConnection) {
  const std::string blocks = TestReading(9, 9).SerializeAsString();
  absl::Notification busy;
  absl::Notification go_on;
  std::unique_ptr<ConnectionServer> server;
  const auto answer = [&](ConnectionId id, std::string_view message) {
    if (message == blocks) {
      busy.Notify();
      go_on.WaitForNotification();
    }
    Ack ack;
    ack.set_sequence(1);
    ConnectionServer::Reply reply{.connection = id};
    AppendFrame(ack.SerializeAsString(), &reply.frame);
    server->Answer({reply});
    return absl::OkStatus();
  };
  server = ConnectionServer::Listen({.listen = {Address{.host = "127.0.0.1"}}}, answer).value();
  std::thread loop([&] { server->Run(absl::ZeroDuration()); });
  TestClient client(server->addresses()[0]);
  client.Send(FrameOf(TestReading(1, 1)));
  EXPECT_TRUE(client.AwaitAck().has_value());
  TestClient other(server->addresses()[0]);
  other.Send(FrameOf(TestReading(9, 9)));
  busy.WaitForNotification();
  client.Send(FrameOf(TestReading(1, 2)));
  client.FinishSending();
  go_on.Notify();
  EXPECT_TRUE(client.AwaitAck().has_value());
  EXPECT_TRUE(client.AwaitClose());
  server->Stop();
  loop.join();
}

TEST_F(MeterServiceTest, GarbageClosesOnlyItsOwnConnection) {
  Start();
  TestClient bystander(tcp());
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 50; ++round) {
    TestClient client(tcp());
    std::string garbage(512, '\0');
    for (char& c : garbage) c = static_cast<char>(random());
    garbage[0] = static_cast<char>(garbage[0] | 1);  // a length above any limit
    client.Send(garbage);
    EXPECT_TRUE(client.AwaitClose());
  }
  bystander.Send(FrameOf(TestReading(1, 1)));
  EXPECT_TRUE(bystander.AwaitAck().has_value());
}

TEST_F(MeterServiceTest, FrameThatIsNotAReadingClosesItsConnection) {
  Start();
  TestClient client(tcp());
  std::string frame;
  AppendFrame("\xff\xff\xff\xff", &frame);
  client.Send(frame);
  EXPECT_TRUE(client.AwaitClose());
}

TEST_F(MeterServiceTest, ReadingWithoutMeterOrSequenceIsInvalid) {
  Start();
  TestClient client(tcp());
  client.Send(FrameOf(TestReading(0, 1)));
  EXPECT_EQ(client.AwaitAck()->status(), Ack::INVALID);
  client.Send(FrameOf(TestReading(1, 0)));
  EXPECT_EQ(client.AwaitAck()->status(), Ack::INVALID);
  client.Send(FrameOf(TestReading(1, UINT64_MAX)));
  EXPECT_EQ(client.AwaitAck()->status(), Ack::INVALID);
}

TEST_F(MeterServiceTest, ReadingsAboveTheLimitAreBusyAtOnce) {
  Setting setting;
  setting.service.max_waiting = 2;
  setting.service.work.cost.min = setting.service.work.cost.max = absl::Milliseconds(100);
  setting.service.work.threads = 1;
  // On a slow machine, too, the second reading must not be dropped for its age.
  setting.service.work.max_wait = absl::Hours(1);
  Start(setting);
  TestClient client(tcp());
  std::string frames;
  for (uint64_t sequence = 1; sequence <= 5; ++sequence)
    frames += FrameOf(TestReading(1, sequence));
  client.Send(frames);
  int busy = 0, stored = 0;
  for (int i = 0; i < 5; ++i) {
    const auto ack = client.AwaitAck();
    ASSERT_TRUE(ack.has_value());
    if (ack->status() == Ack::BUSY) {
      EXPECT_GE(ack->sequence(), 3u);
      EXPECT_EQ(stored, 0) << "a refusal does not wait for readings in flight";
      ++busy;
    } else {
      ++stored;
    }
  }
  EXPECT_EQ(busy, 3);
  EXPECT_EQ(stored, 2);
}

TEST_F(MeterServiceTest, ReadingThatWaitedTooLongIsAnsweredBusy) {
  Setting setting;
  setting.service.work = {.threads = 1, .max_wait = absl::Milliseconds(50)};
  setting.service.work.cost.min = setting.service.work.cost.max = absl::Milliseconds(100);
  Start(setting);
  TestClient client(tcp());
  client.Send(FrameOf(TestReading(1, 1)) + FrameOf(TestReading(1, 2)));
  std::map<uint64_t, Ack::Status> answers;
  for (int i = 0; i < 2; ++i) {
    const auto ack = client.AwaitAck();
    ASSERT_TRUE(ack.has_value());
    answers[ack->sequence()] = ack->status();
  }
  EXPECT_EQ(answers[1], Ack::STORED);
  EXPECT_EQ(answers[2], Ack::BUSY);
}

TEST_F(MeterServiceTest, IdleClientIsClosedButNotOneThatAwaitsAnAnswer) {
  Setting setting;
  setting.server.idle_timeout = absl::Milliseconds(50);
  setting.service.work.cost.min = setting.service.work.cost.max = absl::Milliseconds(300);
  Start(setting);
  TestClient silent(tcp()), waiting(tcp());
  waiting.Send(FrameOf(TestReading(1, 1)));
  EXPECT_TRUE(silent.AwaitClose());
  EXPECT_TRUE(waiting.AwaitAck().has_value());
}

TEST_F(MeterServiceTest, ClientsAboveTheLimitWaitUntilOneLeaves) {
  Setting setting;
  setting.server.max_connections = 2;
  Start(setting);
  TestClient first(tcp()), second(tcp());
  first.Send(FrameOf(TestReading(1, 1)));
  second.Send(FrameOf(TestReading(1, 2)));
  EXPECT_TRUE(first.AwaitAck().has_value());
  EXPECT_TRUE(second.AwaitAck().has_value());
  TestClient third(tcp());
  third.Send(FrameOf(TestReading(1, 3)));
  first.Send(FrameOf(TestReading(1, 4)));
  EXPECT_TRUE(first.AwaitAck().has_value());  // admitted clients are served meanwhile
  first.Close();
  EXPECT_TRUE(third.AwaitAck().has_value());
}

TEST_F(MeterServiceTest, StopAnswersReadingsInFlight) {
  Setting setting;
  setting.service.work.cost.min = setting.service.work.cost.max = absl::Milliseconds(50);
  Start(setting);
  TestClient client(tcp());
  client.Send(FrameOf(TestReading(1, 1)) + FrameOf(TestReading(1, 2)));
  ASSERT_TRUE(client.AwaitAck().has_value());  // so both have arrived
  EXPECT_EQ(Stop(), 0u);
  EXPECT_TRUE(client.AwaitAck().has_value());
}

TEST_F(MeterServiceTest, AnswerToAClosedConnectionIsDropped) {
  Setting setting;
  setting.service.work.cost.min = setting.service.work.cost.max = absl::Milliseconds(50);
  Start(setting);
  TestClient leaver(tcp());
  leaver.Send(FrameOf(TestReading(1, 1)));
  leaver.Close();
  // The next clients probably get the same descriptor in the server.
  for (uint64_t sequence = 2; sequence <= 5; ++sequence) {
    TestClient client(tcp());
    client.Send(FrameOf(TestReading(1, sequence)));
    const auto ack = client.AwaitAck();
    ASSERT_TRUE(ack.has_value());
    EXPECT_EQ(ack->sequence(), sequence);
  }
}

TEST_F(MeterServiceTest, ErrorNamesAnAddressInUse) {
  Start();
  auto second = ConnectionServer::Listen({.listen = {tcp()}}, nullptr);
  EXPECT_FALSE(second.ok());
  EXPECT_NE(std::string(second.status().message()).find(tcp().ToString()), std::string::npos);
}

}  // namespace
}  // namespace trunkline::metering
