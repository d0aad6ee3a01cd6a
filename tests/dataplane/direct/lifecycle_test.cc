// DirectFlow follows dataplane/direct/LIFECYCLE.md.
#include "dataplane/direct/lifecycle.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/opening.h"
#include "dataplane/codec/redis.h"
#include "dataplane/codec/redis_introduction.h"
#include "dataplane/direct/direct_carrier.h"
#include "dataplane/direct/direct_flow.h"
#include "dataplane/flow/flow.h"
#include "dataplane/route/carrier.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "tests/common/base/lifecycle_page.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/route/flow_bench.h"

namespace trunkline {
namespace {

using test::AcceptPeer;
using test::FlowBench;
using test::Peer;
using test::TcpPair;
using Page = test::Lifecycle<DirectState, DirectEvent, decltype(kDirectTable)>;

EndpointSet DirectService() {
  EndpointSet set;
  set.mode = ForwardingMode::kDirect;
  set.limits.connect_timeout = absl::Seconds(20);
  return set;
}

std::unique_ptr<ConnectionOpening> Opening() {
  return ConnectionOpening::For(std::shared_ptr<const Codec>(NewRedisCodec({})), kResp3);
}

// One direct flow, its client and a listening server.
class Scene {
 public:
  explicit Scene(std::unique_ptr<ConnectionOpening> opening = nullptr) {
    bench_.on_gone = [this](Flow& flow) { gone_ = static_cast<DirectFlow&>(flow).state(); };
    auto ends = TcpPair();
    client = std::move(ends.second);
    flow_ = &bench_.Join(std::make_unique<DirectFlow>(
        bench_.loop(), std::move(ends.first), bench_.router(), bench_.set().limits,
        std::span<const uint8_t>(), std::move(opening)));
  }

  // The state at the flow's end, once it has ended.
  DirectState state() const { return gone_ ? *gone_ : flow_->state(); }
  void RunUntil(DirectState state) {
    bench_.Run([&] { return this->state() == state; });
  }

  void AddServer() {
    bench_.AddEndpoint({.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(fd()))});
  }
  // Runs until the server has accepted the flow.
  void Connect() {
    AddServer();
    RunUntil(DirectState::kConnected);
    server = AcceptPeer(fd());
  }
  // Runs until the server, which has another address, has the opening.
  void Open() {
    const Address address{.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(fd()))};
    bench_.AddEndpoint(address, std::make_shared<const std::vector<SocketAddress>>(
                                    2, ResolveAddress(address).value()));
    RunUntil(DirectState::kOpening);
    server = AcceptPeer(fd());
  }
  void Relay() {
    Connect();
    EXPECT_TRUE(client.Send("x"));
    RunUntil(DirectState::kRelaying);
  }

  Page::Observed Observe(const std::function<void()>& event) {
    const DirectState before = state();
    event();
    return {before, state()};
  }

  Peer client;
  Peer server;
  DirectFlow& flow() { return *flow_; }
  FlowBench& bench() { return bench_; }

 private:
  int fd() const { return listener_.get(); }

  UniqueFd listener_ = ListenOn({.host = "127.0.0.1", .port = 0}).value();
  FlowBench bench_{DirectService(), [](FlowBench& bench) {
                     return std::make_unique<DirectCarrier>(
                         bench.loop(), bench.dialer(), "e0", "e0",
                         std::make_shared<EndpointStats>("db", "e0", 1), 1);
                   }};
  DirectFlow* flow_ = nullptr;
  std::optional<DirectState> gone_;
};

Page MakePage() {
  Page page(
      kDirectTable,
      {"routing", "rerouting", "connecting", "opening", "connected", "relaying", "done"},
      {"assigned", "refused", "opening sent", "redialed", "connected", "bytes moved", "finished"});
  using S = DirectState;
  using E = DirectEvent;
  page.Add(S::kRouting, E::kAssigned, [] {
    Scene scene;
    return scene.Observe([&] {
      scene.AddServer();
      scene.bench().Run([&] { return scene.state() != S::kRouting; });
    });
  });
  page.Add(S::kRouting, E::kFinished, [] {
    Scene scene;
    return scene.Observe([&] { scene.flow().Shutdown(); });
  });
  page.Add(S::kConnecting, E::kFinished, [] {
    Scene scene;
    scene.AddServer();
    scene.RunUntil(S::kConnecting);
    return scene.Observe([&] { scene.flow().Shutdown(); });
  });
  page.Add(S::kConnecting, E::kConnected, [] {
    Scene scene;
    scene.AddServer();
    scene.RunUntil(S::kConnecting);
    return scene.Observe([&] { scene.RunUntil(S::kConnected); });
  });
  page.Add(S::kConnected, E::kBytesMoved, [] {
    Scene scene;
    scene.Connect();
    return scene.Observe([&] {
      EXPECT_TRUE(scene.server.Send("x"));
      scene.bench().Run([&] { return scene.state() != S::kConnected; });
    });
  });
  page.Add(S::kConnected, E::kFinished, [] {
    Scene scene;
    scene.Connect();
    return scene.Observe([&] {
      scene.client.Reset();
      scene.bench().Run([&] { return scene.state() != S::kConnected; });
    });
  });
  page.Add(S::kRelaying, E::kBytesMoved, [] {
    Scene scene;
    scene.Relay();
    EXPECT_EQ(scene.server.Read(1), "x");
    return scene.Observe([&] {
      EXPECT_TRUE(scene.server.Send("y"));
      scene.bench().Run([&] { return scene.client.UnreadBytes() == 1; });
    });
  });
  page.Add(S::kRelaying, E::kFinished, [] {
    Scene scene;
    scene.Relay();
    EXPECT_EQ(scene.server.Read(1), "x");
    return scene.Observe([&] {
      scene.client.ShutdownWrite();
      scene.server.ShutdownWrite();
      scene.RunUntil(S::kDone);
    });
  });
  return page;
}

