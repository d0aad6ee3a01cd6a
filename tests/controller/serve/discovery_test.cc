// Tests each step of the sequence in discovery.proto and each rule below it.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "absl/time/time.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/core/traffic_window.h"
#include "tests/common/log_capture.h"
#include "tests/controller/core/core_fixture.h"
#include "tests/controller/serve/service_fixture.h"
#include "trunkline/v1/admin.pb.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

using grpc::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

class DiscoveryTest : public ServiceTest {
 protected:
  DiscoveryTest() {
    StopController();
    services_ = {Service("db", {{"a", 1, "127.0.0.1:7073"}, {"b", 1, "127.0.0.1:7074"}}),
                 Service("web")};
    services_[0].listen = {"127.0.0.1:9000", "[::1]:9000"};
    services_[1].listen = {"127.0.0.1:9001"};
    StartController();
  }
  // Makes a change that appears in the next snapshot and returns its id.
  v1::SnapshotId Change() {
    drained_ = !drained_;
    grpc::ClientContext context;
    context.set_deadline(Deadline());
    if (drained_) {
      v1::DrainResponse response;
      const grpc::Status status = admin_->Drain(&context, Named<v1::DrainRequest>("a"), &response);
      EXPECT_TRUE(status.ok()) << status.error_message();
      return response.snapshot_id();
    }
    v1::UndrainResponse response;
    const grpc::Status status =
        admin_->Undrain(&context, Named<v1::UndrainRequest>("a"), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.snapshot_id();
  }
  v1::ListProxiesResponse ListProxies() {
    grpc::ClientContext context;
    context.set_deadline(Deadline());
    v1::ListProxiesResponse response;
    EXPECT_TRUE(admin_->ListProxies(&context, {}, &response).ok());
    return response;
  }
  v1::ListProxiesResponse::Item WaitForProxy(
      const std::function<bool(const v1::ListProxiesResponse::Item&)>& holds) {
    const auto deadline = Deadline();
    while (std::chrono::system_clock::now() < deadline) {
      const v1::ListProxiesResponse list = ListProxies();
      for (const auto& item : list.proxies()) {
        if (holds(item)) return item;
      }
    }
    ADD_FAILURE() << "no such proxy: " << ListProxies().ShortDebugString();
    return {};
  }
  bool drained_ = false;
};

TEST_F(DiscoveryTest, ProxyWithoutASnapshotGetsTheWholeSnapshot) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  const v1::SubscribeResponse response = proxy.Next();
  ASSERT_TRUE(response.has_snapshot());
  EXPECT_EQ(response.snapshot().id().epoch(), 1000u);
  ASSERT_EQ(response.snapshot().services_size(), 2);
  const v1::Service& db = response.snapshot().services(0);
  EXPECT_EQ(db.name(), "db");
  EXPECT_EQ(db.mode(), v1::FORWARDING_MODE_TUNNEL);
  EXPECT_THAT(db.listener().address(), ElementsAre("127.0.0.1:9000", "[::1]:9000"));
  ASSERT_EQ(db.endpoints_size(), 2);
  EXPECT_EQ(db.endpoints(0).endpoint_id(), "a");
  EXPECT_EQ(db.endpoints(0).address(), "127.0.0.1:7073");
  EXPECT_EQ(db.endpoints(0).weight(), 1);
}

TEST_F(DiscoveryTest, UpToDateProxyGetsNoFurtherResponse) {
  TestProxy proxy(channel_);
  proxy.Hello("p1", 1000, 1);
  const v1::SubscribeResponse response = proxy.Next();
  ASSERT_TRUE(response.has_up_to_date());
  EXPECT_EQ(response.up_to_date().version(), 1u);
}

TEST_F(DiscoveryTest, ReconnectingProxyGetsADelta) {
  const v1::SnapshotId now = Change();
  TestProxy proxy(channel_);
  proxy.Hello("p1", 1000, 1);
  const v1::SubscribeResponse response = proxy.Next();
  ASSERT_TRUE(response.has_delta());
  EXPECT_EQ(response.delta().base().version(), 1u);
  EXPECT_EQ(response.delta().id().version(), now.version());
  EXPECT_EQ(response.delta().services_size(), 0);
  ASSERT_EQ(response.delta().changed_services_size(), 1) << "web did not change";
  const v1::ServiceDelta& db = response.delta().changed_services(0);
  EXPECT_EQ(db.name(), "db");
  ASSERT_EQ(db.endpoints_size(), 1) << "b did not change";
  EXPECT_EQ(db.endpoints(0).endpoint_id(), "a");
  EXPECT_TRUE(db.endpoints(0).draining());
}

TEST_F(DiscoveryTest, ReconnectingProxyOfAForgottenVersionGetsEverything) {
  for (size_t i = 0; i <= SnapshotPublisher::kHistory; ++i) Change();
  TestProxy proxy(channel_);
  proxy.Hello("p1", 1000, 1);
  EXPECT_TRUE(proxy.Next().has_snapshot());
}

