// Covers each arrow of the sequence in proto/trunkline/v1/discovery.proto, against a controller
// that the test plays.
#include "dataplane/control/discovery_subscriber.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <ios>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/config/names.h"
#include "common/grpc/controller_channel.h"
#include "common/net/socket.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "google/protobuf/text_format.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/dataplane/control/fake_controller.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {
namespace {

using test::FakeController;
using test::Subscription;
using ::testing::HasSubstr;

v1::SubscribeResponse Response(const std::string& text) {
  v1::SubscribeResponse response;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &response)) << text;
  return response;
}

// Returns version `version` of a snapshot with one service.
v1::SubscribeResponse Whole(uint64_t nonce, uint64_t version, const std::string& service = "db") {
  return Response(
      absl::StrCat("nonce: ", nonce, " snapshot { id { epoch: 1 version: ", version,
                   " } services { name: '", service,
                   "' mode: FORWARDING_MODE_TUNNEL listener { address: '127.0.0.1:0' } endpoints { "
                   "endpoint_id: 'a' address: '127.0.0.1:7073' weight: ",
                   version, " } } }"));
}

class DiscoveryTest : public ::testing::Test {
 protected:
  void Start(const std::string& controller) {
    subscriber_ = std::make_unique<DiscoverySubscriber>(
        DiscoverySubscriber::Options{
            .proxy_id = "p1", .controller = controller, .snapshot_file = file_},
        stats_,
        DiscoverySubscriber::DataPlaneCalls{.apply =
                                                [this](const auto& table) {
                                                  absl::MutexLock lock(&mutex_);
                                                  applied_.push_back(table);
                                                },
                                            .retry_listeners =
                                                [this] {
                                                  absl::MutexLock lock(&mutex_);
                                                  return missing_;
                                                }});
  }
  // Subscribes and reads the hello.
  std::shared_ptr<Subscription> StartAndSubscribe(FakeController& controller) {
    Start(controller.address());
    auto subscription = controller.NextSubscription();
    hello_ = subscription->Next().hello();
    return subscription;
  }
  v1::Ack Deliver(Subscription& subscription, const v1::SubscribeResponse& response) {
    subscription.Write(response);
    return subscription.Next().ack();
  }
  // Returns the version of the last table that went into service, or 0 if none did.
  uint64_t InService() {
    absl::MutexLock lock(&mutex_);
    return applied_.empty() ? 0 : applied_.back()->version;
  }
  size_t TablesApplied() {
    absl::MutexLock lock(&mutex_);
    return applied_.size();
  }
  void LackListeners(const std::string& why) {
    absl::MutexLock lock(&mutex_);
    missing_ = why;
  }
  uint64_t SavedVersion() {
    std::ifstream in(file_, std::ios::binary);
    v1::Snapshot saved;
    return saved.ParseFromIstream(&in) ? saved.id().version() : 0;
  }
  static std::string NoController() {
    auto listener = ListenOn({.host = "127.0.0.1", .port = 0});
    return absl::StrCat("127.0.0.1:", BoundPort(listener->get()));
  }

  test::ScratchFolder folder_;
  std::string file_ = folder_.File("snapshot");
  TrafficStats stats_{2};
  v1::Hello hello_;
  absl::Mutex mutex_;
  std::string missing_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<const RoutingTable>> applied_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<DiscoverySubscriber> subscriber_;
};

TEST_F(DiscoveryTest, HelloNamesTheProxyAndNoSnapshot) {
  FakeController controller;
  StartAndSubscribe(controller);
  EXPECT_EQ(hello_.proxy_id(), "p1");
  EXPECT_EQ(hello_.workers(), 2u);
  EXPECT_FALSE(hello_.version().empty());
  EXPECT_EQ(hello_.have().epoch(), 0u);
  EXPECT_EQ(hello_.have().version(), 0u);
  EXPECT_THAT(subscriber_->NotReady(), HasSubstr(controller.address()));
}

TEST_F(DiscoveryTest, SnapshotGoesIntoServiceIsSavedAndAcknowledged) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  const v1::Ack ack = Deliver(*subscription, Whole(/*nonce=*/41, /*version=*/3));
  EXPECT_EQ(ack.nonce(), 41u);
  EXPECT_EQ(ack.error(), "");
  EXPECT_EQ(ack.have().epoch(), 1u);
  EXPECT_EQ(ack.have().version(), 3u);
  EXPECT_EQ(InService(), 3u);
  EXPECT_EQ(SavedVersion(), 3u);
  EXPECT_EQ(subscriber_->NotReady(), "");
}

