#include "controller/core/proxy_table.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "controller/core/load_report.h"
#include "tests/controller/core/core_fixture.h"

namespace trunkline {
namespace {

const auto kAll = [](const EndpointKey&) { return true; };

class ProxyTableTest : public testing::Test {
 protected:
  void Connect(const std::string& id, double at) { table_.Connect(id, "test", 2, {1, 1}, At(at)); }
  ProxyTable table_;
};

TEST_F(ProxyTableTest, DisconnectedProxyStaysListedForFiveMinutes) {
  Connect("p", 0);
  table_.Disconnect("p", At(10));
  ASSERT_EQ(table_.List(At(300)).size(), 1u);
  EXPECT_FALSE(table_.List(At(300))[0].connected);
  EXPECT_TRUE(table_.List(At(311)).empty());
}

TEST_F(ProxyTableTest, SilentButConnectedProxyStaysListed) {
  Connect("p", 0);
  EXPECT_EQ(table_.List(At(3600)).size(), 1u);
}

TEST_F(ProxyTableTest, FloodOfProxyIdsEvictsTheLongestDisconnected) {
  Connect("first", 0);
  table_.Disconnect("first", At(1));
  for (size_t i = 0; i < ProxyTable::kMaxProxies; ++i) Connect("p" + std::to_string(i), 2);
  EXPECT_EQ(table_.List(At(3)).size(), ProxyTable::kMaxProxies);
  EXPECT_NE(table_.List(At(3))[0].proxy_id, "first");
  Connect("one-more", 4);
  EXPECT_EQ(table_.List(At(5)).size(), ProxyTable::kMaxProxies);
}

TEST_F(ProxyTableTest, ErrorOfANackIsListedUntilTheNextAck) {
  Connect("p", 0);
  table_.Acked("p", {1, 1}, "no such listener", At(1));
  EXPECT_EQ(table_.List(At(1))[0].last_error, "no such listener");
  EXPECT_EQ(table_.nacks(), 1u);
  table_.Acked("p", {1, 2}, "", At(2));
  EXPECT_EQ(table_.List(At(2))[0].last_error, "");
}

TEST_F(ProxyTableTest, EjectionsOfAProxyThatLeftDoNotCount) {
  Connect("p", 0);
  Connect("q", 0);
  ProxyTraffic traffic;
  traffic.endpoints = {{{"db", "a"}, 3, true}};
  table_.Traffic("p", traffic, kAll, At(1));
  table_.Traffic("q", traffic, kAll, At(1));
  EXPECT_EQ(table_.Verdicts().at({"db", "a"}).ejected_by, 2);
  table_.Disconnect("q", At(2));
  EXPECT_EQ(table_.Verdicts().at({"db", "a"}).ejected_by, 1);
  EXPECT_EQ(table_.Verdicts().at({"db", "a"}).errors, 6u);
}

TEST_F(ProxyTableTest, HealthIsCountedOverTheConnectedProxiesThatCheck) {
  const EndpointKey a = {"db", "a"};
  const auto report = [&](const std::string& id, std::optional<bool> healthy) {
    ProxyTraffic traffic;
    traffic.endpoints = {{a, 0, false, healthy}};
    table_.Traffic(id, traffic, kAll, At(1));
  };
  for (const char* id : {"p", "q", "r"}) Connect(id, 0);
  report("p", true);
  report("q", false);
  report("r", std::nullopt);
  report("never-connected", true);
  EXPECT_EQ(table_.Verdicts().at(a).checked_by, 2);
  EXPECT_EQ(table_.Verdicts().at(a).healthy_by, 1);
  report("q", true);
  EXPECT_EQ(table_.Verdicts().at(a).healthy_by, 2) << "the newest report counts";
  table_.Disconnect("p", At(2));
  EXPECT_EQ(table_.Verdicts().at(a).checked_by, 1);
  Connect("q", 3);
  EXPECT_TRUE(table_.Verdicts().empty()) << "a new stream has reported nothing";
  report("q", false);
  EXPECT_EQ(table_.Verdicts().at(a).healthy_by, 0);
  report("q", std::nullopt);
  EXPECT_TRUE(table_.Verdicts().empty()) << "its checks were removed";
}

TEST_F(ProxyTableTest, AgreementThatAnEndpointIsUnhealthyIsReportedWhenItBeginsAndEnds) {
  const EndpointKey a = {"db", "a"};
  const auto report = [&](const std::string& id, std::optional<bool> healthy) {
    ProxyTraffic traffic;
    traffic.endpoints = {{a, 0, false, healthy}, {{"db", "b"}, 0, false, true}};
    return table_.Traffic(id, traffic, kAll, At(1)).agreed;
  };
  for (const char* id : {"p", "q", "r"}) Connect(id, 0);
  EXPECT_TRUE(report("p", true).empty());
  EXPECT_TRUE(report("q", false).empty()) << "p finds it healthy";
  const std::vector<AgreedHealth> begun = report("p", false);
  ASSERT_EQ(begun.size(), 1u);
  EXPECT_EQ(begun[0].key, a);
  EXPECT_TRUE(begun[0].unhealthy);
  EXPECT_EQ(begun[0].checked_by, 2);
  EXPECT_TRUE(report("q", false).empty()) << "nothing new";
  EXPECT_TRUE(report("r", std::nullopt).empty()) << "r does not check it";
  const std::vector<AgreedHealth> ended = report("q", true);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_FALSE(ended[0].unhealthy);
  EXPECT_EQ(ended[0].healthy_by, 1);
  table_.Disconnect("q", At(2));
  EXPECT_TRUE(report("p", false)[0].unhealthy) << "the one that found it healthy has left";
  const std::vector<AgreedHealth> unchecked = report("p", std::nullopt);
  ASSERT_EQ(unchecked.size(), 1u);
  EXPECT_FALSE(unchecked[0].unhealthy);
  EXPECT_EQ(unchecked[0].checked_by, 0);
}

TEST_F(ProxyTableTest, EndpointsThatTheControllerDoesNotKnowAreNotKept) {
  Connect("p", 0);
  ProxyTraffic traffic;
  traffic.endpoints = {{{"db", "a"}, 1, true}, {{"db", "invented"}, 1, true}};
  table_.Traffic(
      "p", traffic, [](const EndpointKey& key) { return key.endpoint_id == "a"; }, At(1));
  EXPECT_EQ(table_.Verdicts().size(), 1u);
  EXPECT_EQ(table_.List(At(1))[0].traffic.endpoints.size(), 1u);
}

TEST_F(ProxyTableTest, EndpointsThatLeftMakeRoomForTheErrorsOfOthers) {
  Connect("p", 0);
  ProxyTraffic traffic;
  for (size_t i = 0; i < ProxyTable::kMaxEndpoints; ++i) {
    traffic.endpoints.push_back({{"db", "old" + std::to_string(i)}, 1, false});
  }
  table_.Traffic("p", traffic, kAll, At(1));
  EXPECT_TRUE(table_.List(At(1))[0].traffic.endpoints.empty()) << "only ejections are kept";
  traffic.endpoints = {{{"db", "new"}, 1, false}};
  table_.Traffic(
      "p", traffic, [](const EndpointKey& key) { return key.endpoint_id == "new"; }, At(2));
  EXPECT_EQ(table_.Verdicts().at({"db", "new"}).errors, 1u);
  EXPECT_EQ(table_.Verdicts().size(), 1u);
}

}  // namespace
}  // namespace trunkline
