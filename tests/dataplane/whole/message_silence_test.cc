// Modbus requests that no device answers: broadcasts, which need no answer, and requests to a unit
// that is silent. Neither holds up the clients of other units.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "dataplane/stats/traffic_stats.h"
#include "tests/common/eventually.h"
#include "tests/common/log_capture.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Eventually;
using test::Exchange;
using test::LogCapture;
using test::ModbusMessage;
using test::Peer;
using test::RefusingAddress;
using ::testing::HasSubstr;
using namespace std::string_literals;

constexpr size_t kRequestBytes = 12;

// Writes register 1 of a unit, or reads it.
std::string Write(uint16_t id, char unit) { return ModbusMessage(id, unit + "\6\0\1\0\3"s); }
std::string Read(uint16_t id, char unit) { return ModbusMessage(id, unit + "\3\0\1\0\1"s); }
std::string Value(uint16_t id, char unit) { return ModbusMessage(id, unit + "\3\2\0\7"s); }
// As written, with the server's id.
std::string SameButId(const std::string& message) { return message.substr(2); }

class SilenceTest : public test::ExchangeTest {
 protected:
  // A device that takes one connection and one request at a time.
  static Exchange::Options OneByOne(absl::Duration reply_timeout = absl::Seconds(30)) {
    return {.codec = test::Modbus(),
            .max_connections = 1,
            .max_in_flight = 1,
            .reply_timeout = reply_timeout};
  }
  // The workers log until then.
  void TearDown() override { exchange_.reset(); }
  // The server reads `request`, which has its own id. Returns that id.
  static uint16_t ExpectAt(Peer& server, const std::string& request) {
    const std::string seen = server.Read(request.size());
    EXPECT_EQ(SameButId(seen), SameButId(request));
    return test::IdOf(seen);
  }
  // `client` reads a unit's register, which the device answers.
  static void ExpectPoll(Peer& client, Peer& server, uint16_t id, char unit) {
    ASSERT_TRUE(client.Send(Read(id, unit)));
    ASSERT_TRUE(server.Send(Value(ExpectAt(server, Read(id, unit)), unit)));
    EXPECT_EQ(client.Read(Value(id, unit).size()), Value(id, unit));
  }
  const EndpointCell& cell() { return exchange_->cell(0); }
};

TEST_F(SilenceTest, BroadcastHoldsUpNoOtherRequest) {
  Start(OneByOne());
  Peer a = Connect();
  Peer b = Connect();
  ASSERT_TRUE(a.Send(Write(1, 0)));
  Peer server = local_.Accept();
  ExpectAt(server, Write(1, 0));
  ExpectPoll(b, server, 2, 5);
  ExpectPoll(a, server, 3, 5);
  EXPECT_FALSE(local_.Knocked(0));
  EXPECT_EQ(cell().one_way.Value(), 1u);
  EXPECT_EQ(cell().reply_timeouts.Value(), 0u);
}

TEST_F(SilenceTest, ReplyOfADeviceThatAnswersToUnit0ReachesItsClient) {
  Start(OneByOne());
  Peer a = Connect();
  Peer b = Connect();
  ASSERT_TRUE(a.Send(Write(7, 0)));
  Peer server = local_.Accept();
  const uint16_t id = ExpectAt(server, Write(7, 0));
  ExpectPoll(b, server, 2, 5);
  ASSERT_TRUE(server.Send(Write(id, 0)));
  EXPECT_EQ(a.Read(kRequestBytes), Write(7, 0));
}

TEST_F(SilenceTest, ReadOfUnit0WaitsForItsReply) {
  Start(OneByOne());
  Peer a = Connect();
  Peer b = Connect();
  ASSERT_TRUE(a.Send(Read(1, 0)));
  Peer server = local_.Accept();
  const uint16_t id = ExpectAt(server, Read(1, 0));
  ASSERT_TRUE(b.Send(Read(2, 5)));
  EXPECT_FALSE(test::WaitFor(server.fd(), POLLIN, 60)) << "the device takes one at a time";
  ASSERT_TRUE(server.Send(Value(id, 0)));
  EXPECT_EQ(a.Read(Value(1, 0).size()), Value(1, 0));
  ExpectAt(server, Read(2, 5));
}

TEST_F(SilenceTest, ClientThatLeavesAfterABroadcastIsClosedAtOnce) {
  Start(OneByOne());
  Peer client = Connect();
  ASSERT_TRUE(client.Send(Write(1, 0)));
  client.ShutdownWrite();
  Peer server = local_.Accept();
  ExpectAt(server, Write(1, 0));
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kFin) << "it waited for a reply";
}

TEST_F(SilenceTest, FloodOfBroadcastsLeavesRoomForOthers) {
  Start(OneByOne());
  Peer flood = Connect();
  Peer other = Connect();
  constexpr int kBroadcasts = 300;
  std::string all;
  for (int i = 0; i < kBroadcasts; ++i) all += Write(static_cast<uint16_t>(i), 0);
  ASSERT_TRUE(flood.Send(all));
  Peer server = local_.Accept();
  for (int i = 0; i < kBroadcasts; ++i) ExpectAt(server, Write(static_cast<uint16_t>(i), 0));
  ExpectPoll(other, server, 1, 5);
  ExpectPoll(flood, server, 2, 5);
  EXPECT_EQ(exchange_->clients(), 2);
}