TEST_F(DiscoveryTest, ChangeIsSentAfterTheAckAsADelta) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  proxy.Ack(proxy.Next());
  const v1::SnapshotId changed = Change();
  const v1::SubscribeResponse response = proxy.Next();
  ASSERT_TRUE(response.has_delta());
  EXPECT_EQ(response.delta().id().version(), changed.version());
}

TEST_F(DiscoveryTest, SlowProxyGetsTheLatestOnly) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  const v1::SubscribeResponse first = proxy.Next();
  for (int i = 0; i < 4; ++i) Change();
  const v1::SnapshotId latest = Change();
  proxy.Ack(first);
  const v1::SubscribeResponse second = proxy.Next();
  EXPECT_EQ(second.nonce(), first.nonce() + 1);
  EXPECT_EQ(second.delta().id().version(), latest.version());
}

TEST_F(DiscoveryTest, NackIsShownAndFollowedByEverythingAtTheNextVersion) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  const v1::SubscribeResponse first = proxy.Next();
  proxy.Ack(first);
  Change();
  const v1::SubscribeResponse refused = proxy.Next();
  proxy.Ack(refused.nonce(), first.snapshot().id(), "listener 127.0.0.1:9000: address in use");
  const v1::ListProxiesResponse::Item item =
      WaitForProxy([](const auto& p) { return !p.last_error().empty(); });
  EXPECT_THAT(item.last_error(), HasSubstr("address in use"));
  EXPECT_EQ(item.acked().version(), 1u) << "the last good";
  const v1::SnapshotId newer = Change();
  const v1::SubscribeResponse next = proxy.Next();
  ASSERT_TRUE(next.has_snapshot());
  EXPECT_EQ(next.nonce(), refused.nonce() + 1) << "the refused version was not offered again";
  EXPECT_EQ(next.snapshot().id().version(), newer.version());
  proxy.Ack(next);
  EXPECT_EQ(WaitForProxy([](const auto& p) { return p.last_error().empty(); }).acked().version(),
            newer.version());
}

TEST_F(DiscoveryTest, ListenersThatAProxyLacksAreShownUntilItHasThem) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  proxy.Ack(proxy.Next());
  v1::TrafficReport report;
  report.set_listeners_missing("service db: port 5432 is taken");
  proxy.Traffic(report);
  const v1::ListProxiesResponse::Item item =
      WaitForProxy([](const auto& p) { return !p.last_error().empty(); });
  EXPECT_EQ(item.last_error(), "service db: port 5432 is taken");
  EXPECT_EQ(item.acked().version(), 1u) << "the snapshot is in service";
  proxy.Traffic(v1::TrafficReport());
  WaitForProxy([](const auto& p) { return p.last_error().empty(); });
}

TEST_F(DiscoveryTest, LongNackIsCutBetweenCharacters) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  const v1::SubscribeResponse first = proxy.Next();
  std::string error(999, 'x');
  for (int i = 0; i < 10; ++i) error += "\xc3\xa4";
  proxy.Ack(first.nonce(), {}, error);
  // Half a character would make the whole list invalid for every client.
  EXPECT_EQ(WaitForProxy([](const auto& p) { return !p.last_error().empty(); }).last_error(),
            std::string(999, 'x'));
}

TEST_F(DiscoveryTest, NackWithoutAReasonIsStillANack) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  const v1::SubscribeResponse first = proxy.Next();
  proxy.Ack(first.nonce(), {}, "");
  EXPECT_EQ(WaitForProxy([](const auto& p) { return !p.last_error().empty(); }).last_error(),
            "the proxy gave no reason");
}

// Sends `bytes` as the only message of a subscription and returns how the controller ends it.
grpc::Status StatusAfter(const std::shared_ptr<grpc::Channel>& channel, const std::string& bytes) {
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(Deadline());
  const auto call = stub.PrepareCall(&context, "/trunkline.v1.DiscoveryService/Subscribe", &queue);
  const auto await = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
  };
  call->StartCall(nullptr);
  await();
  const grpc::Slice slice(bytes);
  call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  await();
  grpc::Status status;
  call->Finish(&status, nullptr);
  await();
  return status;
}

TEST_F(DiscoveryTest, JunkEndsTheSubscriptionAndNoOther) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  proxy.Ack(proxy.Next());
  for (const std::string& junk : {std::string("\xff\xff\xff\xff junk"),
                                  std::string(100'000, '\x0a'), std::string("\x0a\x7f")}) {
    const grpc::Status status = StatusAfter(channel_, junk);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr("not a valid message"));
  }
  // An empty message is valid, and no hello.
  EXPECT_THAT(StatusAfter(channel_, "").error_message(), HasSubstr("expected a hello"));
  Change();
  EXPECT_TRUE(proxy.Next().has_delta());
}