TEST_F(DiscoveryTest, DeltaIsAppliedToTheSnapshotAndAcknowledged) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  Deliver(*subscription, Whole(1, 3));
  const v1::Ack ack = Deliver(*subscription, Response(R"(nonce: 2 delta {
    base { epoch: 1 version: 3 } id { epoch: 1 version: 4 }
    services { name: 'cache' mode: FORWARDING_MODE_TUNNEL listener { address: '127.0.0.1:0' } } })"));
  EXPECT_EQ(ack.error(), "");
  EXPECT_EQ(ack.have().version(), 4u);
  absl::MutexLock lock(&mutex_);
  ASSERT_EQ(applied_.back()->services.size(), 2u);
  EXPECT_EQ(applied_.back()->services[0]->service, "cache");
  EXPECT_EQ(applied_.back()->services[1], applied_.front()->services[0])
      << "an unchanged set is shared";
}

TEST_F(DiscoveryTest, DeltaThatDoesNotFitIsRefusedAndChangesNothing) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  Deliver(*subscription, Whole(1, 3));
  const v1::Ack ack = Deliver(*subscription, Response(R"(nonce: 2 delta {
    base { epoch: 1 version: 3 } id { epoch: 1 version: 4 }
    changed_services { name: 'db' weights { skipped: [0, 1000] values: [70000, 70000] } } })"));
  EXPECT_THAT(ack.error(), AllOf(HasSubstr("db"), HasSubstr("position 1001")));
  EXPECT_EQ(ack.have().version(), 3u);
  EXPECT_EQ(InService(), 3u);
  const v1::Ack fits = Deliver(*subscription, Response(R"(nonce: 3 delta {
    base { epoch: 1 version: 3 } id { epoch: 1 version: 5 }
    changed_services { name: 'db' weights { skipped: 0 values: 25000 } } })"));
  EXPECT_EQ(fits.error(), "");
  absl::MutexLock lock(&mutex_);
  EXPECT_EQ(applied_.back()->services[0]->endpoints[0].weight, 2.5);
}

TEST_F(DiscoveryTest, PausedSubscriberEndsItsStreamAndSubscribesAgainOnceResumed) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  Deliver(*subscription, Whole(1, 3));
  subscriber_->Pause();
  subscription->AwaitEnd();
  EXPECT_EQ(subscriber_->NotReady(), "") << "the table stays in service";
  EXPECT_TRUE(subscriber_->Faults().empty());
  subscriber_->Resume();
  auto next = controller.NextSubscription();
  EXPECT_EQ(next->Next().hello().have().version(), 3u);
  EXPECT_EQ(Deliver(*next, Whole(1, 4)).error(), "");
  EXPECT_EQ(InService(), 4u);
}

TEST_F(DiscoveryTest, PausedSubscriberLeavesTheSnapshotFileToItsSuccessor) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  Deliver(*subscription, Whole(1, 3));
  Deliver(*subscription, Whole(2, 4));
  EXPECT_EQ(SavedVersion(), 3u) << "weights alone are saved later";
  subscriber_->Pause();
  std::filesystem::remove(file_);
  subscriber_.reset();
  EXPECT_EQ(SavedVersion(), 0u);
}

TEST_F(DiscoveryTest, SnapshotForASuccessorHasTheLastWeights) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  Deliver(*subscription, Whole(1, 3));
  Deliver(*subscription, Whole(2, 4));
  subscriber_->Save();
  EXPECT_EQ(SavedVersion(), 4u);
}