TEST_F(SilenceTest, BroadcastInFlightOnALostConnectionCostsItsClientNothing) {
  Start(OneByOne());
  Peer client = Connect();
  ASSERT_TRUE(client.Send(Write(1, 0)));
  Peer server = local_.Accept();
  ExpectAt(server, Write(1, 0));
  server.Reset();
  ASSERT_TRUE(client.Send(Read(2, 5)));
  Peer again = local_.Accept();
  ASSERT_TRUE(again.Send(Value(ExpectAt(again, Read(2, 5)), 5)));
  EXPECT_EQ(client.Read(Value(2, 5).size()), Value(2, 5));
}

TEST_F(SilenceTest, BroadcastThatWasNotWrittenGoesElsewhere) {
  StartWith({RefusingAddress(), local_.address()}, OneByOne());
  exchange_->SetWeight(1, 0);
  exchange_->Apply();
  Peer client = Connect();
  ASSERT_TRUE(client.Send(Write(1, 0)));
  client.ShutdownWrite();
  ASSERT_TRUE(Eventually([&] { return shared().resent.Value() == 1; }));
  exchange_->SetWeight(1, 1);
  exchange_->Apply();
  Peer server = local_.Accept();
  ExpectAt(server, Write(1, 0));
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kFin);
}

TEST_F(SilenceTest, SilentUnitGivesAnExceptionAndTheConnectionServesOn) {
  LogCapture log;
  Start(OneByOne(absl::Milliseconds(50)));
  Peer a = Connect();
  Peer b = Connect();
  ASSERT_TRUE(a.Send(Read(0x4711, 0x11)));
  Peer server = local_.Accept();
  const uint16_t silent = ExpectAt(server, Read(1, 0x11));
  ASSERT_TRUE(b.Send(Read(2, 5)));
  EXPECT_EQ(a.Read(9), ModbusMessage(0x4711, "\x11\x83\x0b")) << "gateway target failed to respond";
  ASSERT_TRUE(server.Send(Value(ExpectAt(server, Read(2, 5)), 5)));
  EXPECT_EQ(b.Read(Value(2, 5).size()), Value(2, 5));
  // The late reply answers no request any more.
  ASSERT_TRUE(server.Send(Value(silent, 0x11)));
  ASSERT_TRUE(Eventually([&] { return shared().replies_unmatched.Value() == 1; }));
  ASSERT_TRUE(a.Send(Read(3, 5)));
  ASSERT_TRUE(server.Send(Value(ExpectAt(server, Read(3, 5)), 5)));
  EXPECT_EQ(a.Read(Value(3, 5).size()), Value(3, 5));
  EXPECT_FALSE(local_.Knocked(0)) << "another connection was made";
  EXPECT_EQ(cell().reply_timeouts.Value(), 1u);
  EXPECT_EQ(exchange_->worker().connection_lost.Value(), 0u);
  exchange_.reset();
  EXPECT_THAT(log.text(),
              HasSubstr("endpoint e0 of service db did not answer a request of client 127.0.0.1:"));
  EXPECT_THAT(
      log.text(),
      HasSubstr("within 50ms: function 3 of unit 17; the client gets an error from the proxy"));
}

TEST_F(SilenceTest, EachRequestOfAPipelineToASilentUnitGetsItsException) {
  Start({.codec = test::Modbus(), .reply_timeout = absl::Milliseconds(50)});
  Peer client = Connect();
  ASSERT_TRUE(client.Send(Read(1, 9) + Write(2, 9) + Read(3, 9)));
  Peer server = local_.Accept();
  EXPECT_EQ(server.Read(3 * kRequestBytes).size(), 3 * kRequestBytes);
  EXPECT_EQ(client.Read(27), ModbusMessage(1, "\x09\x83\x0b") + ModbusMessage(2, "\x09\x86\x0b") +
                                 ModbusMessage(3, "\x09\x83\x0b"));
  client.ShutdownWrite();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kFin);
}

// The proxy cannot speak for a protocol that it does not know.
TEST_F(SilenceTest, LateReplyWithoutALocalOneEndsItsClientAlone) {
  Start({.codec = test::FramesWithId(), .reply_timeout = absl::Milliseconds(50)});
  Peer client = Connect();
  ASSERT_TRUE(client.Send(test::FrameWithId(1, "a")));
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
  EXPECT_EQ(cell().reply_timeouts.Value(), 1u);
}

TEST_F(SilenceTest, BroadcastsAreLogged) {
  LogCapture log;
  Start(OneByOne());
  Peer client = Connect();
  for (uint16_t i = 0; i < 50; ++i) ASSERT_TRUE(client.Send(Write(i, 0)));
  Peer server = local_.Accept();
  ASSERT_EQ(server.Read(50 * kRequestBytes).size(), 50 * kRequestBytes);
  exchange_.reset();
  EXPECT_THAT(
      log.text(),
      HasSubstr(
          "of service db sent a broadcast, which no device need answer: function 6 of unit 0"));
  EXPECT_LT(log.Count("sent a broadcast"), 25);
}

}  // namespace
}  // namespace trunkline
