// Clients that no endpoint can take: they wait until one has room or their connect timeout ends,
// and the log, /readyz and the metrics name the limit that is in their way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "tests/common/eventually.h"
#include "tests/common/log_capture.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Eventually;
using test::ExpectExchange;
using test::InMode;
using test::LocalServer;
using test::LogCapture;
using test::Peer;
using test::Tunnel;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kStreams = 2;  // that the agent takes, on the only trunk

Tunnel::Options OneSmallTrunk(absl::Duration connect_timeout = absl::Seconds(20)) {
  Tunnel::Options options;
  options.trunks.max_trunks = 1;
  options.agent_max_streams = kStreams;
  options.limits.connect_timeout = connect_timeout;
  return options;
}

class FullAgentTest : public ::testing::Test {
 protected:
  void Start(const Tunnel::Options& options) {
    tunnel_ = std::make_unique<Tunnel>(options);
    tunnel_->AddAgent(local_.address());
    tunnel_->Start();
    for (size_t i = 0; i < kStreams; ++i) {
      clients_.push_back(tunnel_->Connect());
      servers_.push_back(local_.Accept());
    }
    ASSERT_TRUE(Eventually([&] { return tunnel_->cell(0).full.Value() == 1; }));
  }
  // The worker logs until then.
  void TearDown() override { tunnel_.reset(); }

  LogCapture log_;
  LocalServer local_;
  std::unique_ptr<Tunnel> tunnel_;
  std::vector<Peer> clients_;
  std::vector<Peer> servers_;
};

TEST_F(FullAgentTest, IsNoFaultWhileNoClientWaits) {
  Start(OneSmallTrunk());
  EXPECT_THAT(tunnel_->data_plane().Faults(), IsEmpty());
  EXPECT_EQ(log_.Count("full"), 0);
}

TEST_F(FullAgentTest, ClientsThatWaitAreCountedNotedAndLoggedOnceWithTheLimit) {
  Start(OneSmallTrunk());
  constexpr int kWaiting = 3;
  for (int i = 0; i < kWaiting; ++i) clients_.push_back(tunnel_->Connect());
  ASSERT_TRUE(Eventually([&] { return tunnel_->listener().pending.Value() == kWaiting; }));
  EXPECT_THAT(
      log_.text(),
      HasSubstr(absl::StrCat(
          "clients of service db wait, at most 20s, because endpoint e0 is full: all 2 "
          "streams of the 1 trunk from a worker to ",
          tunnel_->trunk_address(0).ToString(), " are in use; raise max_trunks_per_endpoint")));
  EXPECT_EQ(log_.Count("endpoint e0 is full"), 1) << log_.text();
  EXPECT_THAT(tunnel_->data_plane().Faults(),
              ElementsAre(AllOf(HasSubstr("service db: 3 clients wait"), HasSubstr("e0"),
                                HasSubstr("max_trunks_per_endpoint"))));
  EXPECT_EQ(tunnel_->data_plane().NotReady(), "") << "other services are not affected";
}

TEST_F(FullAgentTest, TheFaultEndsWhenTheClientsAreServed) {
  Start(OneSmallTrunk());
  clients_.push_back(tunnel_->Connect());
  ASSERT_TRUE(Eventually([&] { return tunnel_->listener().pending.Value() == 1; }));
  clients_[0].Reset();
  Peer server = local_.Accept();
  ExpectExchange(clients_.back(), server, "question", "answer");
  EXPECT_EQ(tunnel_->listener().pending.Value(), 0);
  EXPECT_THAT(tunnel_->data_plane().Faults(), IsEmpty());
  clients_[1].Reset();
  EXPECT_TRUE(Eventually([&] { return tunnel_->cell(0).full.Value() == 0; }));
}

TEST_F(FullAgentTest, ClientThatWaitedInVainIsLogged) {
  Start(OneSmallTrunk(absl::Milliseconds(60)));
  Peer client = tunnel_->Connect();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
  ASSERT_TRUE(Eventually([&] { return log_.Count("a client of service db") == 1; }));
  EXPECT_EQ(tunnel_->worker().no_endpoint.Value(), 1u);
  EXPECT_THAT(log_.text(), HasSubstr("a client of service db found no endpoint within 60ms and was "
                                     "refused; endpoints: 1 with all streams in use"));
  EXPECT_EQ(tunnel_->listener().pending.Value(), 0);
}

class NoRoomTest : public ::testing::TestWithParam<ForwardingMode> {
 protected:
  void TearDown() override { tunnel_.reset(); }

  LogCapture log_;
  std::unique_ptr<Tunnel> tunnel_;
};

INSTANTIATE_TEST_SUITE_P(Modes, NoRoomTest, ::testing::ValuesIn(test::kAllModes),
                         test::kNameOfMode);

TEST_P(NoRoomTest, ClientOfAServiceWithoutEndpointsIsLogged) {
  tunnel_ = std::make_unique<Tunnel>(
      InMode(GetParam(), {.limits = {.connect_timeout = absl::Milliseconds(60)}}));
  tunnel_->Apply();
  Peer client = tunnel_->Connect();
  client.Send("request\n");
  EXPECT_EQ(client.ReadToEnd(), "");
  ASSERT_TRUE(Eventually([&] { return log_.Count("a client of service db") == 1; }));
  EXPECT_EQ(tunnel_->worker().no_endpoint.Value(), 1u);
  EXPECT_EQ(log_.Count("a client of service db found no endpoint within 60ms and was refused; it "
                       "has no endpoints"),
            1)
      << log_.text();
}

}  // namespace
}  // namespace trunkline
