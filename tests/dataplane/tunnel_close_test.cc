// How one end of a connection leaves, as the other end sees it: through the tunnel it must look as
// over plain TCP. Each case is played twice, over a direct connection and through the tunnel, and
// the two records are compared.
#include <gtest/gtest.h>

#include <ostream>
#include <tuple>

#include "tests/dataplane/tunnel.h"

namespace trunkline {
namespace {

using test::Ending;
using test::LocalServer;
using test::Peer;
using test::Tunnel;

enum class Leave { kFin, kReset, kHalfClose };
enum class Who { kClient, kServer };
enum class When { kBeforeData, kWithData, kAfterData };

struct Record {
  std::string other_read;
  Ending other_ending = Ending::kNone;
  bool other_broke = false;  // after it sent to the one that left
  std::string leaver_read;
  Ending leaver_ending = Ending::kNone;

  friend bool operator==(const Record&, const Record&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Record& r) {
    return out << "other read " << r.other_read.size() << " bytes, then " << r.other_ending
               << (r.other_broke ? ", then broke" : "") << "; leaver read " << r.leaver_read.size()
               << " bytes, then " << r.leaver_ending;
  }
};

const std::string kData(3000, 'd');
const std::string kReply(2000, 'r');

Record Play(Peer client, Peer server, Leave leave, Who who, When when) {
  Peer& leaver = who == Who::kClient ? client : server;
  Peer& other = who == Who::kClient ? server : client;
  if (when == When::kAfterData) test::ExpectExchange(client, server, "question", "answer");
  if (when == When::kWithData) {
    EXPECT_TRUE(leaver.Send(kData));
  }
  if (leave == Leave::kFin) leaver.Close();
  if (leave == Leave::kReset) leaver.Reset();
  if (leave == Leave::kHalfClose) leaver.ShutdownWrite();
  Record record;
  record.other_read = other.ReadToEnd();
  record.other_ending = other.ending();
  if (leave == Leave::kReset) return record;
  EXPECT_TRUE(other.Send(kReply));
  if (leave == Leave::kFin) {
    // Nobody takes the reply: that comes back as a reset.
    record.other_broke = test::WaitFor(other.fd(), 0);
    return record;
  }
  other.Close();
  record.leaver_read = leaver.ReadToEnd();
  record.leaver_ending = leaver.ending();
  return record;
}

class CloseMatrixTest : public ::testing::TestWithParam<std::tuple<Leave, Who, When>> {};

TEST_P(CloseMatrixTest, LooksAsOverPlainTcp) {
  const auto [leave, who, when] = GetParam();
  LocalServer direct;
  Peer direct_client = test::ConnectPeer(direct.address());
  Peer direct_server = direct.Accept();
  const Record expected =
      Play(std::move(direct_client), std::move(direct_server), leave, who, when);

  LocalServer local;
  Tunnel tunnel;
  tunnel.AddAgent(local.address());
  tunnel.Start();
  Peer client = tunnel.Connect();
  Peer server = local.Accept();
  ASSERT_TRUE(client && server);
  EXPECT_EQ(Play(std::move(client), std::move(server), leave, who, when), expected);
  EXPECT_TRUE(test::Eventually([&] { return tunnel.clients() == 0; })) << "the flow is still there";
}

std::string Name(const ::testing::TestParamInfo<std::tuple<Leave, Who, When>>& info) {
  const std::string leave[] = {"Fin", "Reset", "HalfClose"};
  const std::string who[] = {"OfClient", "OfServer"};
  const std::string when[] = {"BeforeData", "WithData", "AfterData"};
  return leave[static_cast<int>(std::get<0>(info.param))] +
         who[static_cast<int>(std::get<1>(info.param))] +
         when[static_cast<int>(std::get<2>(info.param))];
}

INSTANTIATE_TEST_SUITE_P(
    Matrix, CloseMatrixTest,
    ::testing::Combine(::testing::Values(Leave::kFin, Leave::kReset, Leave::kHalfClose),
                       ::testing::Values(Who::kClient, Who::kServer),
                       ::testing::Values(When::kBeforeData, When::kWithData, When::kAfterData)),
    Name);

class TunnelCloseTest : public ::testing::Test {
 protected:
  TunnelCloseTest() {
    tunnel_.AddAgent(local_.address());
    tunnel_.Start();
  }
  LocalServer local_;
  Tunnel tunnel_;
};

TEST_F(TunnelCloseTest, ClientThatSendsAndClosesBeforeTheServerAcceptsIsHeard) {
  Peer client = tunnel_.Connect();
  ASSERT_TRUE(client.Send("all of it"));
  client.Close();
  Peer server = local_.Accept();
  EXPECT_EQ(server.ReadToEnd(), "all of it");
  EXPECT_EQ(server.ending(), Ending::kFin);
}

TEST_F(TunnelCloseTest, ClientThatHalfClosesAndThenResetsBreaksTheServersSide) {
  Peer client = tunnel_.Connect();
  Peer server = local_.Accept();
  client.ShutdownWrite();
  EXPECT_EQ(server.ReadToEnd(), "");
  EXPECT_EQ(server.ending(), Ending::kFin);
  client.Reset();
  EXPECT_TRUE(test::WaitFor(server.fd(), 0)) << "POLLERR of a reset";
}

TEST_F(TunnelCloseTest, ServerThatClosesWithoutReadingResetsTheClient) {
  Peer client = tunnel_.Connect();
  Peer server = local_.Accept();
  ASSERT_TRUE(client.Send("unread"));
  ASSERT_TRUE(test::WaitFor(server.fd(), POLLIN));
  server.Close();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
}

TEST_F(TunnelCloseTest, BothEndsMayCloseAtOnce) {
  for (int i = 0; i < 50; ++i) {
    Peer client = tunnel_.Connect();
    Peer server = local_.Accept();
    client.ShutdownWrite();
    server.ShutdownWrite();
    EXPECT_EQ(client.ReadToEnd(), "");
    EXPECT_EQ(server.ReadToEnd(), "");
    EXPECT_EQ(client.ending(), Ending::kFin);
    EXPECT_EQ(server.ending(), Ending::kFin);
  }
  EXPECT_TRUE(test::Eventually([&] { return tunnel_.clients() == 0; }));
}

}  // namespace
}  // namespace trunkline
