#include "controller/wire/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/config/names.h"
#include "controller/core/control_core.h"
#include "controller/core/weight_history.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

using ::testing::HasSubstr;

// The limit of a gRPC client that sets none.
constexpr size_t kDefaultGrpcLimit = 4 << 20;

MonotonicTime StepsAfterStart(size_t steps) {
  return MonotonicTime() + static_cast<int64_t>(steps) * WeightHistory::kStep;
}

void AddEndpoint(ControllerView& view, const std::string& id) {
  EndpointReason& reason = view.services.back().endpoints.emplace_back();
  reason.endpoint.key = {view.services.back().spec.name, id};
  reason.weight = 1;
}

ControllerView ViewOf(const std::string& service) {
  ControllerView view;
  view.services.emplace_back().spec.name = service;
  return view;
}

TEST(HistoryTest, PagesOfTheLargestClusterFitIntoTheirMessages) {
  const std::string service(kMaxNameLength, 's');
  ControllerView view = ViewOf(service);
  for (size_t i = 0; i < kMaxClusterEndpoints; ++i) {
    const std::string number = absl::StrCat(1'000'000 + i);
    AddEndpoint(view, number + std::string(kMaxNameLength - number.size(), 'e'));
  }
  WeightHistory history;
  for (size_t i = 0; i < WeightHistory::kPoints; ++i) history.Record(view, StepsAfterStart(i));
  v1::GetWeightHistoryRequest request;
  std::set<std::string> listed;
  do {
    const auto page = WriteHistory(history, view, request, StepsAfterStart(WeightHistory::kPoints));
    ASSERT_TRUE(page.ok()) << page.status();
    ASSERT_GT(page->endpoints_size(), 0);
    EXPECT_LT(page->ByteSizeLong(), kDefaultGrpcLimit);
    for (const auto& endpoint : page->endpoints()) {
      EXPECT_TRUE(listed.insert(endpoint.endpoint_id()).second) << "listed twice";
    }
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(listed.size(), kMaxClusterEndpoints);
}

TEST(HistoryTest, UnknownValuesAreUnsetAndNotZero) {
  ControllerView view = ViewOf("db");
  AddEndpoint(view, "a");
  WeightHistory history;
  history.Record(view, StepsAfterStart(0));
  const auto response = WriteHistory(history, view, {}, StepsAfterStart(0));
  ASSERT_TRUE(response.ok()) << response.status();
  const v1::EndpointHistory::Point& point = response->endpoints(0).points(0);
  EXPECT_EQ(point.weight(), 1);
  EXPECT_FALSE(point.has_utilization());
  EXPECT_FALSE(point.has_error_share());
  EXPECT_FALSE(point.has_wait_seconds());
}

TEST(HistoryTest, OneEndpointIsAllThatIsAsked) {
  ControllerView view = ViewOf("db");
  AddEndpoint(view, "a");
  AddEndpoint(view, "b");
  WeightHistory history;
  history.Record(view, StepsAfterStart(0));
  v1::GetWeightHistoryRequest request;
  request.set_service("db");
  request.set_endpoint_id("b");
  const auto response = WriteHistory(history, view, request, StepsAfterStart(0));
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(response->endpoints_size(), 1);
  EXPECT_EQ(response->endpoints(0).endpoint_id(), "b");
}

TEST(HistoryTest, UnknownNamesAreRefusedWithTheKnownOnes) {
  ControllerView view = ViewOf("db");
  AddEndpoint(view, "a");
  WeightHistory history;
  history.Record(view, StepsAfterStart(0));
  const auto ask = [&](const std::string& service, const std::string& id) {
    v1::GetWeightHistoryRequest request;
    request.set_service(service);
    request.set_endpoint_id(id);
    return WriteHistory(history, view, request, StepsAfterStart(0)).status();
  };
  EXPECT_EQ(ask("cache", "").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(ask("cache", "").message()), HasSubstr("known services: db"));
  EXPECT_EQ(ask("db", "x").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(ask("db", "x").message()), HasSubstr("its endpoints: a"));
  EXPECT_EQ(ask("", "a").code(), absl::StatusCode::kInvalidArgument);
}

TEST(HistoryTest, ServiceThatWasRemovedIsStillTold) {
  ControllerView view = ViewOf("db");
  AddEndpoint(view, "a");
  WeightHistory history;
  history.Record(view, StepsAfterStart(0));
  v1::GetWeightHistoryRequest request;
  request.set_service("db");
  const auto response = WriteHistory(history, ControllerView(), request, StepsAfterStart(0));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->endpoints_size(), 1);
}

}  // namespace
}  // namespace trunkline
