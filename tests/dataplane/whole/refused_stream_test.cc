// Clients whose streams an agent refuses: no server has seen them, so they go to another agent or
// wait.
#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/net/address.h"
#include "tests/common/eventually.h"
#include "tests/common/http2/http2_pair.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Eventually;
using test::ExpectExchange;
using test::LocalServer;
using test::Peer;
using test::Tunnel;

// An agent that the test plays, on a trunk from the proxy.
class PlayedAgent {
 public:
  Address address() const { return listener_.address(); }
  test::Http2Server& http2() { return http2_; }

  void AcceptTrunk() { trunk_ = listener_.Accept(); }
  // Exchanges bytes with the proxy until `condition` holds.
  [[nodiscard]] bool RunUntil(const std::function<bool()>& condition) {
    return Eventually([&] {
      const std::string output = http2_.TakeOutput();
      if (!output.empty() && !trunk_.Send(output)) return true;
      if (test::WaitFor(trunk_.fd(), POLLIN, 1)) {
        const size_t unread = trunk_.UnreadBytes();
        if (unread == 0 || !http2_.Give(trunk_.Read(unread)).ok()) return true;
      }
      return condition();
    });
  }
  ~PlayedAgent() { http2_.session.CloseAll(NGHTTP2_NO_ERROR); }

 private:
  LocalServer listener_;
  test::Http2Server http2_;
  Peer trunk_;
};

void Refuse(test::TestStream& stream) {
  stream.on_headers = [](test::TestStream& s) { s.session()->Abandon(&s, NGHTTP2_REFUSED_STREAM); };
}

// RFC 9113, 8.7: a refused stream was not processed. An agent that is full refuses streams, and its
// clients must wait as they do for a trunk whose limit is known.
TEST(RefusedStreamTest, ClientWaitsForTheOnlyAgentUntilItTakesTheStream) {
  constexpr size_t kRefusals = 5;
  PlayedAgent agent;
  Tunnel tunnel({.limits = {.connect_timeout = absl::Seconds(20)}});
  tunnel.AddEndpoint(agent.address());
  tunnel.Apply();
  agent.AcceptTrunk();
  agent.http2().prepare = Refuse;
  ASSERT_TRUE(agent.RunUntil([&] { return tunnel.worker().trunks_up.Value() == 1; }));
  Peer client = tunnel.Connect();
  ASSERT_TRUE(client.Send("question"));
  ASSERT_TRUE(agent.RunUntil([&] { return agent.http2().accepted.size() == kRefusals; }));
  agent.http2().prepare = [](test::TestStream& stream) {
    stream.on_headers = [](test::TestStream& s) { s.Respond(200); };
  };
  ASSERT_TRUE(agent.RunUntil([&] {
    return agent.http2().accepted.size() > kRefusals &&
           agent.http2().accepted.back()->received == "question";
  }));
  EXPECT_EQ(tunnel.clients(), 1);
  EXPECT_EQ(tunnel.worker().no_endpoint.Value(), 0u);
}

TEST(RefusedStreamTest, ClientsGoToAnotherAgent) {
  constexpr size_t kClients = 30;
  PlayedAgent agent;
  LocalServer local;
  Tunnel tunnel({.limits = {.connect_timeout = absl::Seconds(20)}});
  // Nearly always picked.
  tunnel.AddEndpoint(agent.address(), 1000);
  tunnel.AddAgent(local.address(), 1);
  tunnel.Apply();
  agent.AcceptTrunk();
  agent.http2().prepare = Refuse;
  ASSERT_TRUE(agent.RunUntil([&] { return tunnel.worker().trunks_up.Value() == 2; }));
  std::vector<Peer> clients;
  for (size_t i = 0; i < kClients; ++i) {
    clients.push_back(tunnel.Connect());
    ASSERT_TRUE(agent.RunUntil([&] { return local.Knocked(0); })) << i;
    Peer server = local.Accept();
    ExpectExchange(clients.back(), server, "question", "answer");
  }
  EXPECT_GT(agent.http2().accepted.size(), 0u);
  EXPECT_EQ(tunnel.worker().no_endpoint.Value() + tunnel.worker().connect_refused.Value(), 0u);
}

}  // namespace
}  // namespace trunkline