TEST_F(DiscoveryTest, AckOfANonceThatIsNotOutstandingIsIgnored) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  const v1::SubscribeResponse first = proxy.Next();
  v1::SnapshotId invented;
  invented.set_epoch(77);
  proxy.Ack(first.nonce() + 5, invented, std::nullopt);
  proxy.Ack(first);
  Change();
  EXPECT_TRUE(proxy.Next().has_delta());
}

TEST_F(DiscoveryTest, TrafficReportsAreListed) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  v1::TrafficReport traffic;
  traffic.set_seconds(2);
  traffic.set_clients(17);
  traffic.set_trunks(3);
  v1::EndpointTraffic* endpoint = traffic.add_endpoints();
  endpoint->set_service("db");
  endpoint->set_endpoint_id("a");
  endpoint->set_requests(100);
  endpoint->set_errors(4);
  endpoint->set_ejected(true);
  endpoint->set_healthy(false);
  proxy.Traffic(traffic);
  const v1::ListProxiesResponse::Item item =
      WaitForProxy([](const auto& p) { return p.clients() > 0; });
  EXPECT_EQ(item.proxy_id(), "p1");
  EXPECT_EQ(item.clients(), 17u);
  EXPECT_EQ(item.trunks(), 3u);
  EXPECT_EQ(item.flows_per_second(), 50);
  EXPECT_EQ(proxies_->Verdicts().at({"db", "a"}).ejected_by, 1);
  EXPECT_EQ(proxies_->Verdicts().at({"db", "a"}).checked_by, 1);
  EXPECT_EQ(proxies_->Verdicts().at({"db", "a"}).healthy_by, 0);
}

// The second witness of load: what all proxies see reaches the model of the service.
TEST_F(DiscoveryTest, TrafficReportsOfAllProxiesReachTheLoadModel) {
  TestProxy p(channel_);
  TestProxy q(channel_);
  p.Hello("p");
  q.Hello("q");
  const auto report = [](TestProxy& proxy, uint64_t served, double wait) {
    v1::TrafficReport traffic;
    traffic.set_seconds(10);
    v1::EndpointTraffic* endpoint = traffic.add_endpoints();
    endpoint->set_service("db");
    endpoint->set_endpoint_id("a");
    endpoint->set_served(served);
    endpoint->set_first_byte_seconds(wait);
    proxy.Traffic(traffic);
  };
  report(p, 3000, 0.010);
  report(q, 1000, 0.050);
  const auto deadline = Deadline();
  std::optional<EndpointTraffic> seen;
  while (std::chrono::system_clock::now() < deadline) {
    seen = loop_->view()->services[0].endpoints[0].load.traffic;
    if (seen && seen->served_per_second > 300) break;
    ListProxies();
  }
  ASSERT_TRUE(seen.has_value());
  EXPECT_NEAR(seen->served_per_second, 400, 4);
  ASSERT_TRUE(seen->first_byte.has_value());
  EXPECT_NEAR(absl::ToDoubleSeconds(*seen->first_byte), 0.020, 0.001);
  EXPECT_EQ(loop_->view()->services[0].endpoints[1].load.traffic->served_per_second, 0)
      << "without traffic, not unknown";
}

// One proxy alone may have lost its path to the server; all together say that the server is at
// fault.
TEST_F(DiscoveryTest, EndpointThatAllProxiesFindUnhealthyIsLoggedOnceAndWhenItIsBack) {
  const test::LogCapture log;
  TestProxy p(channel_);
  TestProxy q(channel_);
  p.Hello("p");
  q.Hello("q");
  uint32_t reports = 0;
  const auto report = [&](TestProxy& proxy, const std::string& id, bool healthy) {
    v1::TrafficReport traffic;
    traffic.set_clients(++reports);
    v1::EndpointTraffic* endpoint = traffic.add_endpoints();
    endpoint->set_service("db");
    endpoint->set_endpoint_id("a");
    endpoint->set_healthy(healthy);
    proxy.Traffic(traffic);
    WaitForProxy(
        [&](const auto& item) { return item.proxy_id() == id && item.clients() == reports; });
  };
  const auto wait_for_line = [&](const std::string& line) {
    const auto deadline = Deadline();
    while (log.Count(line) == 0 && std::chrono::system_clock::now() < deadline) ListProxies();
    EXPECT_EQ(log.Count(line), 1) << log.text();
  };
  report(p, "p", true);
  report(q, "q", false);
  EXPECT_EQ(log.Count("find it unhealthy"), 0);
  report(p, "p", false);
  wait_for_line("all 2 proxies that check endpoint a of service db find it unhealthy; ");
  report(q, "q", false);
  report(q, "q", true);
  wait_for_line("endpoint a of service db is healthy again for 1 of the 2 proxies that check it");
  EXPECT_EQ(log.Count("find it unhealthy"), 1);
}

