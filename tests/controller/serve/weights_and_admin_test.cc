// Tests each step of the sequences in weights.proto and admin.proto.
#include <gmock/gmock.h>

#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "controller/loop/state_store.h"
#include "tests/controller/serve/service_fixture.h"
#include "trunkline/v1/admin.pb.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/load_report.pb.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

class WeightsAndAdminTest : public ServiceTest {
 protected:
  template <typename Call>
  grpc::Status Timed(const Call& call) {
    grpc::ClientContext context;
    context.set_deadline(Deadline());
    return call(&context);
  }
  v1::Snapshot GetSnapshot() {
    v1::GetSnapshotResponse response;
    EXPECT_TRUE(Timed([&](auto* c) { return admin_->GetSnapshot(c, {}, &response); }).ok());
    return response.snapshot();
  }
  grpc::Status Pin(const std::string& id, double weight) {
    auto request = Named<v1::PinRequest>(id);
    request.set_weight(weight);
    v1::PinResponse response;
    return Timed([&](auto* c) { return admin_->Pin(c, request, &response); });
  }
  v1::Explanation Explain(const std::string& id) {
    v1::ExplainWeightResponse response;
    const grpc::Status status = Timed([&](auto* c) {
      return weights_->ExplainWeight(c, Named<v1::ExplainWeightRequest>(id), &response);
    });
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.explanation();
  }
  void JoinBoth() {
    a_.emplace(channel_, "a");
    b_.emplace(channel_, "b");
    a_->Join();
    b_->Join();
    WaitForState("a", v1::ENDPOINT_STATE_FRESH);
    WaitForState("b", v1::ENDPOINT_STATE_FRESH);
  }
  std::optional<TestAgent> a_, b_;
};

TEST_F(WeightsAndAdminTest, GetWeightsAnswersOfTheNewestSnapshot) {
  JoinBoth();
  const v1::WeightTable table = GetWeights("db");
  EXPECT_EQ(table.id().version(), GetSnapshot().id().version());
  ASSERT_EQ(table.services_size(), 1);
  ASSERT_EQ(table.services(0).endpoints_size(), 2);
  const v1::EndpointWeight& a = table.services(0).endpoints(0);
  EXPECT_EQ(a.weight(), 1);
  EXPECT_EQ(a.share(), 0.5);
  EXPECT_EQ(a.utilization(), 0.5);
  EXPECT_GE(a.report_age_seconds(), 0);
}

TEST_F(WeightsAndAdminTest, GetWeightsOfAnUnknownServiceNamesTheKnownOnes) {
  v1::GetWeightsRequest request;
  request.set_service("web");
  v1::GetWeightsResponse response;
  const grpc::Status status =
      Timed([&](auto* c) { return weights_->GetWeights(c, request, &response); });
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("known services: db"));
}

TEST_F(WeightsAndAdminTest, WatchSendsTheNewestAtOnceThenEachChange) {
  JoinBoth();
  grpc::ClientContext context;
  context.set_deadline(Deadline());
  auto stream = weights_->WatchWeights(&context, v1::WatchWeightsRequest());
  v1::WatchWeightsResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_FALSE(Find(response.table(), "a")->draining());
  ASSERT_TRUE(Drain("a").ok());
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(Find(response.table(), "a")->draining());
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
}

TEST_F(WeightsAndAdminTest, WatchOfAnUnknownServiceIsRefused) {
  grpc::ClientContext context;
  context.set_deadline(Deadline());
  v1::WatchWeightsRequest request;
  request.set_service("web");
  auto stream = weights_->WatchWeights(&context, request);
  v1::WatchWeightsResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::NOT_FOUND);
}

TEST_F(WeightsAndAdminTest, ExplainHoldsEveryTermOfTheWeight) {
  JoinBoth();
  const v1::Explanation explanation = Explain("a");
  std::map<std::string, double> terms;
  for (const v1::Explanation::Term& term : explanation.terms()) {
    terms[term.name()] = term.value();
    EXPECT_FALSE(term.meaning().empty()) << term.name();
  }
  for (const char* name :
       {"cpu", "u", "r", "e", "wait", "excess_wait", "u_eff", "k", "ubar", "expected_u", "obs", "P",
        "theta", "memory", "slow_start", "admin", "mean", "accepted"}) {
    EXPECT_TRUE(terms.contains(name)) << name;
  }
  EXPECT_NEAR(terms["P"] * std::exp(terms["theta"]) * terms["memory"] * terms["slow_start"],
              terms["proposed"], 1e-9);
  EXPECT_NEAR(terms["proposed"] / terms["mean"], explanation.weight(), 0.01);
}

