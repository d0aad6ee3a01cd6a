// The end of a connection as the other end sees it: through the proxy it must look as over plain
// TCP. Each case runs over a direct connection and through the proxy, and the two records are
// compared, in every mode that carries bytes unchanged.
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <ostream>
#include <string>
#include <tuple>
#include <utility>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "dataplane/table/endpoint_set.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Ending;
using test::InMode;
using test::LocalServer;
using test::Peer;
using test::Tunnel;

enum class Leave { kFin, kReset, kHalfClose, kTimeOut };
enum class Who { kClient, kServer };
enum class When { kBeforeData, kWithData, kAfterData };

struct Record {
  std::string other_read;
  Ending other_ending = Ending::kNone;
  bool other_broke = false;  // after it sent to the end that left
  std::string leaver_read;
  Ending leaver_ending = Ending::kNone;
  bool leaver_broke = false;  // when it sends again after the timeout

  friend bool operator==(const Record&, const Record&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Record& r) {
    return out << "other read " << r.other_read.size() << " bytes, then " << r.other_ending
               << (r.other_broke ? ", then broke" : "") << "; leaver read " << r.leaver_read.size()
               << " bytes, then " << r.leaver_ending << (r.leaver_broke ? ", then broke" : "");
  }
};

const std::string kData(3000, 'd');
const std::string kReply(2000, 'r');

// The proxy's timeout for a silent peer. It is longer than a busy machine takes for the bytes
// before the silence.
constexpr absl::Duration kProxyGivesUpAfter = absl::Seconds(1);

// Over plain TCP: bytes of `peer` are not read, and its kernel resets the connection in time.
void GiveUpSilence(Peer& peer) {
  const int millis = 200;
  setsockopt(peer.fd(), IPPROTO_TCP, TCP_USER_TIMEOUT, &millis, sizeof millis);
  const std::string bulk(1 << 20, 'b');
  while (peer.SendWhatFits(bulk) > 0) {
  }
}

void RecordTimeOut(Peer& leaver, Peer& other, Record& record) {
  record.other_read = other.ReadToEnd();
  record.other_ending = other.ending();
  // Over plain TCP it learns of the reset when it sends.
  leaver.Send("still there?");
  record.leaver_broke = test::WaitFor(leaver.fd(), 0);
}

Record Play(Peer client, Peer server, Leave leave, Who who, When when, bool plain) {
  Peer& leaver = who == Who::kClient ? client : server;
  Peer& other = who == Who::kClient ? server : client;
  if (when == When::kAfterData) test::ExpectExchange(client, server, "question", "answer");
  if (when == When::kWithData) {
    EXPECT_TRUE(leaver.Send(kData));
  }
  Record record;
  if (leave == Leave::kTimeOut) {
    if (plain) GiveUpSilence(other);
    RecordTimeOut(leaver, other, record);
    return record;
  }
  if (leave == Leave::kFin) leaver.Close();
  if (leave == Leave::kReset) leaver.Reset();
  if (leave == Leave::kHalfClose) leaver.ShutdownWrite();
  record.other_read = other.ReadToEnd();
  record.other_ending = other.ending();
  if (leave == Leave::kReset) return record;
  EXPECT_TRUE(other.Send(kReply));
  if (leave == Leave::kFin) {
    // The reply is not read and comes back as a reset.
    record.other_broke = test::WaitFor(other.fd(), 0);
    return record;
  }
  other.Close();
  record.leaver_read = leaver.ReadToEnd();
  record.leaver_ending = leaver.ending();
  return record;
}

using Case = std::tuple<ForwardingMode, Leave, Who, When>;

class CloseMatrixTest : public ::testing::TestWithParam<Case> {};

TEST_P(CloseMatrixTest, MatchesPlainTcp) {
  const auto [mode, leave, who, when] = GetParam();
  LocalServer direct;
  Peer direct_client = test::ConnectPeer(direct.address());
  Peer direct_server = direct.Accept();
  const Record expected =
      Play(std::move(direct_client), std::move(direct_server), leave, who, when, /*plain=*/true);

  LocalServer local;
  FlowLimits limits;
  if (leave == Leave::kTimeOut)
    limits.idle_timeout = limits.first_byte_timeout = kProxyGivesUpAfter;
  Tunnel tunnel(InMode(mode, {.limits = limits}));
  test::Serve(tunnel, mode, local);
  Peer client = tunnel.Connect();
  Peer server = local.Accept();
  ASSERT_TRUE(client && server);
  EXPECT_EQ(Play(std::move(client), std::move(server), leave, who, when, /*plain=*/false),
            expected);
  EXPECT_TRUE(test::Eventually([&] { return tunnel.clients() == 0; })) << "the flow is still there";
}

std::string Name(const ::testing::TestParamInfo<Case>& info) {
  const std::string leave[] = {"Fin", "Reset", "HalfClose", "TimeOut"};
  const std::string who[] = {"OfClient", "OfServer"};
  const std::string when[] = {"BeforeData", "WithData", "AfterData"};
  return test::NameOf(std::get<0>(info.param)) + leave[static_cast<int>(std::get<1>(info.param))] +
         who[static_cast<int>(std::get<2>(info.param))] +
         when[static_cast<int>(std::get<3>(info.param))];
}

INSTANTIATE_TEST_SUITE_P(Matrix, CloseMatrixTest,
                         ::testing::Combine(::testing::ValuesIn(test::kByteModes),
                                            ::testing::Values(Leave::kFin, Leave::kReset,
                                                              Leave::kHalfClose, Leave::kTimeOut),
                                            ::testing::Values(Who::kClient, Who::kServer),
                                            ::testing::Values(When::kBeforeData, When::kWithData,
                                                              When::kAfterData)),
                         Name);

class EndingsTest : public ::testing::TestWithParam<ForwardingMode> {
 protected:
  EndingsTest() : tunnel_(InMode(GetParam())) { test::Serve(tunnel_, GetParam(), local_); }
  LocalServer local_;
  Tunnel tunnel_;
};

TEST_P(EndingsTest, BytesOfAClientThatClosesBeforeTheAcceptArrive) {
  Peer client = tunnel_.Connect();
  ASSERT_TRUE(client.Send("all of it"));
  client.Close();
  Peer server = local_.Accept();
  EXPECT_EQ(server.ReadToEnd(), "all of it");
  EXPECT_EQ(server.ending(), Ending::kFin);
}

TEST_P(EndingsTest, ClientThatHalfClosesAndThenResetsBreaksTheServersSide) {
  Peer client = tunnel_.Connect();
  Peer server = local_.Accept();
  client.ShutdownWrite();
  EXPECT_EQ(server.ReadToEnd(), "");
  EXPECT_EQ(server.ending(), Ending::kFin);
  client.Reset();
  EXPECT_TRUE(test::WaitFor(server.fd(), 0)) << "POLLERR of a reset";
}

TEST_P(EndingsTest, ServerThatClosesWithoutReadingResetsTheClient) {
  Peer client = tunnel_.Connect();
  Peer server = local_.Accept();
  ASSERT_TRUE(client.Send("unread"));
  ASSERT_TRUE(test::WaitFor(server.fd(), POLLIN));
  server.Close();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
}

TEST_P(EndingsTest, BothEndsMayCloseAtOnce) {
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

INSTANTIATE_TEST_SUITE_P(Modes, EndingsTest, ::testing::ValuesIn(test::kByteModes),
                         test::kNameOfMode);

}  // namespace
}  // namespace trunkline
