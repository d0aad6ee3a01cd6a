// One service's router on the test's own loop, with real carriers and, if the test adds any, real
// agents: for tests of how a single worker treats its endpoints and flows.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "dataplane/direct/direct_carrier.h"
#include "dataplane/direct/direct_flow.h"
#include "dataplane/message/message_flow.h"
#include "dataplane/message/shared_pool.h"
#include "dataplane/route/service_router.h"
#include "dataplane/tunnel/trunk_pool.h"
#include "dataplane/tunnel/tunnel_flow.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline::test {

class RouterFixture : public ::testing::Test, public ServiceRouter::Owner, public Dialer::Owner {
 protected:
  ~RouterFixture() override {
    while (!flows_.empty()) flows_.begin()->second->Shutdown();
    router_.reset();
    loop_.RunOnce(absl::ZeroDuration());
    carriers_.clear();
  }

  // Adds an endpoint for Start and returns its index.
  size_t AddEndpoint(const Address& address, double weight = 1) {
    Endpoint endpoint;
    endpoint.id = absl::StrCat("e", set_->endpoints.size());
    endpoint.address = address.ToString();
    endpoint.addresses = KnownAddresses(address);
    endpoint.weight = weight;
    endpoint.stats = stats_.Endpoint("db", endpoint.id);
    set_->endpoints.push_back(std::move(endpoint));
    return set_->endpoints.size() - 1;
  }
  // Adds an endpoint with an agent for the server at `target`.
  size_t AddAgent(const Address& target, double weight = 1) {
    Agent agent;
    agent.traffic = std::make_unique<TrafficTable>(1, 1);
    TrunkServer::Options options;
    options.listen = {.host = "127.0.0.1", .port = 0};
    options.services = {{.name = "db", .target = target}};
    auto server = TrunkServer::Start(options, *agent.traffic);
    EXPECT_TRUE(server.ok()) << server.status();
    agent.server = *std::move(server);
    const auto port = static_cast<uint16_t>(agent.server->port());
    agents_.push_back(std::move(agent));
    return AddEndpoint({.host = "127.0.0.1", .port = port}, weight);
  }

  // Starts the service and waits for a trunk to each agent. `codec` is for message mode.
  void Start(ForwardingMode mode, std::shared_ptr<const Codec> codec = nullptr,
             absl::Duration ejection_base = OutlierEjection::kBase) {
    set_->service = "db";
    set_->authority = "db:1";
    set_->mode = mode;
    set_->limits.connect_timeout = absl::Seconds(20);
    set_->stats = stats_.Listener("db");
    if (codec != nullptr) {
      auto message = std::make_shared<MessageService>();
      message->connection.codec = std::move(codec);
      set_->message = std::move(message);
    }
    const WorkerContext worker = {
        .loop = loop_, .stats = stats(), .dialer = dialer_, .lingering_closes = lingering_};
    router_ = std::make_unique<ServiceRouter>(
        worker, *this, ServiceRouter::Options{.random_seed = 1, .ejection_base = ejection_base},
        set_);
    ASSERT_TRUE(RunUntil([&] { return stats().trunks_up.Value() == agents_.size(); }));
  }

  // Starts a flow, which is already being routed, and returns its client's end.
  Peer AddClient(std::pair<UniqueFd, Peer> ends = TcpPair()) {
    std::unique_ptr<Flow> flow = MakeFlow(std::move(ends.first));
    Flow& borrowed = *flow;
    flows_[&borrowed] = std::move(flow);
    router_->Join(borrowed);
    return std::move(ends.second);
  }

  template <typename Condition>
  [[nodiscard]] bool RunUntil(Condition condition) {
    const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(kPatienceMillis);
    while (!condition()) {
      if (MonotonicNow() > deadline || HasFailure()) return false;
      loop_.RunOnce(absl::Milliseconds(20));
      AfterPass();
    }
    return true;
  }
  // Checks invariants after every pass.
  virtual void AfterPass() {}

  size_t agents() const { return agents_.size(); }
  const EndpointCell& cell(size_t i) { return set_->endpoints[i].stats->cells()[0]; }
  WorkerStats& stats() { return stats_.worker(0); }

  EventLoop loop_;
  TrafficStats stats_{1};
  std::map<Flow*, std::unique_ptr<Flow>> flows_;
  size_t replaced_ = 0;  // flows replaced by others

 private:
  struct Agent {
    std::unique_ptr<TrafficTable> traffic;
    std::unique_ptr<TrunkServer> server;
  };

  Carrier& CarrierFor(const EndpointSet& set, const Endpoint& endpoint) override {
    std::unique_ptr<Carrier>& carrier = carriers_[endpoint.address];
    if (carrier == nullptr) carrier = MakeCarrier(set, endpoint);
    return *carrier;
  }
  std::unique_ptr<Carrier> MakeCarrier(const EndpointSet& set, const Endpoint& endpoint) {
    switch (set.mode) {
      case ForwardingMode::kTunnel:
        return std::make_unique<TrunkPool>(loop_, dialer_, endpoint.address, TrunkPool::Options(),
                                           &stats(), 1);
      case ForwardingMode::kMessage:
        return std::make_unique<SharedPool>(
            loop_, dialer_, endpoint.id,
            SharedPool::Options{.connection = set.message->connection, .max_shared = 1},
            endpoint.stats->budget(0), &stats().shared, &stats().shared_connections, 1);
      case ForwardingMode::kDirect:
        break;
    }
    return std::make_unique<DirectCarrier>(loop_, dialer_, endpoint.id, endpoint.address,
                                           endpoint.stats, 1);
  }
  std::unique_ptr<Flow> MakeFlow(UniqueFd fd) {
    switch (set_->mode) {
      case ForwardingMode::kTunnel:
        return std::make_unique<TunnelFlow>(loop_, std::move(fd), *router_, set_->limits);
      case ForwardingMode::kMessage:
        return std::make_unique<MessageFlow>(loop_, std::move(fd), *router_, *set_);
      case ForwardingMode::kDirect:
        break;
    }
    return std::make_unique<DirectFlow>(loop_, std::move(fd), *router_, set_->limits);
  }
  void OnFlowGone(Flow& flow) override {
    auto owned = flows_.extract(&flow);
    loop_.Retire(std::move(owned.mapped()));
  }
  void OnFlowReplaced(Flow& flow, std::unique_ptr<Flow> by) override {
    ++replaced_;
    OnFlowGone(flow);
    Flow* const next = by.get();
    flows_[next] = std::move(by);
  }
  bool HasSocket() const override { return true; }
  void DialAgain() override {}

  std::vector<Agent> agents_;
  std::shared_ptr<EndpointSet> set_ = std::make_shared<EndpointSet>();
  Dialer dialer_{loop_, stats(), *this};
  LingeringCloses lingering_{loop_};
  std::map<std::string, std::unique_ptr<Carrier>> carriers_;
  std::unique_ptr<ServiceRouter> router_;
};

}  // namespace trunkline::test
