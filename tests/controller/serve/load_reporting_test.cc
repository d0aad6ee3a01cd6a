// Tests each step of the sequence in load_report.proto and each rule below it.
#include <gmock/gmock.h>

#include <chrono>
#include <limits>
#include <memory>

#include "absl/time/time.h"
#include "common/grpc/controller_channel.h"
#include "tests/controller/core/core_fixture.h"
#include "tests/controller/serve/service_fixture.h"
#include "trunkline/v1/load_report.pb.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

class LoadReportingTest : public ServiceTest {};

TEST_F(LoadReportingTest, FirstReportIsAnsweredWithADirectiveAtOnce) {
  TestAgent agent(channel_, "a");
  const v1::ReportLoadResponse directive = agent.Join();
  EXPECT_EQ(directive.report_interval().seconds(), 30);
  ASSERT_EQ(directive.endpoints_size(), 1);
  EXPECT_EQ(directive.endpoints(0).endpoint_id(), "a");
  EXPECT_FALSE(directive.endpoints(0).draining());
  WaitForState("a", v1::ENDPOINT_STATE_FRESH);
}

TEST_F(LoadReportingTest, LaterReportsMoveTheUtilization) {
  TestAgent agent(channel_, "a");
  agent.Join(0.5);
  WaitForState("a", v1::ENDPOINT_STATE_FRESH);
  EXPECT_EQ(Find(GetWeights(), "a")->utilization(), 0.5);
  ASSERT_TRUE(agent.Say(0.75));
  const auto deadline = Deadline();
  while (Find(GetWeights(), "a")->utilization() != 0.75) {
    ASSERT_LT(std::chrono::system_clock::now(), deadline);
  }
}

TEST_F(LoadReportingTest, DirectiveFollowsWhenAnAdminStateChanges) {
  TestAgent agent(channel_, "a");
  agent.Join();
  ASSERT_TRUE(Drain("a").ok());
  const v1::ReportLoadResponse directive = agent.NextDirective();
  ASSERT_EQ(directive.endpoints_size(), 1);
  EXPECT_TRUE(directive.endpoints(0).draining());
}

TEST_F(LoadReportingTest, HalfCloseMakesTheEndpointLeaveAtOnce) {
  TestAgent agent(channel_, "a");
  agent.Join();
  WaitForState("a", v1::ENDPOINT_STATE_FRESH);
  agent.HalfClose();
  EXPECT_TRUE(agent.Status().ok());
  WaitUntilGone("a");
}

TEST_F(LoadReportingTest, LeavingReportMakesTheEndpointLeaveAtOnce) {
  TestAgent agent(channel_, "a");
  agent.Join();
  WaitForState("a", v1::ENDPOINT_STATE_FRESH);
  v1::ReportLoadRequest last;
  last.set_seq(9);
  last.set_leaving(true);
  ASSERT_TRUE(agent.Write(last));
  WaitUntilGone("a");
}

TEST_F(LoadReportingTest, BrokenStreamLetsTheEndpointAge) {
  StopController();
  report_interval_ = absl::Milliseconds(100);
  StartController();
  TestAgent agent(channel_, "a");
  agent.Join();
  agent.Break();
  // The endpoint expires after ten intervals; an orderly leave would remove it.
  WaitForState("a", v1::ENDPOINT_STATE_EXPIRED);
  EXPECT_EQ(loop_->view()->connected_agents, 0u);
}

TEST_F(LoadReportingTest, StopOfTheControllerRemovesNoEndpoints) {
  TestAgent agent(channel_, "a");
  agent.Join();
  WaitForState("a", v1::ENDPOINT_STATE_FRESH);
  server_->Shutdown();
  EXPECT_EQ(agent.Status().error_code(), StatusCode::UNAVAILABLE);
  loop_->Stop();
  EXPECT_EQ(loop_->view()->services[0].endpoints.size(), 1u);
}

