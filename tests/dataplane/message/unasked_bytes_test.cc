// A server may send bytes that no request asked for at any point of a connection's life: at once,
// while it is idle, in the same pass as the next request (before or after it), behind a reply, and
// with ids at any time. They may look like a reply to anybody. The model knows which reply belongs
// to which client: a client sees its own replies, an error or a close, never another reply.
//
// One thread plays clients and servers and runs the proxy's loop pass by pass, so a seed determines
// the order of all events. Without ids the proxy cannot tell unasked bytes from a reply while a
// request is at the server, so there the test sends them at all other times.
//
// TRUNKLINE_SEED sets the first seed.
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/forwarding_mode.h"
#include "common/base/random.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/message/message_flow.h"
#include "dataplane/message/shared_pool.h"
#include "dataplane/route/carrier.h"
#include "dataplane/stats/shared_counters.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/message_service.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/message/spoken_protocol.h"
#include "tests/dataplane/route/flow_bench.h"

namespace trunkline {
namespace {

using test::FlowBench;
using test::HasIds;
using test::Message;
using test::Peer;
using test::Protocol;

constexpr int kSeeds = 30;
constexpr int kSteps = 300;
constexpr size_t kClients = 6;
constexpr size_t kMostUnanswered = 3;  // requests of one client

// The bytes that a server sends before it gets a request.
enum class First : uint8_t {
  kNothing,
  kGreeting,
  kReplyToOpening,
};

struct Case {
  Protocol protocol;
  First first;
};

std::ostream& operator<<(std::ostream& out, const Case& that) {
  constexpr const char* kNames[] = {"", "Greeted", "Opened"};
  return out << NameOf(that.protocol) << kNames[static_cast<size_t>(that.first)];
}

// Redis, with a request of the proxy's own at the beginning of each connection.
class OpenedRedis final : public Codec {
 public:
  static constexpr char kContent[] = "opening";

  std::string_view name() const override { return redis_->name(); }
  std::unique_ptr<RequestParser> NewRequestParser() const override {
    return redis_->NewRequestParser();
  }
  std::unique_ptr<ReplyParser> NewReplyParser() const override { return redis_->NewReplyParser(); }
  std::string_view LocalReply(Refusal why) const override { return redis_->LocalReply(why); }
  std::string_view Opening(uint8_t) const override { return opening_; }
  std::string OpeningRefusal(std::string_view reply) const override {
    return redis_->OpeningRefusal(reply);
  }