TEST_F(DiscoveryTest, InventedNamesInTrafficReportsAreNotKept) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  v1::TrafficReport traffic;
  traffic.set_clients(17);
  for (const char* id : {"a", "invented"}) {
    v1::EndpointTraffic* endpoint = traffic.add_endpoints();
    endpoint->set_service("db");
    endpoint->set_endpoint_id(id + std::string(id[0] == 'i' ? 100000 : 0, 'x'));
    endpoint->set_errors(4);
  }
  *traffic.add_endpoints() = traffic.endpoints(0);
  traffic.mutable_endpoints(2)->set_service("invented");
  proxy.Traffic(traffic);
  WaitForProxy([](const auto& p) { return p.clients() > 0; });
  const auto verdicts = proxies_->Verdicts();
  ASSERT_EQ(verdicts.size(), 1u);
  EXPECT_EQ(verdicts.at({"db", "a"}).errors, 4u);
}

TEST_F(DiscoveryTest, SecondStreamOfAProxyReplacesTheFirst) {
  TestProxy first(channel_);
  first.Hello("p1");
  first.Next();
  TestProxy second(channel_);
  second.Hello("p1");
  second.Next();
  EXPECT_EQ(first.Status().error_code(), StatusCode::ABORTED);
  EXPECT_TRUE(ListProxies().proxies(0).connected()) << "the first one's end is not the second's";
}

TEST_F(DiscoveryTest, ProxyThatLeftIsListedAsDisconnected) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  proxy.Next();
  proxy.HalfClose();
  EXPECT_TRUE(proxy.Status().ok());
  WaitForProxy([](const auto& p) { return !p.connected(); });
}

TEST_F(DiscoveryTest, MessageBeforeHelloIsRefused) {
  TestProxy proxy(channel_);
  proxy.Traffic({});
  const grpc::Status status = proxy.Status();
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("hello"));
}

TEST_F(DiscoveryTest, ProxyWithoutANameIsRefused) {
  TestProxy proxy(channel_);
  proxy.Hello("");
  EXPECT_THAT(proxy.Status().error_message(), HasSubstr("hello.proxy_id"));
}

TEST_F(DiscoveryTest, EpochFromBeyondTheNextYearIsRefused) {
  TestProxy proxy(channel_);
  proxy.Hello("p1", ~uint64_t{0}, 1);
  const grpc::Status status = proxy.Status();
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("hello.have.epoch"));
}

TEST_F(DiscoveryTest, ProxyThatKnowsANewerEpochGetsOneAboveIt) {
  TestProxy proxy(channel_);
  proxy.Hello("p1", 5000, 8);
  v1::SubscribeResponse response = proxy.Next();
  if (response.snapshot().id().epoch() < 5000) {
    // The request came before the new epoch; a proxy refuses an older snapshot than its own.
    v1::SnapshotId own;
    own.set_epoch(5000);
    own.set_version(8);
    proxy.Ack(response.nonce(), own, "older than mine");
    response = proxy.Next();
  }
  EXPECT_EQ(response.snapshot().id().epoch(), 5001u);
}

// A controller without stored state knows no agent yet, but the proxies' snapshots do.
class LostStateTest : public DiscoveryTest {
 protected:
  LostStateTest() {
    StopController();
    agents_return_ = absl::Hours(1);
    StartController();
  }
};

TEST_F(LostStateTest, ProxyKeepsItsSnapshotWhileAgentsReturnAndANewProxyGetsOne) {
  TestProxy old(channel_);
  old.Hello("old", 900, 7);
  TestProxy fresh(channel_);
  fresh.Hello("fresh");
  const v1::SubscribeResponse response = fresh.Next();
  ASSERT_TRUE(response.has_snapshot());
  fresh.Ack(response);
  // Changes reach the new proxy, which shows that the old one would have had something to get.
  Change();
  EXPECT_TRUE(fresh.Next().has_delta());
  WaitForProxy([](const auto& item) { return item.proxy_id() == "old"; });
  StopController();
  EXPECT_EQ(old.CountToEnd(), 0);
}

TEST_F(LostStateTest, ProxyGetsTheSnapshotWhenAgentsHadTimeToReturn) {
  StopController();
  agents_return_ = absl::Milliseconds(200);
  StartController();
  TestProxy old(channel_);
  old.Hello("old", 900, 7);
  EXPECT_TRUE(old.Next().has_snapshot());
}

TEST_F(DiscoveryTest, StoppingControllerEndsSubscriptions) {
  TestProxy proxy(channel_);
  proxy.Hello("p1");
  proxy.Next();
  server_->Shutdown();
  EXPECT_EQ(proxy.Status().error_code(), StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace trunkline