TEST_F(WeightsAndAdminTest, ExplainOfAnUnknownEndpointNamesTheKnownOnes) {
  JoinBoth();
  v1::ExplainWeightResponse response;
  const grpc::Status status = Timed([&](auto* c) {
    return weights_->ExplainWeight(c, Named<v1::ExplainWeightRequest>("x"), &response);
  });
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("a, b"));
}

TEST_F(WeightsAndAdminTest, UnreachableServerIsExplainedAsSuch) {
  JoinBoth();
  v1::ReportLoadRequest report = a_->WithLoad({}, 0.0, 0);
  report.mutable_endpoints(0)->set_reachable(false);
  ASSERT_TRUE(a_->Write(report));
  WaitFor([](const v1::WeightTable& table) { return Find(table, "a")->weight() == 0.02; });
  const v1::Explanation explanation = Explain("a");
  ASSERT_EQ(explanation.notices_size(), 1);
  EXPECT_THAT(explanation.notices(0), HasSubstr("unreachable"));
}

TEST_F(WeightsAndAdminTest, DrainReturnsTheFirstSnapshotWithIt) {
  JoinBoth();
  v1::DrainResponse response;
  ASSERT_TRUE(Drain("a", &response).ok());
  const v1::Snapshot snapshot = GetSnapshot();
  EXPECT_EQ(snapshot.id().version(), response.snapshot_id().version());
  EXPECT_TRUE(snapshot.services(0).endpoints(0).draining());
  EXPECT_EQ(snapshot.services(0).endpoints(0).weight(), 0);
}

TEST_F(WeightsAndAdminTest, UndrainReturnsTheEndpointToService) {
  JoinBoth();
  ASSERT_TRUE(Drain("a").ok());
  v1::UndrainResponse response;
  ASSERT_TRUE(Timed([&](auto* c) {
                return admin_->Undrain(c, Named<v1::UndrainRequest>("a"), &response);
              }).ok());
  EXPECT_FALSE(GetSnapshot().services(0).endpoints(0).draining());
  EXPECT_GT(GetSnapshot().services(0).endpoints(0).weight(), 0);
}

TEST_F(WeightsAndAdminTest, PinAndUnpinSetAndReleaseTheWeight) {
  JoinBoth();
  ASSERT_TRUE(Pin("a", 3.5).ok());
  EXPECT_EQ(GetSnapshot().services(0).endpoints(0).weight(), 3.5);
  EXPECT_TRUE(Find(GetWeights(), "a")->pinned());
  v1::UnpinResponse response;
  ASSERT_TRUE(Timed([&](auto* c) {
                return admin_->Unpin(c, Named<v1::UnpinRequest>("a"), &response);
              }).ok());
  EXPECT_EQ(GetSnapshot().services(0).endpoints(0).weight(), 1);
}

TEST_F(WeightsAndAdminTest, ImpossiblePinIsRefused) {
  JoinBoth();
  for (const double weight : {0.0, -1.0, 1e9, std::nan("")}) {
    EXPECT_EQ(Pin("a", weight).error_code(), StatusCode::INVALID_ARGUMENT) << weight;
  }
}

TEST_F(WeightsAndAdminTest, OrderForAnUnknownEndpointNamesTheKnownOnes) {
  JoinBoth();
  const grpc::Status status = Drain("x");
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("known endpoints: a, b"));
}

TEST_F(WeightsAndAdminTest, ListsNameServicesAndEndpoints) {
  JoinBoth();
  v1::ListServicesResponse services;
  ASSERT_TRUE(Timed([&](auto* c) { return admin_->ListServices(c, {}, &services); }).ok());
  ASSERT_EQ(services.services_size(), 1);
  EXPECT_EQ(services.services(0).endpoints(), 2u);
  EXPECT_EQ(services.services(0).fresh_endpoints(), 2u);
  v1::ListEndpointsResponse endpoints;
  ASSERT_TRUE(Timed([&](auto* c) { return admin_->ListEndpoints(c, {}, &endpoints); }).ok());
  ASSERT_EQ(endpoints.endpoints_size(), 2);
  EXPECT_EQ(endpoints.endpoints(0).agent_id(), "a");
  EXPECT_EQ(endpoints.endpoints(0).cpu_source(), "host");
  EXPECT_TRUE(endpoints.endpoints(0).reachable());
}