TEST_F(DiscoveryTest, ServiceThatCannotBeUsedIsReportedWhileTheOthersChange) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  v1::SubscribeResponse two = Whole(1, 3);
  *two.mutable_snapshot()->add_services() = two.snapshot().services(0);
  two.mutable_snapshot()->mutable_services(1)->set_name("web");
  Deliver(*subscription, two);
  EXPECT_EQ(subscription->NextTraffic().services_refused(), "");
  two.set_nonce(2);
  two.mutable_snapshot()->mutable_id()->set_version(4);
  two.mutable_snapshot()->mutable_services(0)->mutable_listener()->set_address(0, "unix:/run/x");
  two.mutable_snapshot()->mutable_services(1)->mutable_endpoints(0)->set_weight(9);
  const v1::Ack ack = Deliver(*subscription, two);
  EXPECT_FALSE(ack.has_error()) << ack.error();
  EXPECT_EQ(ack.have().version(), 4u);
  {
    absl::MutexLock lock(&mutex_);
    ASSERT_EQ(applied_.back()->services.size(), 2u);
    EXPECT_EQ(applied_.back()->services[0]->endpoints[0].weight, 3) << "the former version";
    EXPECT_EQ(applied_.back()->services[1]->endpoints[0].weight, 9);
  }
  v1::TrafficReport report = subscription->NextTraffic();
  // A report that was written before the snapshot may come first.
  if (report.services_refused().empty()) report = subscription->NextTraffic();
  EXPECT_THAT(report.services_refused(),
              HasSubstr("service db refused, former version in service: service db: "
                        "listener.address: expected host:port; got \"unix:/run/x\""));
  EXPECT_EQ(subscriber_->NotReady(), "") << "it still serves the others";
  two.set_nonce(3);
  two.mutable_snapshot()->mutable_id()->set_version(5);
  two.mutable_snapshot()->mutable_services(0)->mutable_listener()->set_address(0, "127.0.0.1:0");
  Deliver(*subscription, two);
  while (!subscription->NextTraffic().services_refused().empty()) {
  }
}

TEST_F(DiscoveryTest, InvalidSnapshotIsRefusedWithTheReasonAndTheLastGoodOneStays) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  Deliver(*subscription, Whole(1, 3));
  v1::SubscribeResponse wrong = Whole(2, 4);
  wrong.mutable_snapshot()->mutable_services(0)->mutable_endpoints(0)->set_weight(-1);
  const v1::Ack nack = Deliver(*subscription, wrong);
  EXPECT_EQ(nack.nonce(), 2u);
  EXPECT_THAT(nack.error(), HasSubstr("weight"));
  EXPECT_EQ(nack.have().version(), 3u);
  EXPECT_EQ(InService(), 3u);
  EXPECT_EQ(SavedVersion(), 3u);
  // The next snapshot is valid and replaces everything.
  EXPECT_EQ(Deliver(*subscription, Whole(3, 5)).error(), "");
  EXPECT_EQ(InService(), 5u);
}

TEST_F(DiscoveryTest, MissingListenerIsReportedEachSecondAndDoesNotRefuseTheSnapshot) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  LackListeners("port 5432 is taken");
  const v1::Ack ack = Deliver(*subscription, Whole(1, 3));
  EXPECT_EQ(ack.error(), "");
  EXPECT_EQ(ack.have().version(), 3u);
  EXPECT_EQ(SavedVersion(), 3u);
  EXPECT_EQ(subscription->NextTraffic().listeners_missing(), "port 5432 is taken");
  LackListeners("");
  while (!subscription->NextTraffic().listeners_missing().empty()) {
  }
}

TEST_F(DiscoveryTest, NotReadyGivesTheRefusalOfTheOnlySnapshot) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  v1::SubscribeResponse wrong = Whole(1, 3);
  wrong.mutable_snapshot()->mutable_services(0)->mutable_endpoints(0)->set_weight(-1);
  Deliver(*subscription, wrong);
  EXPECT_THAT(subscriber_->NotReady(), HasSubstr("weight"));
}

TEST_F(DiscoveryTest, OlderSnapshotAndDeltaForAnotherBaseAreRefused) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  Deliver(*subscription, Whole(1, 3));
  EXPECT_THAT(Deliver(*subscription, Whole(2, 2)).error(), HasSubstr("older"));
  EXPECT_THAT(Deliver(*subscription, Response("nonce: 3 delta { base { epoch: 1 version: 9 } "
                                              "id { epoch: 1 version: 10 } }"))
                  .error(),
              HasSubstr("1/9"));
  EXPECT_EQ(InService(), 3u);
}

TEST_F(DiscoveryTest, ReconnectNamesTheSnapshotAndAcceptsThatItIsCurrent) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  Deliver(*subscription, Whole(1, 3));
  subscription->End();
  auto again = controller.NextSubscription();
  const v1::Hello hello = again->Next().hello();
  EXPECT_EQ(hello.have().epoch(), 1u);
  EXPECT_EQ(hello.have().version(), 3u);
  const v1::Ack ack = Deliver(*again, Response("nonce: 7 up_to_date { epoch: 1 version: 3 }"));
  EXPECT_EQ(ack.nonce(), 7u);
  EXPECT_EQ(ack.error(), "");
  EXPECT_EQ(ack.have().version(), 3u);
  EXPECT_EQ(InService(), 3u);
}

