// TunnelFlow follows dataplane/tunnel/LIFECYCLE.md.
#include "dataplane/tunnel/lifecycle.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "dataplane/flow/flow.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/tunnel/trunk_pool.h"
#include "dataplane/tunnel/tunnel_flow.h"
#include "tests/common/base/lifecycle_page.h"
#include "tests/common/http2/http2_pair.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/route/flow_bench.h"

namespace trunkline {
namespace {

using test::AcceptPeer;
using test::FlowBench;
using test::Peer;
using test::TcpPair;
using test::TestStream;
using Page = test::Lifecycle<TunnelState, TunnelEvent, decltype(kTunnelTable)>;
using S = TunnelState;
using E = TunnelEvent;

constexpr int kOk = 200;
constexpr int kNotConnected = 503;

EndpointSet TunnelService() {
  EndpointSet set;
  set.authority = "db:1";
  set.limits.connect_timeout = absl::Seconds(20);
  return set;
}

// An agent that accepts trunks and leaves each stream to the test.
class PlayedAgent {
 public:
  ~PlayedAgent() {
    for (Trunk& trunk : trunks_) trunk.http2.session.CloseAll(NGHTTP2_NO_ERROR);
  }

  Address address() const {
    return {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(listener_.get()))};
  }
  // Accepts trunks, and passes on what both sides have written.
  void Exchange() {
    if (test::WaitFor(listener_.get(), POLLIN, 0)) {
      Trunk& trunk = trunks_.emplace_back();
      trunk.peer = AcceptPeer(listener_.get());
      trunk.http2.prepare = [this](TestStream& stream) { stream_ = &stream; };
    }
    for (Trunk& trunk : trunks_) {
      if (const size_t unread = trunk.peer.UnreadBytes(); unread > 0) {
        EXPECT_TRUE(trunk.http2.Give(trunk.peer.Read(unread)).ok());
      }
      // The proxy may have closed a trunk that drained.
      static_cast<void>(trunk.peer.Send(trunk.http2.TakeOutput()));
    }
  }
  // Announces that the newest trunk takes no more streams.
  void Drain() { trunks_.back().http2.session.GoAway(NGHTTP2_NO_ERROR); }
  bool has_stream() const { return stream_ != nullptr; }
  // The newest stream.
  TestStream& stream() { return *stream_; }

 private:
  struct Trunk {
    Peer peer;
    test::Http2Server http2;
  };

  UniqueFd listener_ = ListenOn({.host = "127.0.0.1", .port = 0}).value();
  std::deque<Trunk> trunks_;
  TestStream* stream_ = nullptr;
};

// One tunnel flow, its client and, from AddAgent on, an agent.
class Scene {
 public:
  Scene() {
    bench_.on_gone = [this](Flow& flow) { gone_ = static_cast<TunnelFlow&>(flow).state(); };
    auto ends = TcpPair();
    client_ = std::move(ends.second);
    flow_ = &bench_.Join(std::make_unique<TunnelFlow>(bench_.loop(), std::move(ends.first),
                                                      bench_.router(), bench_.set().limits));
  }

  // The state at the flow's end, once it has ended.
  S state() const { return gone_ ? *gone_ : flow_->state(); }
  void Leave(S state) {
    bench_.Run([&] {
      agent_.Exchange();
      return this->state() != state;
    });
  }

  void AddAgent() { bench_.AddEndpoint(agent_.address()); }
  void Open() {
    AddAgent();
    Leave(S::kRouting);
  }
  // The agent answers that it could not connect, when it takes no more streams: the flow waits.
  void Refuse() {
    WaitForStream();
    agent_.Drain();
    agent_.stream().Respond(kNotConnected);
    Leave(S::kOpening);
  }
  void Confirm() {
    WaitForStream();
    agent_.stream().Respond(kOk);
    Leave(S::kOpening);
  }
  void Answer() {
    agent_.stream().Send("x");
    Leave(S::kConfirmed);
  }
  void WaitForStream() {
    bench_.Run([&] {
      agent_.Exchange();
      return agent_.has_stream();
    });
  }

