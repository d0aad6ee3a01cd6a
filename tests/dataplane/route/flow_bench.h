// One service's router on the test's own loop, with one carrier for all of its endpoints, and flows
// that the test makes.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "dataplane/route/service_router.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline::test {

// Runs passes until `condition` holds. Returns false after the patience of a test.
template <typename Condition>
[[nodiscard]] bool RunLoopUntil(EventLoop& loop, Condition condition) {
  const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(kPatienceMillis);
  while (!condition()) {
    if (MonotonicNow() > deadline) return false;
    loop.RunOnce(absl::Milliseconds(20));
  }
  return true;
}

class FlowBench final : private ServiceRouter::Owner, private Dialer::Owner {
 public:
  // `set` needs mode, limits and, in message mode, its service; the bench adds the rest.
  // `make_carrier` is called with the bench when the first endpoint comes.
  FlowBench(EndpointSet set, std::function<std::unique_ptr<Carrier>(FlowBench&)> make_carrier)
      : set_(std::move(set)), make_carrier_(std::move(make_carrier)) {
    set_.service = "db";
    set_.stats = stats_.Listener("db");
    ServiceRouter::Owner& owner = *this;
    const WorkerContext worker = {.loop = loop_,
                                  .stats = stats_.worker(0),
                                  .dialer = dialer_,
                                  .lingering_closes = lingering_};
    router_ = std::make_unique<ServiceRouter>(worker, owner,
                                              ServiceRouter::Options{.random_seed = 1}, Copy());
  }
  ~FlowBench() override {
    on_gone = nullptr;
    while (!flows_.empty()) flows_.begin()->second->Shutdown();
    router_.reset();
    loop_.RunOnce(absl::ZeroDuration());
    carrier_.reset();
    loop_.RunOnce(absl::ZeroDuration());
  }

  // Before the first endpoint, flows wait in the pending queue. `addresses` are those of a name; by
  // default, `address` alone.
  void AddEndpoint(const Address& address, AddressList addresses = nullptr) {
    Endpoint endpoint;
    endpoint.id = "e" + std::to_string(set_.endpoints.size());
    endpoint.address = address.ToString();
    endpoint.addresses = addresses != nullptr ? std::move(addresses) : KnownAddresses(address);
    endpoint.weight = 1;
    endpoint.stats = stats_.Endpoint("db", endpoint.id);
    set_.endpoints.push_back(std::move(endpoint));
    router_->Update(Copy());
  }

  template <typename F>
  F& Join(std::unique_ptr<F> flow) {
    F& borrowed = *flow;
    flows_[&borrowed] = std::move(flow);
    router_->Join(borrowed);
    return borrowed;
  }

  template <typename Condition>
  void Run(Condition condition) {
    EXPECT_TRUE(RunLoopUntil(loop_, condition));
  }

  EventLoop& loop() { return loop_; }
  ServiceRouter& router() { return *router_; }
  const EndpointSet& set() const { return set_; }
  WorkerStats& stats() { return stats_.worker(0); }
  Dialer& dialer() { return dialer_; }
  size_t flows() const { return flows_.size(); }

  // Called with each flow that ends or is replaced.
  std::function<void(Flow&)> on_gone;

 private:
  std::shared_ptr<const EndpointSet> Copy() const { return std::make_shared<EndpointSet>(set_); }

  Carrier& CarrierFor(const EndpointSet&, const Endpoint&) override {
    if (carrier_ == nullptr) carrier_ = make_carrier_(*this);
    return *carrier_;
  }
  void OnFlowGone(Flow& flow) override {
    if (on_gone != nullptr) on_gone(flow);
    auto owned = flows_.extract(&flow);
    loop_.Retire(std::move(owned.mapped()));
  }
  void OnFlowReplaced(Flow& flow, std::unique_ptr<Flow> by) override {
    OnFlowGone(flow);
    Flow* const next = by.get();
    flows_[next] = std::move(by);
  }
  bool HasSocket() const override { return true; }
  void DialAgain() override {}

  EventLoop loop_;
  TrafficStats stats_{1};
  EndpointSet set_;
  const std::function<std::unique_ptr<Carrier>(FlowBench&)> make_carrier_;
  Dialer dialer_{loop_, stats_.worker(0), *this};
  LingeringCloses lingering_{loop_};
  std::map<Flow*, std::unique_ptr<Flow>> flows_;
  std::unique_ptr<Carrier> carrier_;
  std::unique_ptr<ServiceRouter> router_;
};

}  // namespace trunkline::test
