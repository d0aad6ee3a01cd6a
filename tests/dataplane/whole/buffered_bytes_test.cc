// Buffered bytes: after every pass of the loop and in every mode, the gauges equal the sum over the
// flows, and the age is that of the oldest byte. A router on the test's own loop, with real
// carriers.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "common/base/clock.h"
#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/delimiter.h"
#include "dataplane/codec/redis.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/router_fixture.h"

namespace trunkline {
namespace {

using test::LocalServer;
using test::Peer;
using test::RefusingAddress;
using test::TcpPair;

constexpr size_t kBytes = 20'000;

class BufferedBytesTest : public test::RouterFixture {
 protected:
  void StartWithLines() {
    Start(ForwardingMode::kMessage,
          std::shared_ptr<const Codec>(NewDelimiterCodec({.delimiter = "\n"}).value()));
  }

  // The kernel buffers little for a client that does not read.
  Peer AddClient() {
    auto ends = TcpPair(8 * 1024);
    const int send_buffer = 4 * 1024;
    setsockopt(ends.first.get(), SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    return RouterFixture::AddClient(std::move(ends));
  }

  void AfterPass() override {
    size_t total = 0;
    for (const auto& [flow, owned] : flows_) total += flow->buffered().bytes;
    EXPECT_EQ(static_cast<int64_t>(total), pending() + unsent());
  }
  [[nodiscard]] bool RunUntilLater() {
    return RunUntil([&, start = loop_.now()] { return loop_.now() > start; });
  }
  [[nodiscard]] bool Send(Peer& from, const std::string& bytes) {
    size_t sent = 0;
    return RunUntil([&] {
      sent += from.SendWhatFits(bytes.substr(sent));
      return sent == bytes.size();
    });
  }
  // Sends until `full`; the other end does not read.
  template <typename Condition>
  [[nodiscard]] bool SendUntil(Peer& from, Condition full) {
    return RunUntil([&] {
      if (!full()) from.SendWhatFits(std::string(10 * kBytes, 'x'));
      return full();
    });
  }

  int64_t pending() { return stats().from_client_buffered_bytes.Value(); }
  int64_t unsent() { return stats().to_client_buffered_bytes.Value(); }
  // The buffered bytes of the only flow.
  Flow::Buffered buffered() { return flows_.begin()->first->buffered(); }
};

TEST_F(BufferedBytesTest, CopyForARetryCountsUntilTheServerAccepts) {
  test::ScratchFolder folder;
  LocalServer local(Address{.unix_path = folder.File("s")});
  ASSERT_EQ(listen(local.fd(), 0), 0);  // a queue of one
  Peer filler = test::ConnectPeer(local.address());
  AddAgent(local.address());
  Start(ForwardingMode::kTunnel);
  Peer client = AddClient();
  ASSERT_TRUE(RunUntilLater());
  const MonotonicTime before = loop_.now();
  ASSERT_TRUE(Send(client, std::string(kBytes, 'x')));
  ASSERT_TRUE(RunUntil([&] { return pending() == kBytes; })) << pending();
  EXPECT_GE(buffered().since, before) << "a client may take its time before it speaks";
  Peer filled = local.Accept();
  Peer server = local.Accept();
  ASSERT_TRUE(RunUntil([&] { return pending() == 0; })) << pending();
  EXPECT_EQ(server.Read(kBytes).size(), kBytes);
}

TEST_F(BufferedBytesTest, CopyEndsWithItsClient) {
  test::ScratchFolder folder;
  LocalServer local(Address{.unix_path = folder.File("s")});
  ASSERT_EQ(listen(local.fd(), 0), 0);
  Peer filler = test::ConnectPeer(local.address());
  AddAgent(local.address());
  Start(ForwardingMode::kTunnel);
  Peer client = AddClient();
  ASSERT_TRUE(Send(client, std::string(kBytes, 'x')));
  ASSERT_TRUE(RunUntil([&] { return pending() == kBytes; })) << pending();
  client.Reset();
  EXPECT_TRUE(RunUntil([&] { return pending() == 0; })) << pending();
}

TEST_F(BufferedBytesTest, StalledReaderOfATunnelCounts) {
  LocalServer local;
  AddAgent(local.address());
  Start(ForwardingMode::kTunnel);
  Peer client = AddClient();
  ASSERT_TRUE(RunUntil([&] { return local.Knocked(0); }));
  Peer server = local.Accept();
  EXPECT_TRUE(SendUntil(server, [&] { return unsent() > 0; }));
}

TEST_F(BufferedBytesTest, OldBytesOfOneDirectionAreNotHiddenByMoreOfTheOther) {
  LocalServer local;
  AddEndpoint(local.address());
  Start(ForwardingMode::kDirect);
  Peer client = AddClient();
  ASSERT_TRUE(RunUntil([&] { return local.Knocked(0); }));
  Peer server = local.Accept();
  // In one call, so that more bytes wait than the kernel may still take.
  ASSERT_EQ(server.SendWhatFits(std::string(2 * kBytes, 'x')), 2 * kBytes);
  ASSERT_TRUE(RunUntil([&] { return unsent() > int64_t{kBytes} / 2; }));
  const MonotonicTime oldest = buffered().since;
  ASSERT_TRUE(RunUntilLater());
  ASSERT_TRUE(SendUntil(client, [&] { return pending() > unsent(); }));
  EXPECT_EQ(buffered().since, oldest);
}

TEST_F(BufferedBytesTest, RequestThatWaitsForADedicatedConnectionCountsAndIsYoung) {
  Start(ForwardingMode::kMessage, NewRedisCodec({}));
  const MonotonicTime before = MonotonicNow();
  Peer client = AddClient();
  ASSERT_TRUE(Send(client, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n" + std::string(kBytes, 'x')));
  ASSERT_TRUE(RunUntil([&] { return replaced_ == 1; }));
  EXPECT_GT(pending(), 0);
  EXPECT_GE(buffered().since, before);
}

TEST_F(BufferedBytesTest, IncompleteRequestIsAsOldAsItsFirstByte) {
  LocalServer local;
  AddEndpoint(local.address());
  StartWithLines();
  Peer client = AddClient();
  const std::string part(kBytes, 'x');
  ASSERT_TRUE(Send(client, part));
  ASSERT_TRUE(RunUntil([&] { return pending() == kBytes; }));
  const MonotonicTime begun = buffered().since;
  for (const int64_t more : {1, 2, 3}) {
    ASSERT_TRUE(RunUntilLater());
    ASSERT_TRUE(Send(client, "x"));
    ASSERT_TRUE(RunUntil([&] { return pending() == int64_t{kBytes} + more; }));
    EXPECT_EQ(buffered().since, begun);
  }
  // The rest of the request and the beginning of the next one.
  ASSERT_TRUE(RunUntilLater());
  ASSERT_TRUE(Send(client, "\n" + part));
  ASSERT_TRUE(RunUntil([&] { return pending() == kBytes; }));
  EXPECT_GT(buffered().since, begun);
}

TEST_F(BufferedBytesTest, RequestOfALostConnectionCountsUntilItIsResent) {
  AddEndpoint(RefusingAddress());
  StartWithLines();
  const MonotonicTime before = MonotonicNow();
  Peer client = AddClient();
  ASSERT_TRUE(Send(client, std::string(kBytes, 'x') + "\n"));
  ASSERT_TRUE(RunUntil([&] { return pending() == kBytes + 1; })) << pending();
  EXPECT_GE(buffered().since, before);
  client.Reset();
  EXPECT_TRUE(RunUntil([&] { return pending() == 0; })) << pending();
}

TEST_F(BufferedBytesTest, UnreadRepliesCount) {
  LocalServer local;
  AddEndpoint(local.address());
  StartWithLines();
  Peer client = AddClient();
  ASSERT_TRUE(Send(client, "question\n"));
  ASSERT_TRUE(RunUntil([&] { return local.Knocked(0); }));
  Peer server = local.Accept();
  // Bytes that come before the request are no reply to it.
  ASSERT_TRUE(RunUntil([&] { return server.UnreadBytes() > 0; }));
  ASSERT_EQ(server.SendWhatFits(std::string(2 * kBytes, 'x')), 2 * kBytes);
  EXPECT_TRUE(RunUntil([&] { return unsent() > 0; }));
}

}  // namespace
}  // namespace trunkline