 private:
  const std::shared_ptr<const Codec> redis_ = CodecOf(Protocol::kRedis);
  const std::string opening_ = WrapRequest(Protocol::kRedis, /*id=*/0, kContent);
};

std::string AnswerTo(const std::string& request) { return "to" + request; }

struct AskingClient {
  struct Asked {
    uint16_t id;
    std::string content;
  };
  Peer peer;
  size_t number = 0;
  uint16_t asked = 0;
  std::deque<Asked> unanswered;
  std::string in;
  bool got_local_reply = false;
  bool over = false;
};

struct AnsweringServer {
  Peer peer;
  std::string in;
  std::deque<Message> queue;
  std::string out;  // the rest of a reply whose beginning was sent
  bool greeted = false;
  bool over = false;
};

int Queue(int fd, unsigned long which) {
  int bytes = 0;
  return ioctl(fd, which, &bytes) == 0 ? bytes : 0;
}

// The other end of a loopback connection, which is in this process as well; -1 if it was closed.
int OtherEndOf(int fd) {
  constexpr int kMostDescriptors = 200;
  const auto ports = [](int socket) {
    sockaddr_in own{};
    sockaddr_in peer{};
    socklen_t size = sizeof own;
    const bool named = getsockname(socket, reinterpret_cast<sockaddr*>(&own), &size) == 0;
    size = sizeof peer;
    const bool connected = getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size) == 0;
    return named && connected ? std::pair(own.sin_port, peer.sin_port)
                              : std::pair(in_port_t{0}, in_port_t{0});
  };
  const auto [own, peer] = ports(fd);
  for (int other = 3; own != 0 && other < kMostDescriptors; ++other) {
    if (ports(other) == std::pair(peer, own)) return other;
  }
  return -1;
}

// Otherwise the kernel would delay the second of two small pieces.
void SendAtOnce(Peer& peer) {
  const int on = 1;
  setsockopt(peer.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// Loopback delivers at once, unless the kernel defers it; the model must not guess.
template <typename Condition>
[[nodiscard]] bool Arrives(Condition condition) {
  const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(test::kPatienceMillis);
  while (!condition()) {
    if (MonotonicNow() > deadline) return false;
    poll(nullptr, 0, 1);
  }
  return true;
}

class World {
 public:
  World(const Case& that, uint64_t seed)
      : protocol_(that.protocol), first_(that.first), random_(seed) {
    listener_ = ListenOn({.host = "127.0.0.1", .port = 0}).value();
    bench_.AddEndpoint(
        {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(listener_.get()))});
    for (size_t i = 0; i < kClients; ++i) clients_.push_back(NewClient());
  }

  void Step() {
    switch (random_.Next() % 10) {
      case 0:
      case 1:
      case 2:
        Ask(AnyClient());
        break;
      case 3:
      case 4:
        if (AnsweringServer* server = AnyServer()) Answer(*server);
        break;
      case 5:
        if (AnsweringServer* server = AnyServer()) {
          if (random_.Next() % 2 == 0) AnswerAll(*server);
          Inject(*server);
        }
        break;
      case 6:
        AskAndInject();
        break;
      case 7:
        if (random_.Next() % 8 == 0) Replace(AnyClient());
        break;
      default:
        bench_.loop().RunOnce(absl::ZeroDuration());
        break;
    }
    Accept();
    for (auto& client : clients_) Receive(*client);
  }
  // Every client that is left gets its replies.
  void Finish() {
    const auto settled = [&] {
      bench_.loop().RunOnce(absl::ZeroDuration());
      Accept();
      for (auto& server : servers_) AnswerAll(*server);
      bool all = true;
      for (auto& client : clients_) {
        Receive(*client);
        all = all && (client->over || client->unanswered.empty());
      }
      return all || testing::Test::HasFailure();
    };
    EXPECT_TRUE(Arrives(settled)) << "a client waits for its reply";
  }

  uint64_t answered() const { return answered_; }
  uint64_t injected() const { return injected_; }
  uint64_t noticed() {
    const SharedCounters& counters = bench_.stats().shared;
    return counters.protocol_errors.Value() + counters.replies_unmatched.Value();
  }

 private:
  EndpointSet Set() const {
    auto message = std::make_shared<MessageService>();
    message->connection = {
        .codec = CodecOf(protocol_), .max_in_flight = 4, .greeting = first_ == First::kGreeting};
    if (first_ == First::kReplyToOpening)
      message->connection.codec = std::make_shared<OpenedRedis>();
    EndpointSet set;
    set.mode = ForwardingMode::kMessage;
    set.limits.connect_timeout = absl::Seconds(20);
    set.message = message;
    return set;
  }
  static std::unique_ptr<Carrier> MakePool(FlowBench& bench) {
    return std::make_unique<SharedPool>(
        bench.loop(), bench.dialer(), "the server",
        SharedPool::Options{.connection = bench.set().message->connection, .max_shared = 2},
        std::make_shared<ConnectionBudget>(), &bench.stats().shared,
        &bench.stats().shared_connections, 1);
  }

  std::unique_ptr<AskingClient> NewClient() {
    auto client = std::make_unique<AskingClient>();
    auto ends = test::TcpPair();
    client->peer = std::move(ends.second);
    SendAtOnce(client->peer);
    client->number = ++numbers_;
    bench_.Join(std::make_unique<MessageFlow>(bench_.loop(), std::move(ends.first), bench_.router(),
                                              bench_.set()));
    return client;
  }
  AskingClient& AnyClient() {
    auto& client = clients_[random_.Next() % clients_.size()];
    if (client->over) client = NewClient();
    return *client;
  }
  // A client leaves, perhaps with requests in flight.
  void Replace(AskingClient& old) {
    for (auto& client : clients_) {
      if (client.get() == &old) client = NewClient();
    }
  }
  AnsweringServer* AnyServer() {
    std::erase_if(servers_, [](const auto& server) { return server->over; });
    return servers_.empty() ? nullptr : servers_[random_.Next() % servers_.size()].get();
  }

  void Ask(AskingClient& client) {
    if (client.unanswered.size() >= kMostUnanswered) return;
    const uint16_t id = client.asked++;
    const std::string content = absl::StrCat("c", client.number, "n", id);
    client.unanswered.push_back({.id = id, .content = content});
    const std::string request = WrapRequest(protocol_, id, content);
    if (!client.peer.Send(request)) client.over = true;
  }
  void Accept() {
    while (test::WaitFor(listener_.get(), POLLIN, 0)) {
      auto server = std::make_unique<AnsweringServer>();
      server->peer = test::AcceptPeer(listener_.get());
      SendAtOnce(server->peer);
      servers_.push_back(std::move(server));
      if (random_.Next() % 2 == 0) Greet(*servers_.back());
      if (random_.Next() % 4 == 0) Inject(*servers_.back());
    }
  }
  void Greet(AnsweringServer& server) {
    if (server.over || server.greeted || first_ == First::kNothing) return;
    Drain(server);
    if (first_ == First::kReplyToOpening) {
      if (server.queue.empty()) return;
      EXPECT_EQ(server.queue.front().content, OpenedRedis::kContent);
      server.queue.pop_front();
    }
    EXPECT_TRUE(server.queue.empty()) << "a request was sent before the greeting";
    server.greeted = true;
    // It looks like a reply.
    Send(server, WrapReply(protocol_, /*id=*/0, "welcome"));
  }
  void Send(AnsweringServer& server, const std::string& bytes) {
    if (!server.over && !server.peer.Send(bytes)) server.over = true;
  }
  // Reads what has arrived.
  void Drain(AnsweringServer& server) {
    while (!server.over && test::WaitFor(server.peer.fd(), POLLIN, 0)) {
      const std::string more = server.peer.Read(std::max<size_t>(1, server.peer.UnreadBytes()));
      server.over = more.empty();
      server.in += more;
    }
    while (auto message = Take(protocol_, server.in)) server.queue.push_back(*std::move(message));
  }
  // Answers the next request, or any one where replies carry ids; perhaps only a part of it.
  void Answer(AnsweringServer& server) {
    Greet(server);
    if (first_ == First::kReplyToOpening && !server.greeted) return;
    Drain(server);
    if (!server.out.empty()) return Send(server, std::exchange(server.out, ""));
    if (server.queue.empty()) return;
    const size_t which = HasIds(protocol_) ? random_.Next() % server.queue.size() : 0;
    const auto asked = server.queue.begin() + static_cast<ptrdiff_t>(which);
    const std::string reply = WrapReply(protocol_, asked->id, AnswerTo(asked->content));
    server.queue.erase(asked);
    const size_t part = random_.Next() % 4 == 0 ? random_.Next() % reply.size() : reply.size();
    server.out = reply.substr(part);
    Send(server, reply.substr(0, part));
  }

  void AnswerAll(AnsweringServer& server) {
    do {
      Answer(server);
    } while (!server.over && !(server.queue.empty() && server.out.empty()));
  }

  // Returns true if the proxy can tell that the next bytes are unasked. Without ids, the server has
  // no request, and none is on its way.
  bool MayInject(AnsweringServer& server) {
    const bool waits = first_ != First::kNothing && !server.greeted;
    if (server.over || waits || !server.out.empty()) return false;
    return KnowsItsRequests(server) && (HasIds(protocol_) || server.queue.empty());
  }
  // Reads every request that the proxy has sent. Returns false if the connection has ended.
  bool KnowsItsRequests(AnsweringServer& server) {
    const int proxy_fd = OtherEndOf(server.peer.fd());
    if (proxy_fd < 0) return false;
    EXPECT_TRUE(Arrives([&] {
      // The kernel acknowledges at once only what was read.
      Drain(server);
      const int quick = 1;
      setsockopt(server.peer.fd(), IPPROTO_TCP, TCP_QUICKACK, &quick, sizeof quick);
      return Queue(proxy_fd, SIOCOUTQ) == 0;
    }));
    Drain(server);
    return !server.over && server.in.empty();
  }
  // A reply to no request: perhaps another client's answer, perhaps incomplete.
  std::string Unasked(const AnsweringServer& server) {
    const AskingClient& victim = *clients_[random_.Next() % clients_.size()];
    const std::string content = random_.Next() % 2 == 0 || victim.unanswered.empty()
                                    ? absl::StrCat("unasked", random_.Next() % 1000)
                                    : absl::StrCat("stale", victim.unanswered.front().content);
    const std::string reply = WrapReply(protocol_, UnusedId(server), content);
    const bool whole = HasIds(protocol_) || random_.Next() % 4 != 0;
    return whole ? reply : reply.substr(0, 1 + random_.Next() % (reply.size() - 1));
  }
  // Returns an id that no request at the server has; often it is the next request's.
  uint16_t UnusedId(const AnsweringServer& server) {
    uint16_t id = static_cast<uint16_t>(random_.Next() % 2 == 0 ? last_id_ + 1 : random_.Next());
    const auto used = [&] {
      return std::any_of(server.queue.begin(), server.queue.end(),
                         [&](const Message& message) { return message.id == id; });
    };
    while (used()) ++id;
    return id;
  }
  void Inject(AnsweringServer& server) {
    if (!MayInject(server)) return;
    for (const Message& message : server.queue) last_id_ = message.id;
    const int proxy_fd = OtherEndOf(server.peer.fd());
    const std::string bytes = Unasked(server);
    const int wanted = Queue(proxy_fd, FIONREAD) + static_cast<int>(bytes.size());
    Send(server, bytes);
    ++injected_;
    EXPECT_TRUE(server.over || Arrives([&] { return Queue(proxy_fd, FIONREAD) >= wanted; }));
  }
  // Both are ready in one pass of the loop, in either order.
  void AskAndInject() {
    AnsweringServer* const server = AnyServer();
    AskingClient& client = AnyClient();
    const bool client_first = random_.Next() % 2 == 0;
    if (client_first) Ask(client);
    if (server != nullptr && random_.Next() % 2 == 0) AnswerAll(*server);
    if (server != nullptr) Inject(*server);
    if (!client_first) Ask(client);
    bench_.loop().RunOnce(absl::ZeroDuration());
  }

  void Receive(AskingClient& client) {
    while (!client.over && test::WaitFor(client.peer.fd(), POLLIN, 0)) {
      const std::string more = client.peer.Read(std::max<size_t>(1, client.peer.UnreadBytes()));
      client.over = more.empty();
      client.in += more;
    }
    while (auto message = Take(protocol_, client.in)) Check(client, *message);
    if (client.over && !client.in.empty()) CheckRest(client);
  }
  void Check(AskingClient& client, const Message& message) {
    ASSERT_FALSE(client.got_local_reply) << "bytes behind an error: " << message.content;
    client.got_local_reply = message.local_reply;
    if (message.local_reply) return;
    auto asked = client.unanswered.begin();
    while (HasIds(protocol_) && asked != client.unanswered.end() && asked->id != message.id)
      ++asked;
    ASSERT_NE(asked, client.unanswered.end())
        << "client " << client.number << " got " << message.content << " but asked nothing";
    ASSERT_EQ(message.content, AnswerTo(asked->content)) << "client " << client.number;
    client.unanswered.erase(asked);
    ++answered_;
  }
  // A reply that was cut off is the beginning of the client's own.
  void CheckRest(AskingClient& client) {
    bool own = client.got_local_reply;
    for (const auto& asked : client.unanswered) {
      const std::string whole = WrapReply(protocol_, asked.id, AnswerTo(asked.content));
      own = own || whole.starts_with(client.in);
    }
    EXPECT_TRUE(own) << "client " << client.number << " got " << client.in;
    client.in.clear();
  }

  const Protocol protocol_;
  const First first_;
  FastRandom random_;
  UniqueFd listener_;
  FlowBench bench_{Set(), MakePool};
  std::vector<std::unique_ptr<AskingClient>> clients_;
  std::vector<std::unique_ptr<AnsweringServer>> servers_;
  size_t numbers_ = 0;
  uint16_t last_id_ = 0;
  uint64_t answered_ = 0;
  uint64_t injected_ = 0;
};

class UnaskedBytesTest : public ::testing::TestWithParam<Case> {};

TEST_P(UnaskedBytesTest, ReachNoClient) {
  const char* const set = getenv("TRUNKLINE_SEED");
  const uint64_t first = set != nullptr ? strtoull(set, nullptr, 10) : 1;
  uint64_t answered = 0;
  uint64_t injected = 0;
  uint64_t noticed = 0;
  for (uint64_t seed = first; seed < first + kSeeds && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    World world(GetParam(), seed);
    for (int i = 0; i < kSteps && !HasFailure(); ++i) world.Step();
    world.Finish();
    answered += world.answered();
    injected += world.injected();
    noticed += world.noticed();
  }
  // The run covered the cases that matter.
  EXPECT_GT(answered, 10u * kSeeds);
  EXPECT_GT(injected, 5u * kSeeds);
  EXPECT_GT(noticed, injected / 2);
}

INSTANTIATE_TEST_SUITE_P(Protocols, UnaskedBytesTest,
                         ::testing::Values(Case{Protocol::kLines, First::kNothing},
                                           Case{Protocol::kFrames, First::kNothing},
                                           Case{Protocol::kFramesWithId, First::kNothing},
                                           Case{Protocol::kRedis, First::kNothing},
                                           Case{Protocol::kMemcached, First::kNothing},
                                           Case{Protocol::kHttp, First::kNothing},
                                           Case{Protocol::kModbus, First::kNothing},
                                           Case{Protocol::kLines, First::kGreeting},
                                           Case{Protocol::kFrames, First::kGreeting},
                                           Case{Protocol::kFramesWithId, First::kGreeting},
                                           Case{Protocol::kRedis, First::kReplyToOpening}),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace trunkline
