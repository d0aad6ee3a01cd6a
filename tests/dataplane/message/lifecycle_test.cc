// SharedConnection and MessageFlow follow dataplane/message/LIFECYCLE.md.
#include "dataplane/message/lifecycle.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/length_field.h"
#include "dataplane/flow/flow.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/message/message_flow.h"
#include "dataplane/message/shared_pool.h"
#include "dataplane/route/carrier.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/message_service.h"
#include "tests/common/base/lifecycle_page.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/message/connection_bench.h"
#include "tests/dataplane/route/flow_bench.h"

namespace trunkline {
namespace {

using test::ConnectionBench;
using test::FlowBench;
using test::Peer;
using test::TestClient;

const char kPage[] = "dataplane/message/LIFECYCLE.md";
const char kGet[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const char kPost[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";

// The connection.

SharedConnectionOptions Options(std::shared_ptr<const Codec> codec = test::LineCodec()) {
  return {.codec = std::move(codec)};
}

using ConnectionPage =
    test::Lifecycle<ConnectionState, ConnectionEvent, decltype(kConnectionTable)>;

// Runs `event` and then the loop until the state has changed.
ConnectionPage::Observed Observe(ConnectionBench& bench, const std::function<void()>& event) {
  const ConnectionState before = bench.connection().state();
  event();
  bench.Run([&] { return bench.connection().state() != before; });
  return {before, bench.connection().state()};
}

void AddConnectingRows(ConnectionPage& page) {
  using S = ConnectionState;
  using E = ConnectionEvent;
  page.Add(S::kConnecting, E::kConnected, [] {
    ConnectionBench bench(Options());
    bench.Dial();
    return Observe(bench, [] {});
  });
  page.Add(S::kConnecting, E::kDialFailed, [] {
    ConnectionBench bench(Options());
    bench.DialRefused();
    return Observe(bench, [] {});
  });
  page.Add(S::kConnecting, E::kConnectTimeout, [] {
    SharedConnectionOptions options = Options();
    options.connect_timeout = absl::Milliseconds(20);
    ConnectionBench bench(options);
    bench.DialUnanswered();
    return Observe(bench, [] {});
  });
  page.Add(S::kConnecting, E::kClientLeft, [] {
    ConnectionBench bench(Options(test::HttpCodec()));
    TestClient client;
    bench.Dial();
    bench.Send(client, kGet);
    return Observe(bench, [&] { bench.connection().Abandon(&client); });
  });
  page.Add(S::kConnecting, E::kOwnerClosed, [] {
    ConnectionBench bench(Options());
    bench.Dial();
    return Observe(bench, [&] { bench.connection().Close(); });
  });
}

ConnectionPage MakeConnectionPage() {
  ConnectionPage page(kConnectionTable, {"connecting", "greeting", "open", "draining", "closed"},
                      {"connected", "greeting due", "greeted", "dial failed", "connect timeout",
                       "last reply", "drained", "peer closed", "protocol error", "reply timeout",
                       "idle timeout", "client left", "owner closed"});
  using S = ConnectionState;
  using E = ConnectionEvent;
  AddConnectingRows(page);
  page.Add(S::kOpen, E::kPeerClosed, [] {
    ConnectionBench bench(Options());
    bench.Open();
    return Observe(bench, [&] { bench.server.Close(); });
  });
  page.Add(S::kOpen, E::kProtocolError, [] {
    ConnectionBench bench(Options());
    bench.Open();
    return Observe(bench, [&] { EXPECT_TRUE(bench.server.Send("unasked\n")); });
  });
  page.Add(S::kOpen, E::kReplyTimeout, [] {
    SharedConnectionOptions options = Options();
    options.reply_timeout = absl::Milliseconds(20);
    ConnectionBench bench(options);
    TestClient client;
    bench.Open();
    return Observe(bench, [&] { bench.Send(client, "request\n"); });
  });
  page.Add(S::kOpen, E::kIdleTimeout, [] {
    SharedConnectionOptions options = Options();
    options.idle_timeout = absl::Milliseconds(20);
    ConnectionBench bench(options);
    bench.Open();
    return Observe(bench, [] {});
  });
  page.Add(S::kOpen, E::kClientLeft, [] {
    ConnectionBench bench(Options(test::HttpCodec()));
    TestClient client;
    bench.Open();
    bench.Send(client, kGet);
    return Observe(bench, [&] { bench.connection().Abandon(&client); });
  });
  page.Add(S::kOpen, E::kOwnerClosed, [] {
    ConnectionBench bench(Options());
    bench.Open();
    return Observe(bench, [&] { bench.connection().Close(); });
  });
  return page;
}

// The last reply is delivered in state `draining`, so its client observes that state.
struct LastReply {
  explicit LastReply(bool close_inside = false) : bench(Options(test::HttpCodec())) {
    bench.Open();
    bench.Send(client, kGet);
    client.on_reply = [this, close_inside] {
      inside = bench.connection().state();
      if (close_inside) bench.connection().Close();
      after = bench.connection().state();
    };
    bench.Run([&] { return bench.server.UnreadBytes() > 0; });
    before = bench.connection().state();
    EXPECT_TRUE(
        bench.server.Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
    bench.RunUntilClosed();
  }
  ConnectionBench bench;
  TestClient client;
  std::optional<ConnectionState> before;
  std::optional<ConnectionState> inside;
  std::optional<ConnectionState> after;
};

void AddLastReply(ConnectionPage& page) {
  using S = ConnectionState;
  using E = ConnectionEvent;
  page.Add(S::kOpen, E::kLastReply, [] {
    LastReply exchange;
    return std::pair(exchange.before.value(), exchange.inside.value());
  });
  page.Add(S::kDraining, E::kDrained, [] {
    LastReply exchange;
    return std::pair(exchange.after.value(), exchange.bench.connection().state());
  });
  page.Add(S::kDraining, E::kOwnerClosed, [] {
    LastReply exchange(/*close_inside=*/true);
    return std::pair(exchange.inside.value(), exchange.after.value());
  });
}

// A connection that has been dialed and waits for its server's greeting.
struct Greeting {
  explicit Greeting(absl::Duration connect_timeout = absl::Seconds(20))
      : bench(Timed(connect_timeout)) {
    bench.Dial();
    bench.Run([&] { return bench.connection().state() == ConnectionState::kGreeting; });
  }
  static SharedConnectionOptions Timed(absl::Duration connect_timeout) {
    SharedConnectionOptions options = Options(test::IdCodec());
    options.greeting = true;
    options.connect_timeout = connect_timeout;
    return options;
  }
  ConnectionBench bench;
};

void AddGreeting(ConnectionPage& page) {
  using S = ConnectionState;
  using E = ConnectionEvent;
  page.Add(S::kConnecting, E::kGreetingDue, [] {
    ConnectionBench bench(Greeting::Timed(absl::Seconds(20)));
    bench.Dial();
    return Observe(bench, [] {});
  });
  page.Add(S::kGreeting, E::kGreeted, [] {
    Greeting greeting;
    return Observe(greeting.bench,
                   [&] { EXPECT_TRUE(greeting.bench.server.Send(test::IdMessage(0, "welcome"))); });
  });
  page.Add(S::kGreeting, E::kConnectTimeout, [] {
    Greeting greeting(absl::Milliseconds(200));
    return Observe(greeting.bench, [] {});
  });
  page.Add(S::kGreeting, E::kPeerClosed, [] {
    Greeting greeting;
    return Observe(greeting.bench, [&] { greeting.bench.server.Close(); });
  });
  // It announces more bytes than a message may have.
  page.Add(S::kGreeting, E::kProtocolError, [] {
    ConnectionBench bench([] {
      SharedConnectionOptions options = Greeting::Timed(absl::Seconds(20));
      options.codec = NewLengthFieldCodec({.length_size = 2, .max_message_bytes = 16}).value();
      return options;
    }());
    bench.Dial();
    bench.Run([&] { return bench.connection().state() == S::kGreeting; });
    return Observe(bench, [&] { EXPECT_TRUE(bench.server.Send("\xff\xff")); });
  });
  page.Add(S::kGreeting, E::kOwnerClosed, [] {
    Greeting greeting;
    return Observe(greeting.bench, [&] { greeting.bench.connection().Close(); });
  });
}

TEST(SharedConnectionLifecycleTest, PageMatchesTheTransitionsOfTheCode) {
  MakeConnectionPage().ExpectPageMatchesCode(test::ReadTable(kPage, "Shared connection"));
}

TEST(SharedConnectionLifecycleTest, ConnectionFollowsEveryRowOfThePage) {
  ConnectionPage page = MakeConnectionPage();
  AddLastReply(page);
  AddGreeting(page);
  page.ExpectClassFollows(test::ReadTable(kPage, "Shared connection"));
}

// How it reads.

using ReadPage = test::Lifecycle<ReadState, ReadEvent, decltype(kReadTable)>;

ReadPage MakeReadPage() {
  ReadPage page(kReadTable, {"on readiness", "scheduled", "paused"},
                {"schedule", "pass ends", "pause", "resume"});
  using S = ReadState;
  using E = ReadEvent;
  // Opens a connection, brings it into the state before the event, and observes the event.
  const auto drive = [](const std::function<void(ConnectionBench&, TestClient&)>& before,
                        const std::function<void(ConnectionBench&, TestClient&)>& event) {
    return [before, event] {
      ConnectionBench bench(Options(test::LineCodec()));
      TestClient client;
      bench.Open();
      before(bench, client);
      const ReadState from = bench.connection().read_state();
      event(bench, client);
      return std::pair(from, bench.connection().read_state());
    };
  };
  const auto nothing = [](ConnectionBench&, TestClient&) {};
  const auto send = [](ConnectionBench& bench, TestClient& client) {
    bench.Send(client, "request\n");
  };
  const auto pass = [](ConnectionBench& bench, TestClient&) { bench.RunOnce(); };
  const auto pause = [](ConnectionBench& bench, TestClient& client) {
    bench.connection().PauseFor(&client);
  };
  const auto resume = [](ConnectionBench& bench, TestClient& client) {
    bench.connection().Release(&client);
  };
  const auto pause_and_resume = [=](ConnectionBench& bench, TestClient& client) {
    pause(bench, client);
    resume(bench, client);
  };
  const auto send_and_pass = [=](ConnectionBench& bench, TestClient& client) {
    send(bench, client);
    pass(bench, client);
  };
  page.Add(S::kOnReadiness, E::kSchedule, drive(nothing, send));
  page.Add(S::kOnReadiness, E::kPause, drive(send_and_pass, pause));
  page.Add(S::kScheduled, E::kPassEnds, drive(send, pass));
  page.Add(S::kScheduled, E::kPause, drive(send, pause));
  page.Add(S::kScheduled, E::kSchedule, drive(pause_and_resume, send));
  page.Add(S::kPaused, E::kPause, drive(pause, pause));
  page.Add(S::kPaused, E::kResume, drive(pause, resume));
  return page;
}

TEST(SharedConnectionLifecycleTest, ReadPageMatchesTheTransitionsOfTheCode) {
  MakeReadPage().ExpectPageMatchesCode(test::ReadTable(kPage, "Reading the server"));
}

TEST(SharedConnectionLifecycleTest, ReadingFollowsEveryRowOfThePage) {
  MakeReadPage().ExpectClassFollows(test::ReadTable(kPage, "Reading the server"));
}

// The flow.

// One client in message mode and, once the test adds it, a server with one shared connection.
class Scene {
 public:
  explicit Scene(std::shared_ptr<const Codec> codec = test::LineCodec())
      : codec_(std::move(codec)) {
    bench_.on_gone = [this](Flow& flow) {
      if (&flow == flow_) gone_ = Read(*flow_);
    };
    listener_ = ListenOn({.host = "127.0.0.1", .port = 0}).value();
  }
  // The client's connection; `before_join` may use the client first.
  void Join(const std::function<void(int flow_fd)>& before_join = [](int) {}) {
    auto ends = test::TcpPair(/*peers_receive_buffer=*/4096);
    const int small = 4096;
    setsockopt(ends.first.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    client = std::move(ends.second);
    before_join(ends.first.get());
    auto flow = std::make_unique<MessageFlow>(bench_.loop(), std::move(ends.first), bench_.router(),
                                              bench_.set());
    flow_ = flow.get();
    bench_.Join(std::move(flow));
  }
  void AddServer() {
    bench_.AddEndpoint(
        {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(listener_.get()))});
  }
  // The server's end of the shared connection.
  void Accept() { server = test::AcceptPeer(listener_.get()); }
  // A client whose first bytes are `request`, in flight at the server.
  void Exchange(const std::string& request) {
    AddServer();
    Join();
    Send(request);
    Run([&] { return upstream() == UpstreamState::kAttached; });
    Accept();
    Run([&] { return server.UnreadBytes() > 0; });
  }
  void Send(const std::string& bytes) { EXPECT_TRUE(client.Send(bytes)); }
  // Sends the beginning of a reply until the flow buffers some of it.
  void ReplyUntilBuffered() {
    const std::string piece(10'000, 'x');
    Run([&] {
      if (buffered() < 50'000) server.SendWhatFits(piece);
      return buffered() >= 50'000;
    });
  }
  int64_t buffered() { return bench_.stats().to_client_buffered_bytes.Value(); }

  template <typename Condition>
  void Run(Condition condition) {
    bench_.Run(condition);
  }
  FlowState flow() const { return states().flow; }
  UpstreamState upstream() const { return states().upstream; }
  RequestState request() const { return states().request; }
  DownstreamState downstream() const { return states().downstream; }
  uint64_t bytes_read() { return bench_.stats().shared.bytes_read.Value(); }
  void RunOnce() { bench_.loop().RunOnce(absl::ZeroDuration()); }

  Peer client;
  Peer server;

 private:
  struct States {
    FlowState flow;
    UpstreamState upstream;
    RequestState request;
    DownstreamState downstream;
  };
  static States Read(const MessageFlow& flow) {
    return {flow.state(), flow.upstream_state(), flow.request_state(), flow.downstream_state()};
  }
  // As of the flow's end, once it has ended.
  States states() const { return gone_ ? *gone_ : Read(*flow_); }
  EndpointSet Set() const {
    auto message = std::make_shared<MessageService>();
    message->connection.codec = codec_;
    EndpointSet set;
    set.mode = ForwardingMode::kMessage;
    set.limits.connect_timeout = absl::Seconds(20);
    set.message = message;
    return set;
  }
  static std::unique_ptr<Carrier> MakePool(FlowBench& bench) {
    return std::make_unique<SharedPool>(
        bench.loop(), bench.dialer(), "the server",
        SharedPool::Options{.connection = bench.set().message->connection, .max_shared = 1},
        std::make_shared<ConnectionBudget>(), &bench.stats().shared,
        &bench.stats().shared_connections, 1);
  }

  const std::shared_ptr<const Codec> codec_;
  UniqueFd listener_;
  FlowBench bench_{Set(), MakePool};
  MessageFlow* flow_ = nullptr;
  std::optional<States> gone_;
};

using FlowPage = test::Lifecycle<FlowState, FlowEvent, decltype(kFlowTable)>;

const char kLastGet[] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const char kLastReply[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

FlowPage MakeFlowPage() {
  FlowPage page(kFlowTable, {"serving", "closing", "done"},
                {"last exchange", "replaced", "finished"});
  using S = FlowState;
  using E = FlowEvent;
  page.Add(S::kServing, E::kLastExchange, [] {
    Scene scene(test::HttpCodec());
    scene.AddServer();
    scene.Join();
    const S before = scene.flow();
    scene.Send(kLastGet);
    scene.Run([&] { return scene.flow() != before; });
    return std::pair(before, scene.flow());
  });
  page.Add(S::kServing, E::kReplaced, [] {
    Scene scene(test::HttpCodec());
    scene.AddServer();
    scene.Join();
    const S before = scene.flow();
    scene.Send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    scene.Run([&] { return scene.flow() != before; });
    return std::pair(before, scene.flow());
  });
  page.Add(S::kServing, E::kFinished, [] {
    Scene scene;
    scene.Join();
    const S before = scene.flow();
    scene.client.Reset();
    scene.Run([&] { return scene.flow() != before; });
    return std::pair(before, scene.flow());
  });
  // The reply says "close", too, and its body keeps the flow from finishing.
  page.Add(S::kClosing, E::kLastExchange, [] {
    Scene scene(test::HttpCodec());
    scene.Exchange(kLastGet);
    const S before = scene.flow();
    const std::string body(60'000, 'x');
    EXPECT_TRUE(scene.server.Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " +
                                  std::to_string(body.size()) + "\r\n\r\n" + body));
    scene.Run([&] { return scene.upstream() == UpstreamState::kIdle; });
    return std::pair(before, scene.flow());
  });
  page.Add(S::kClosing, E::kFinished, [] {
    Scene scene(test::HttpCodec());
    scene.Exchange(kLastGet);
    const S before = scene.flow();
    EXPECT_TRUE(scene.server.Send(kLastReply));
    scene.Run([&] { return scene.flow() != before; });
    return std::pair(before, scene.flow());
  });
  return page;
}

TEST(MessageFlowLifecycleTest, FlowPageMatchesTheTransitionsOfTheCode) {
  MakeFlowPage().ExpectPageMatchesCode(test::ReadTable(kPage, "Flow"));
}

TEST(MessageFlowLifecycleTest, FlowFollowsEveryRowOfThePage) {
  MakeFlowPage().ExpectClassFollows(test::ReadTable(kPage, "Flow"));
}

using RequestPage = test::Lifecycle<RequestState, RequestEvent, decltype(kRequestTable)>;

// A client that uploads without end; bytes that neither the server nor the flow takes stay in the
// client.
void Upload(Scene& scene, RequestState until) {
  scene.Exchange(kPost);
  EXPECT_EQ(scene.request(), RequestState::kPartial);
  const std::string more(1 << 16, 'x');
  scene.Run([&] {
    if (scene.request() != until) scene.client.SendWhatFits(more);
    return scene.request() == until;
  });
}

RequestPage::Observed ObserveLoss(Scene& scene) {
  const RequestState before = scene.request();
  scene.server.Reset();
  scene.Run([&] { return scene.upstream() == UpstreamState::kIdle; });
  return {before, scene.request()};
}

RequestPage MakeRequestPage() {
  RequestPage page(kRequestTable, {"complete", "partial", "blocked"},
                   {"part sent", "end sent", "buffer full", "buffer drained", "unanswered"});
  using S = RequestState;
  using E = RequestEvent;
  // On a connection in state `from`, sends `more` bytes of the request.
  const auto send = [](S from, size_t more, bool open) {
    return [=] {
      ConnectionBench bench(Options(test::HttpCodec()));
      TestClient client;
      bench.Open();
      SharedConnection& connection = bench.connection();
      const std::string bytes(more, 'x');
      if (from == S::kPartial) bench.Send(client, kPost, /*open=*/true);
      const S before = connection.request_state();
      if (from == S::kPartial) {
        connection.SendMore(test::AsBytes(bytes), open, MonotonicTime());
      } else {
        bench.Send(client, kPost, open);
      }
      return std::pair(before, connection.request_state());
    };
  };
  page.Add(S::kComplete, E::kEndSent, send(S::kComplete, 0, false));
  page.Add(S::kComplete, E::kPartSent, send(S::kComplete, 0, true));
  page.Add(S::kPartial, E::kPartSent, send(S::kPartial, 1, true));
  page.Add(S::kPartial, E::kEndSent, send(S::kPartial, 1, false));
  page.Add(S::kPartial, E::kBufferFull, send(S::kPartial, 256 * 1024, true));
  page.Add(S::kBlocked, E::kBufferDrained, [] {
    Scene scene(test::HttpCodec());
    Upload(scene, S::kBlocked);
    const S before = scene.request();
    scene.Run([&] {
      scene.server.Read(scene.server.UnreadBytes());
      return scene.request() != before;
    });
    return std::pair(before, scene.request());
  });
  page.Add(S::kComplete, E::kUnanswered, [] {
    Scene scene;
    scene.Exchange("request\n");
    return ObserveLoss(scene);
  });
  page.Add(S::kPartial, E::kUnanswered, [] {
    Scene scene(test::HttpCodec());
    Upload(scene, S::kPartial);
    return ObserveLoss(scene);
  });
  page.Add(S::kBlocked, E::kUnanswered, [] {
    Scene scene(test::HttpCodec());
    Upload(scene, S::kBlocked);
    return ObserveLoss(scene);
  });
  return page;
}

TEST(MessageFlowLifecycleTest, RequestPageMatchesTheTransitionsOfTheCode) {
  MakeRequestPage().ExpectPageMatchesCode(test::ReadTable(kPage, "Request on its way up"));
}

TEST(MessageFlowLifecycleTest, RequestsFollowEveryRowOfThePage) {
  MakeRequestPage().ExpectClassFollows(test::ReadTable(kPage, "Request on its way up"));
}

using UpstreamPage = test::Lifecycle<UpstreamState, UpstreamEvent, decltype(kUpstreamTable)>;

// A client with 64 requests in flight that takes no reply, just below the limit at which its server
// is paused. Its last replies, of 1500 bytes each, cross that limit and fit into one read (64 KiB).
struct NearlyPaused {
  static constexpr uint16_t kRequests = 64;  // MessageFlow's limit

  NearlyPaused() : scene(test::IdCodec()) {
    std::string requests;
    for (uint16_t id = 0; id < kRequests; ++id) requests += test::IdMessage(id, "");
    scene.Exchange(requests);
    std::string sent;
    scene.Run([&] {
      sent += scene.server.Read(std::min(scene.server.UnreadBytes(), requests.size()));
      return sent.size() == requests.size();
    });
    for (uint16_t id = 0; id < kRequests; ++id) ids.push_back(sent.substr(id * 4u, 2));
    while (scene.buffered() < 240'000 && ids.size() > 20) Reply(1, 8000);
  }
  // Replies to the next `count` requests, in one piece.
  void Reply(size_t count, size_t size) {
    std::string replies;
    for (size_t i = 0; i < count; ++i) {
      replies += ids.back() + test::IdMessage(0, std::string(size, 'x')).substr(2);
      ids.pop_back();
    }
    const uint64_t read = scene.bytes_read() + replies.size();
    EXPECT_TRUE(scene.server.Send(replies));
    scene.Run([&] { return scene.bytes_read() == read; });
  }
  Scene scene;
  std::vector<std::string> ids;
};

UpstreamPage MakeUpstreamPage() {
  UpstreamPage page(kUpstreamTable, {"idle", "queued", "attached", "paused"},
                    {"queued", "started", "all answered", "paused", "resumed"});
  using S = UpstreamState;
  using E = UpstreamEvent;
  const auto change = [](Scene& scene, const std::function<void()>& event) {
    const S before = scene.upstream();
    event();
    scene.Run([&] { return scene.upstream() != before; });
    return std::pair(before, scene.upstream());
  };
  page.Add(S::kIdle, E::kQueued, [=] {
    Scene scene;
    scene.Join();
    return change(scene, [&] { scene.Send("request\n"); });
  });
  page.Add(S::kIdle, E::kStarted, [=] {
    Scene scene;
    scene.AddServer();
    scene.Join();
    return change(scene, [&] { scene.Send("request\n"); });
  });
  page.Add(S::kQueued, E::kStarted, [=] {
    Scene scene;
    scene.Join();
    scene.Send("request\n");
    scene.Run([&] { return scene.upstream() == S::kQueued; });
    return change(scene, [&] { scene.AddServer(); });
  });
  page.Add(S::kAttached, E::kAllAnswered, [=] {
    Scene scene;
    scene.Exchange("request\n");
    return change(scene, [&] { EXPECT_TRUE(scene.server.Send("reply\n")); });
  });
  page.Add(S::kAttached, E::kPaused, [=] {
    NearlyPaused near;
    return change(near.scene, [&] { near.Reply(near.ids.size() - 1, 1500); });
  });
  // The replies behind the one that pauses the server are in the same read.
  page.Add(S::kPaused, E::kPaused, [=] {
    NearlyPaused near;
    near.Reply(near.ids.size() - 1, 1500);
    const S before = near.scene.upstream();
    return std::pair(before, near.scene.upstream());
  });
  page.Add(S::kPaused, E::kAllAnswered, [=] {
    NearlyPaused near;
    return std::pair(S::kPaused,
                     change(near.scene, [&] { near.Reply(near.ids.size(), 1500); }).second);
  });
  page.Add(S::kPaused, E::kResumed, [=] {
    NearlyPaused near;
    near.Reply(near.ids.size() - 1, 1500);
    const S before = near.scene.upstream();
    near.scene.Run([&] {
      near.scene.client.Read(near.scene.client.UnreadBytes());
      return near.scene.upstream() != before;
    });
    return std::pair(before, near.scene.upstream());
  });
  return page;
}

TEST(MessageFlowLifecycleTest, UpstreamPageMatchesTheTransitionsOfTheCode) {
  MakeUpstreamPage().ExpectPageMatchesCode(test::ReadTable(kPage, "Upstream of a flow"));
}

TEST(MessageFlowLifecycleTest, UpstreamFollowsEveryRowOfThePage) {
  MakeUpstreamPage().ExpectClassFollows(test::ReadTable(kPage, "Upstream of a flow"));
}

using DownstreamPage =
    test::Lifecycle<DownstreamState, DownstreamEvent, decltype(kDownstreamTable)>;

// Joins a client whose first request waits in the pending queue, so that nothing more of it is
// read.
void QueueRequest(Scene& scene) {
  scene.Join();
  scene.Send("request\n");
  scene.Run([&] { return scene.upstream() == UpstreamState::kQueued; });
}

// Runs `event` and returns the states before and after the change that it causes.
std::pair<DownstreamState, DownstreamState> ChangeDownstream(Scene& scene,
                                                             const std::function<void()>& event) {
  const DownstreamState before = scene.downstream();
  event();
  scene.Run([&] { return scene.downstream() != before; });
  return std::pair(before, scene.downstream());
}

void AddReadableRows(DownstreamPage& page) {
  using S = DownstreamState;
  using E = DownstreamEvent;
  page.Add(S::kReadable, E::kFinSeen, [=] {
    Scene scene;
    QueueRequest(scene);
    scene.Send("x");
    scene.Run([&] { return scene.downstream() == S::kReadable; });
    return ChangeDownstream(scene, [&] { scene.client.ShutdownWrite(); });
  });
  page.Add(S::kReadable, E::kReadable, [=] {
    Scene scene;
    QueueRequest(scene);
    scene.Send("x");
    scene.Run([&] { return scene.downstream() == S::kReadable; });
    scene.Send("y");
    scene.RunOnce();
    return std::pair(S::kReadable, scene.downstream());
  });
  page.Add(S::kReadable, E::kDrained, [=] {
    Scene scene;
    scene.Join();  // begins as readable, and reads at once
    return std::pair(S::kReadable, scene.downstream());
  });
  page.Add(S::kReadable, E::kFinRead, [=] {
    Scene scene;
    scene.Join([&](int flow_fd) {
      scene.client.ShutdownWrite();
      EXPECT_TRUE(test::WaitFor(flow_fd, POLLRDHUP));
    });
    return std::pair(S::kReadable, scene.downstream());
  });
}

DownstreamPage MakeDownstreamPage() {
  DownstreamPage page(kDownstreamTable, {"drained", "readable", "fin pending", "fin read"},
                      {"readable", "fin seen", "drained", "fin read"});
  using S = DownstreamState;
  using E = DownstreamEvent;
  page.Add(S::kDrained, E::kReadable, [=] {
    Scene scene;
    QueueRequest(scene);
    return ChangeDownstream(scene, [&] { scene.Send("x"); });
  });
  page.Add(S::kDrained, E::kFinSeen, [=] {
    Scene scene;
    QueueRequest(scene);
    return ChangeDownstream(scene, [&] { scene.client.ShutdownWrite(); });
  });
  AddReadableRows(page);
  // The client's FIN waits behind a request while its replies are blocked; more room for replies is
  // an event that reports the FIN again.
  const auto block = [](Scene& scene, const std::string& more) {
    scene.Exchange("request\n");
    scene.ReplyUntilBuffered();
    scene.Send(more);
    scene.client.ShutdownWrite();
  };
  const auto read_some = [](Scene& scene) {
    const int64_t before = scene.buffered();
    scene.Run([&] {
      scene.client.Read(std::min<size_t>(scene.client.UnreadBytes(), 1500));
      return scene.buffered() < before;
    });
    EXPECT_GT(scene.buffered(), 0);
  };
  page.Add(S::kFinPending, E::kFinSeen, [=] {
    Scene scene;
    block(scene, "next\n");
    scene.Run([&] { return scene.downstream() == S::kFinPending; });
    const S before = scene.downstream();
    read_some(scene);
    return std::pair(before, scene.downstream());
  });
  page.Add(S::kFinRead, E::kFinSeen, [=] {
    Scene scene;
    scene.Exchange("request\n");
    scene.client.ShutdownWrite();
    scene.Run([&] { return scene.downstream() == S::kFinRead; });
    const S before = scene.downstream();
    scene.ReplyUntilBuffered();
    read_some(scene);
    return std::pair(before, scene.downstream());
  });
  page.Add(S::kFinPending, E::kFinRead, [=] {
    Scene scene;
    QueueRequest(scene);
    scene.client.ShutdownWrite();
    scene.Run([&] { return scene.downstream() == S::kFinPending; });
    return ChangeDownstream(scene, [&] { scene.AddServer(); });
  });
  return page;
}

TEST(MessageFlowLifecycleTest, DownstreamPageMatchesTheTransitionsOfTheCode) {
  MakeDownstreamPage().ExpectPageMatchesCode(test::ReadTable(kPage, "Downstream of a flow"));
}

TEST(MessageFlowLifecycleTest, DownstreamFollowsEveryRowOfThePage) {
  MakeDownstreamPage().ExpectClassFollows(test::ReadTable(kPage, "Downstream of a flow"));
}

}  // namespace
}  // namespace trunkline