TEST_F(LoadReportingTest, FirstReportWithoutAnnouncementIsRefused) {
  TestAgent agent(channel_, "a");
  agent.Say(0.5);
  const grpc::Status status = agent.Status();
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("announcement"));
}

TEST_F(LoadReportingTest, UnknownServiceIsRefusedAndTheKnownOnesAreNamed) {
  TestAgent agent(channel_, "a");
  agent.Write(agent.Announcement("web"));
  const grpc::Status status = agent.Status();
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("known services: db"));
}

TEST_F(LoadReportingTest, UnknownServiceAloneIsRefusedInTheResponse) {
  TestAgent agent(channel_, "a");
  v1::ReportLoadRequest report = agent.WithLoad(agent.Announcement(), 0.5);
  v1::EndpointAnnouncement* other = report.mutable_announcement()->add_endpoints();
  *other = report.announcement().endpoints(0);
  other->set_service("web");
  *report.add_endpoints() = report.endpoints(0);
  report.mutable_endpoints(1)->set_service("web");
  ASSERT_TRUE(agent.Write(report));
  const v1::ReportLoadResponse directive = agent.NextDirective();
  EXPECT_EQ(directive.endpoints_size(), 1);
  ASSERT_EQ(directive.refused_size(), 1);
  EXPECT_EQ(directive.refused(0).service(), "web");
  EXPECT_EQ(directive.refused(0).endpoint_id(), "a");
  EXPECT_THAT(directive.refused(0).reason(), HasSubstr("known services: db"));
  WaitForState("a", v1::ENDPOINT_STATE_FRESH);
  EXPECT_EQ(loop_->view()->refused_endpoints, 1u);
}

TEST_F(LoadReportingTest, ImpossibleNumberIsRefusedAndTheFieldIsNamed) {
  const double wrong[] = {-0.1, std::numeric_limits<double>::quiet_NaN(),
                          std::numeric_limits<double>::infinity(), 1e9};
  for (const double cpu : wrong) {
    TestAgent agent(channel_, "a");
    agent.Write(agent.WithLoad(agent.Announcement(), cpu));
    const grpc::Status status = agent.Status();
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << cpu;
    EXPECT_THAT(status.error_message(), HasSubstr("endpoints[0].cpu_utilization"));
  }
}

TEST_F(LoadReportingTest, WildcardAddressesAreRefused) {
  TestAgent agent(channel_, "a");
  v1::ReportLoadRequest report = agent.Announcement();
  report.mutable_announcement()->set_trunk_address("0.0.0.0:7073");
  agent.Write(report);
  EXPECT_THAT(agent.Status().error_message(),
              HasSubstr("announcement.trunk_address: expected the host:port that proxies connect "
                        "to, not a wildcard address; got \"0.0.0.0:7073\""));
  TestAgent other(channel_, "b");
  report = other.Announcement();
  report.mutable_announcement()->mutable_endpoints(0)->set_server_address("[::]:9000");
  other.Write(report);
  EXPECT_THAT(other.Status().error_message(),
              HasSubstr("announcement.endpoints[0].server_address: expected the host:port"));
}

TEST_F(LoadReportingTest, NameWithABlankIsRefused) {
  TestAgent agent(channel_, "a b");
  agent.Write(agent.Announcement());
  EXPECT_THAT(agent.Status().error_message(), HasSubstr("announcement.agent_id"));
}

TEST_F(LoadReportingTest, ReportOfAnotherEndpointIsRefused) {
  TestAgent agent(channel_, "a");
  agent.Join();
  v1::ReportLoadRequest report;
  report.set_seq(7);
  report.add_endpoints()->set_service("db");
  report.mutable_endpoints(0)->set_endpoint_id("b");
  agent.Write(report);
  const grpc::Status status = agent.Status();
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("db/b"));
}