void AddOpenings(Page& page) {
  using S = DirectState;
  using E = DirectEvent;
  page.Add(S::kConnecting, E::kOpeningSent, [] {
    Scene scene(Opening());
    scene.AddServer();
    scene.RunUntil(S::kConnecting);
    return scene.Observe([&] { scene.RunUntil(S::kOpening); });
  });
  page.Add(S::kOpening, E::kConnected, [] {
    Scene scene(Opening());
    scene.Open();
    return scene.Observe([&] {
      EXPECT_TRUE(scene.server.Send("+OK\r\n"));
      scene.bench().Run([&] { return scene.state() != S::kOpening; });
    });
  });
  page.Add(S::kOpening, E::kRedialed, [] {
    Scene scene(Opening());
    scene.Open();
    return scene.Observe([&] {
      scene.server.Close();
      scene.bench().Run([&] { return scene.state() != S::kOpening; });
    });
  });
  page.Add(S::kOpening, E::kFinished, [] {
    Scene scene(Opening());
    scene.Open();
    return scene.Observe([&] { scene.flow().Shutdown(); });
  });
}

// A flow whose only endpoint refuses it until no attempt is left. The flow leaves `rerouting`
// inside the call that enters it, so the carrier observes that state when it is notified of the
// free place.
class RefusedFlow {
 public:
  // With an opening, the server accepts the connect and refuses the opening.
  explicit RefusedFlow(std::unique_ptr<ConnectionOpening> opening = nullptr) {
    const bool opens = opening != nullptr;
    bench_.on_gone = [this](Flow& flow) { Note(static_cast<DirectFlow&>(flow).state()); };
    auto ends = TcpPair();
    client_ = std::move(ends.second);
    flow_ = &bench_.Join(std::make_unique<DirectFlow>(
        bench_.loop(), std::move(ends.first), bench_.router(), bench_.set().limits,
        std::span<const uint8_t>(), std::move(opening)));
    bench_.AddEndpoint(opens ? Address{.host = "127.0.0.1", .port = port()} : refusing_.address());
    bench_.Run([&] {
      Note();
      const bool opens = !done() && flow_->state() == DirectState::kOpening;
      if (opens && test::WaitFor(listener_.get(), POLLIN, 0)) AcceptPeer(listener_.get()).Close();
      return done();
    });
  }

  // The observed states in order, each with its successor.
  std::pair<DirectState, DirectState> First(DirectState from, DirectState to) const {
    for (size_t i = 0; i + 1 < seen_.size(); ++i) {
      if (seen_[i] == from && seen_[i + 1] == to) return {from, to};
    }
    ADD_FAILURE() << "never observed";
    return {from, from};
  }

 private:
  class ObservingCarrier final : public Carrier {
   public:
    explicit ObservingCarrier(RefusedFlow& scene) : scene_(scene) {}
    bool usable() const override { return !targets().empty(); }
    bool idle() const override { return !used(); }
    void OnPlaceFree() override { scene_.Note(); }

   private:
    void OnTarget() override { NotifyUsers(); }

    RefusedFlow& scene_;
  };

  bool done() const { return !seen_.empty() && seen_.back() == DirectState::kDone; }
  void Note() {
    if (!done()) Note(flow_->state());
  }
  void Note(DirectState state) {
    if (seen_.empty() || seen_.back() != state) seen_.push_back(state);
  }

  uint16_t port() const { return static_cast<uint16_t>(BoundPort(listener_.get())); }

  std::vector<DirectState> seen_;
  test::RefusingPort refusing_;
  const UniqueFd listener_ = ListenOn({.host = "127.0.0.1", .port = 0}).value();
  Peer client_;
  FlowBench bench_{DirectService(),
                   [this](FlowBench&) { return std::make_unique<ObservingCarrier>(*this); }};
  DirectFlow* flow_ = nullptr;
};

void AddRefusals(Page& page) {
  using S = DirectState;
  using E = DirectEvent;
  page.Add(S::kConnecting, E::kRefused,
           [] { return RefusedFlow().First(S::kConnecting, S::kRerouting); });
  page.Add(S::kOpening, E::kRefused,
           [] { return RefusedFlow(Opening()).First(S::kOpening, S::kRerouting); });
  page.Add(S::kRerouting, E::kAssigned,
           [] { return RefusedFlow().First(S::kRerouting, S::kConnecting); });
  page.Add(S::kRerouting, E::kFinished,
           [] { return RefusedFlow().First(S::kRerouting, S::kDone); });
}

const char kPage[] = "dataplane/direct/LIFECYCLE.md";

TEST(DirectLifecycleTest, PageMatchesTheTransitionsOfTheCode) {
  MakePage().ExpectPageMatchesCode(test::ReadTable(kPage, "Direct flow"));
}

TEST(DirectLifecycleTest, FlowFollowsEveryRowOfThePage) {
  Page page = MakePage();
  AddOpenings(page);
  AddRefusals(page);
  page.ExpectClassFollows(test::ReadTable(kPage, "Direct flow"));
}

}  // namespace
}  // namespace trunkline