TEST_F(DiscoveryTest, ProxyReconnectsToARestartedController) {
  auto controller = std::make_unique<FakeController>();
  auto subscription = StartAndSubscribe(*controller);
  Deliver(*subscription, Whole(1, 3));
  const int port = controller->port();
  controller.reset();
  EXPECT_EQ(subscriber_->NotReady(), "") << "it keeps serving without a controller";
  controller = std::make_unique<FakeController>(port);
  auto again = controller->NextSubscription();
  EXPECT_EQ(again->Next().hello().have().version(), 3u);
  EXPECT_EQ(Deliver(*again, Whole(1, 4)).error(), "");
  subscriber_.reset();
}

TEST_F(DiscoveryTest, SavedSnapshotIsServedWithoutAController) {
  v1::SubscribeResponse saved = Whole(1, 8);
  folder_.Write("snapshot", saved.snapshot().SerializeAsString());
  Start(NoController());
  EXPECT_EQ(InService(), 8u) << "before the constructor returns";
  EXPECT_EQ(subscriber_->NotReady(), "");
}

TEST_F(DiscoveryTest, HelloNamesTheSavedSnapshot) {
  folder_.Write("snapshot", Whole(1, 8).snapshot().SerializeAsString());
  FakeController controller;
  StartAndSubscribe(controller);
  EXPECT_EQ(hello_.have().version(), 8u);
}

TEST_F(DiscoveryTest, DamagedFileIsIgnoredAndReplacedByTheNextSnapshot) {
  const std::string good = Whole(1, 8).snapshot().SerializeAsString();
  const std::string wrong_weight = [&] {
    v1::SubscribeResponse response = Whole(1, 8);
    response.mutable_snapshot()->mutable_services(0)->mutable_endpoints(0)->set_weight(-1);
    return response.snapshot().SerializeAsString();
  }();
  for (const std::string& content : {std::string(), std::string("\xff\xff\xff garbage"),
                                     good.substr(0, good.size() - 3), wrong_weight}) {
    folder_.Write("snapshot", content);
    FakeController controller;
    auto subscription = StartAndSubscribe(controller);
    EXPECT_EQ(hello_.have().version(), 0u);
    EXPECT_EQ(InService(), 0u);
    EXPECT_NE(subscriber_->NotReady(), "");
    EXPECT_EQ(Deliver(*subscription, Whole(1, 2)).error(), "");
    EXPECT_EQ(SavedVersion(), 2u);
    subscriber_.reset();
    absl::MutexLock lock(&mutex_);
    applied_.clear();
  }
}

TEST_F(DiscoveryTest, MissingFileIsNoError) {
  Start(NoController());
  EXPECT_NE(subscriber_->NotReady(), "");
  EXPECT_EQ(TablesApplied(), 0u);
}

TEST_F(DiscoveryTest, TrafficReportCoversTheTimeSinceTheLastOne) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  auto endpoint = stats_.Endpoint("db", "a");
  for (size_t worker = 0; worker < 2; ++worker) {
    EndpointCell& cell = endpoint->cell(worker);
    cell.flows.Add(10);
    cell.connect_refused.Add(1);
    cell.resets.Add(2);
    cell.trunk_losses.Add(3);
    cell.active.Set(4);
    cell.connects.Add(5);
    cell.connect_nanos.Add(5'000'000);
    stats_.worker(worker).clients.Set(20);
    stats_.worker(worker).trunks.Set(3);
  }
  endpoint->cell(1).ejected.Set(1);
  Deliver(*subscription, Whole(1, 3));

  const v1::TrafficReport first = subscription->NextTraffic();
  EXPECT_EQ(first.clients(), 40u);
  EXPECT_EQ(first.trunks(), 6u);
  EXPECT_GT(first.seconds(), 0);
  ASSERT_EQ(first.endpoints_size(), 1);
  EXPECT_EQ(first.endpoints(0).service(), "db");
  EXPECT_EQ(first.endpoints(0).endpoint_id(), "a");
  EXPECT_EQ(first.endpoints(0).requests(), 20u);
  EXPECT_EQ(first.endpoints(0).errors(), 12u);
  EXPECT_EQ(first.endpoints(0).active(), 8u);
  EXPECT_NEAR(first.endpoints(0).connect_seconds(), 0.001, 1e-9);
  EXPECT_TRUE(first.endpoints(0).ejected());
  EXPECT_FALSE(first.endpoints(0).has_healthy()) << "it has not been checked";

  endpoint->cell(0).flows.Add(7);
  endpoint->cell(1).ejected.Set(0);
  endpoint->health.Set(EndpointHealth::State::kUnhealthy);
  const v1::TrafficReport second = subscription->NextTraffic();
  EXPECT_EQ(second.endpoints(0).requests(), 7u);
  EXPECT_EQ(second.endpoints(0).errors(), 0u);
  EXPECT_EQ(second.endpoints(0).active(), 8u);
  EXPECT_EQ(second.endpoints(0).connect_seconds(), 0) << "no connects, no mean";
  EXPECT_FALSE(second.endpoints(0).ejected());
  EXPECT_TRUE(second.endpoints(0).has_healthy());
  EXPECT_FALSE(second.endpoints(0).healthy());
  EXPECT_NEAR(second.seconds(), 1, 0.9);
}