TEST_F(WeightsAndAdminTest, EndpointsAreListedInPages) {
  std::vector<std::unique_ptr<TestAgent>> agents;
  for (const char* id : {"a", "b", "c", "d", "e"}) {
    agents.push_back(std::make_unique<TestAgent>(channel_, id));
    agents.back()->Join();
    WaitForState(id, v1::ENDPOINT_STATE_FRESH);
  }
  v1::ListEndpointsRequest request;
  request.set_page_size(2);
  std::vector<std::string> pages;
  do {
    v1::ListEndpointsResponse page;
    ASSERT_TRUE(Timed([&](auto* c) { return admin_->ListEndpoints(c, request, &page); }).ok());
    std::string& ids = pages.emplace_back();
    for (const auto& item : page.endpoints()) ids += item.weight().endpoint_id();
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(pages, testing::ElementsAre("ab", "cd", "e"));

  request.set_page_size(5);
  v1::ListEndpointsResponse page;
  ASSERT_TRUE(Timed([&](auto* c) { return admin_->ListEndpoints(c, request, &page); }).ok());
  EXPECT_EQ(page.next_page_token(), "") << "the page is full, but nothing follows";
}

TEST_F(WeightsAndAdminTest, PageAfterAnEndpointThatLeftHasTheRest) {
  TestAgent b(channel_, "b");
  b.Join();
  WaitForState("b", v1::ENDPOINT_STATE_FRESH);
  v1::ListEndpointsRequest request;
  request.set_page_token("db/a");
  v1::ListEndpointsResponse page;
  ASSERT_TRUE(Timed([&](auto* c) { return admin_->ListEndpoints(c, request, &page); }).ok());
  ASSERT_EQ(page.endpoints_size(), 1);
  EXPECT_EQ(page.endpoints(0).weight().endpoint_id(), "b");
}

TEST_F(WeightsAndAdminTest, WrongPageTokenIsRefused) {
  v1::ListEndpointsRequest request;
  request.set_page_token("17");
  v1::ListEndpointsResponse page;
  const grpc::Status status =
      Timed([&](auto* c) { return admin_->ListEndpoints(c, request, &page); });
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("page_token: expected"));
}

TEST_F(WeightsAndAdminTest, FullDiskRefusesOrdersAndServesReads) {
  JoinBoth();
  StopController();
  // The controller's thread outlives this function.
  const auto full = std::make_shared<std::atomic<bool>>(false);
  store_ = std::make_unique<StateStore>(
      "state", [full](const std::string&, std::string_view) -> absl::Status {
        if (*full) return absl::ResourceExhaustedError("write state.tmp: No space left on device");
        return absl::OkStatus();
      });
  StartController();
  JoinBoth();
  ASSERT_TRUE(Pin("b", 2).ok());
  const v1::Snapshot before = GetSnapshot();
  *full = true;
  for (const grpc::Status& refused : {Drain("a"), Pin("a", 3), Pin("b", 3)}) {
    EXPECT_EQ(refused.error_code(), StatusCode::FAILED_PRECONDITION);
    EXPECT_THAT(refused.error_message(), HasSubstr("nothing has changed"));
    EXPECT_THAT(refused.error_message(), HasSubstr("No space left"));
  }
  EXPECT_FALSE(Find(GetWeights(), "a")->draining());
  EXPECT_FALSE(Find(GetWeights(), "a")->pinned());
  EXPECT_EQ(Find(GetWeights(), "b")->weight(), 2);
  EXPECT_EQ(GetSnapshot().services(0).endpoints(1).weight(),
            before.services(0).endpoints(1).weight());
  *full = false;
  ASSERT_TRUE(Drain("a").ok());
  EXPECT_TRUE(GetSnapshot().services(0).endpoints(0).draining());
}

TEST_F(WeightsAndAdminTest, ForgottenEndpointIsGoneFromTheNamedSnapshot) {
  JoinBoth();
  v1::ForgetResponse response;
  const auto forget = [&](const std::string& id) {
    return Timed(
        [&](auto* c) { return admin_->Forget(c, Named<v1::ForgetRequest>(id), &response); });
  };
  const grpc::Status refused = forget("a");
  EXPECT_EQ(refused.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), HasSubstr("stop its agent a"));
  a_->Break();
  ASSERT_TRUE(Eventually([&] { return loop_->view()->connected_agents == 1; }));
  ASSERT_TRUE(forget("a").ok());
  EXPECT_EQ(response.endpoints(), 1u);
  const v1::Snapshot snapshot = GetSnapshot();
  EXPECT_EQ(response.snapshot_id().version(), snapshot.id().version());
  EXPECT_EQ(snapshot.services(0).endpoints_size(), 1);
}

}  // namespace
}  // namespace trunkline