TEST_F(LoadReportingTest, SecondStreamOfAnAgentReplacesTheFirst) {
  TestAgent first(channel_, "a");
  first.Join();
  TestAgent second(channel_, "a");
  second.Join(0.7);
  EXPECT_EQ(first.Status().error_code(), StatusCode::ABORTED);
  WaitForState("a", v1::ENDPOINT_STATE_FRESH);
  EXPECT_EQ(loop_->view()->connected_agents, 1u) << "the first one's end is not the second one's";
}

TEST_F(LoadReportingTest, EndpointOfAReportingAgentIsRefusedToAnother) {
  TestAgent holder(channel_, "a");
  holder.Join();
  WaitForState("a", v1::ENDPOINT_STATE_FRESH);
  TestAgent thief(channel_, "thief");
  v1::ReportLoadRequest report = thief.Announcement();
  report.mutable_announcement()->mutable_endpoints(0)->set_endpoint_id("a");
  thief.Write(report);
  const grpc::Status status = thief.Status();
  EXPECT_EQ(status.error_code(), StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(status.error_message(), HasSubstr("held by agent a"));
}

TEST_F(LoadReportingTest, ReportsThatComeTooFastAreDroppedAndCounted) {
  TestAgent agent(channel_, "a");
  agent.Join();
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(agent.Say(0.5));
  agent.HalfClose();
  EXPECT_TRUE(agent.Status().ok());
  EXPECT_GT(loop_->report_counts().too_frequent, 0u);
}

TEST_F(LoadReportingTest, OldSequenceIsDroppedAndCounted) {
  TestAgent agent(channel_, "a");
  v1::ReportLoadRequest report = agent.WithLoad(agent.Announcement(), 0.5);
  ASSERT_TRUE(agent.Write(report));
  ASSERT_TRUE(agent.Write(report));
  agent.HalfClose();
  EXPECT_TRUE(agent.Status().ok());
  // Weight tables cannot show it: the agent may have come and gone between two of them.
  EXPECT_TRUE(Eventually([&] { return loop_->report_counts().old_sequence == 1; }));
  EXPECT_EQ(loop_->report_counts().accepted, 1u);
}

TEST_F(LoadReportingTest, OversizedMessageEndsOnlyItsStream) {
  TestAgent agent(channel_, "a");
  v1::ReportLoadRequest report = agent.Announcement();
  report.mutable_announcement()->set_version(std::string(kMaxClientMessageBytes, 'x'));
  agent.Write(report);
  EXPECT_EQ(agent.Status().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  TestAgent other(channel_, "b");
  other.Join();
}

TEST_F(LoadReportingTest, AgentThatLosesItsEndpointToAnotherOneIsToldAndReturnsLater) {
  StopController();
  report_interval_ = absl::Milliseconds(100);
  StartController();
  auto frozen = std::make_unique<TestAgent>(channel_, "a");
  frozen->Join();
  WaitFor([](const v1::WeightTable& table) {
    const v1::EndpointWeight* a = Find(table, "a");
    return a != nullptr &&
           (a->state() == v1::ENDPOINT_STATE_STALE || a->state() == v1::ENDPOINT_STATE_EXPIRED);
  });
  TestAgent heir(channel_, "heir");
  v1::ReportLoadRequest announcement = heir.Announcement();
  announcement.mutable_announcement()->mutable_endpoints(0)->set_endpoint_id("a");
  ASSERT_TRUE(heir.Write(announcement));
  heir.NextDirective();
  const grpc::Status end = frozen->Status();
  EXPECT_EQ(end.error_code(), StatusCode::ABORTED);
  EXPECT_THAT(end.error_message(),
              HasSubstr("agent heir at " + TrunkAddress("heir") + " took endpoint db/a over"));
  // The end of the frozen agent's stream does not touch the heir's endpoint.
  EXPECT_EQ(loop_->view()->connected_agents, 1u);
  heir.HalfClose();
  EXPECT_TRUE(heir.Status().ok());
  TestAgent back(channel_, "a");
  EXPECT_EQ(back.Join().endpoints_size(), 1);
}

}  // namespace
}  // namespace trunkline