  Page::Observed Observe(const std::function<void()>& event) {
    const S before = state();
    event();
    return {before, state()};
  }

  TunnelFlow& flow() { return *flow_; }
  Peer& client() { return client_; }
  PlayedAgent& agent() { return agent_; }

 private:
  PlayedAgent agent_;
  Peer client_;
  FlowBench bench_{TunnelService(), [this](FlowBench& bench) {
                     return std::make_unique<TrunkPool>(bench.loop(), bench.dialer(),
                                                        agent_.address().ToString(),
                                                        TrunkPool::Options(), &bench.stats(), 1);
                   }};
  TunnelFlow* flow_ = nullptr;
  std::optional<S> gone_;
};

void AddStart(Page& page) {
  page.Add(S::kRouting, E::kAssigned, [] {
    Scene scene;
    return scene.Observe([&] { scene.Open(); });
  });
  page.Add(S::kRouting, E::kFinished, [] {
    Scene scene;
    return scene.Observe([&] { scene.flow().Shutdown(); });
  });
  page.Add(S::kOpening, E::kRefused, [] {
    Scene scene;
    scene.Open();
    return scene.Observe([&] { scene.Refuse(); });
  });
  page.Add(S::kRerouting, E::kAssigned, [] {
    Scene scene;
    scene.Open();
    scene.Refuse();
    return scene.Observe([&] { scene.Leave(S::kRerouting); });
  });
  page.Add(S::kRerouting, E::kFinished, [] {
    Scene scene;
    scene.Open();
    scene.Refuse();
    return scene.Observe([&] { scene.flow().Shutdown(); });
  });
  page.Add(S::kOpening, E::kUnprocessed, [] {
    Scene scene;
    scene.Open();
    scene.WaitForStream();
    return scene.Observe([&] {
      scene.agent().Drain();
      TestStream& stream = scene.agent().stream();
      stream.session()->Abandon(&stream, NGHTTP2_REFUSED_STREAM);
      scene.Leave(S::kOpening);
    });
  });
  page.Add(S::kOpening, E::kFinished, [] {
    Scene scene;
    scene.Open();
    return scene.Observe([&] { scene.flow().Shutdown(); });
  });
}

void AddConnected(Page& page) {
  page.Add(S::kOpening, E::kConfirmed, [] {
    Scene scene;
    scene.Open();
    return scene.Observe([&] { scene.Confirm(); });
  });
  page.Add(S::kConfirmed, E::kFirstByte, [] {
    Scene scene;
    scene.Open();
    scene.Confirm();
    return scene.Observe([&] { scene.Answer(); });
  });
  page.Add(S::kConfirmed, E::kFinished, [] {
    Scene scene;
    scene.Open();
    scene.Confirm();
    return scene.Observe([&] {
      scene.client().Reset();
      scene.Leave(S::kConfirmed);
    });
  });
  page.Add(S::kAnswered, E::kFinished, [] {
    Scene scene;
    scene.Open();
    scene.Confirm();
    scene.Answer();
    return scene.Observe([&] {
      scene.client().Reset();
      scene.Leave(S::kAnswered);
    });
  });
}

Page MakePage() {
  Page page(kTunnelTable, {"routing", "rerouting", "opening", "confirmed", "answered", "done"},
            {"assigned", "refused", "unprocessed", "confirmed", "first byte", "finished"});
  AddStart(page);
  AddConnected(page);
  return page;
}

const char kPage[] = "dataplane/tunnel/LIFECYCLE.md";

TEST(TunnelLifecycleTest, PageMatchesTheTransitionsOfTheCode) {
  MakePage().ExpectPageMatchesCode(test::ReadTable(kPage, "Tunnel flow"));
}

TEST(TunnelLifecycleTest, FlowFollowsEveryRowOfThePage) {
  MakePage().ExpectClassFollows(test::ReadTable(kPage, "Tunnel flow"));
}

}  // namespace
}  // namespace trunkline