TEST_F(DiscoveryTest, LargestSnapshotAndReportFitIntoTheirMessages) {
  v1::SubscribeResponse largest = Whole(1, 3, std::string(kMaxNameLength, 's'));
  v1::Service& service = *largest.mutable_snapshot()->mutable_services(0);
  v1::Endpoint endpoint = service.endpoints(0);
  service.clear_endpoints();
  for (size_t i = 0; i < kMaxClusterEndpoints; ++i) {
    std::string id = absl::StrCat(1'000'000 + i);
    id.append(kMaxNameLength - id.size(), 'e');
    endpoint.set_endpoint_id(id);
    endpoint.set_weight(1.0 / 3);
    endpoint.set_capacity(1.0 / 3);
    *service.add_endpoints() = endpoint;
  }
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  const v1::Ack ack = Deliver(*subscription, largest);
  EXPECT_EQ(ack.error(), "");
  EXPECT_EQ(ack.have().version(), 3u);
  for (const auto& stats : stats_.Endpoints()) {
    stats->cell(0).flows.Add(1ull << 50);
    stats->cell(0).resets.Add(1ull << 50);
    stats->cell(0).active.Set(1 << 30);
    stats->cell(0).ejected.Set(1);
    stats->cell(0).connects.Add(3);
    stats->health.Set(EndpointHealth::State::kUnhealthy);
  }
  // Reports that began before that have less.
  v1::TrafficReport report = subscription->NextTraffic();
  for (int i = 0; i < 3 && report.endpoints_size() < static_cast<int>(kMaxClusterEndpoints); ++i) {
    report = subscription->NextTraffic();
  }
  EXPECT_EQ(report.endpoints_size(), static_cast<int>(kMaxClusterEndpoints));
  // The longest addresses are host names, which the proxy would look up.
  endpoint.set_address(std::string(253, 'h') + ":65535");
  for (v1::Endpoint& named : *service.mutable_endpoints()) named.set_address(endpoint.address());
  EXPECT_LT(largest.ByteSizeLong(), static_cast<size_t>(kMaxControllerMessageBytes));
}

// Its counters restart at zero, so the difference to the last report must not wrap around.
TEST_F(DiscoveryTest, EndpointThatReturnsBetweenReportsCountsFromZero) {
  FakeController controller;
  auto subscription = StartAndSubscribe(controller);
  Deliver(*subscription, Whole(1, 3, "other"));
  auto endpoint = stats_.Endpoint("db", "a");
  endpoint->cell(0).flows.Add(1000);
  const auto requests = [&] {
    const v1::TrafficReport report = subscription->NextTraffic();
    for (const v1::EndpointTraffic& item : report.endpoints()) {
      if (item.service() == "db") return item.requests();
    }
    return uint64_t{0};
  };
  while (requests() != 1000) {
  }
  endpoint.reset();
  endpoint = stats_.Endpoint("db", "a");
  endpoint->cell(0).flows.Add(3);
  EXPECT_EQ(requests(), 3u);
}

TEST_F(DiscoveryTest, StopsAtOnceWhetherConnectedOrNot) {
  const auto seconds_to_stop = [&] {
    const MonotonicTime start = MonotonicNow();
    subscriber_.reset();
    return absl::ToDoubleSeconds(MonotonicNow() - start);
  };
  FakeController controller;
  StartAndSubscribe(controller);
  EXPECT_LT(seconds_to_stop(), 2);
  Start(NoController());
  EXPECT_LT(seconds_to_stop(), 2);
}

}  // namespace
}  // namespace trunkline
