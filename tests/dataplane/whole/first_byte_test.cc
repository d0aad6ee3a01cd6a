// The time to the server's first byte: of a connection in tunnel and direct mode, of each request
// in message mode. The test's own loop tells the times of its passes, so latencies are compared
// exactly.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/base/metrics.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/delimiter.h"
#include "dataplane/codec/http1.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/router_fixture.h"

namespace trunkline {
namespace {

using test::LocalServer;
using test::Peer;

constexpr char kGet[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr char kOk[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

class FirstByteTest : public test::RouterFixture {
 protected:
  static std::shared_ptr<const Codec> Lines() {
    return std::shared_ptr<const Codec>(NewDelimiterCodec({.delimiter = "\n"}).value());
  }
  void Serve(ForwardingMode mode, std::shared_ptr<const Codec> codec = Lines()) {
    if (mode == ForwardingMode::kTunnel) {
      AddAgent(local_.address());
    } else {
      AddEndpoint(local_.address());
    }
    Start(mode, mode == ForwardingMode::kMessage ? std::move(codec) : nullptr);
    mode_ = mode;
  }
  uint64_t Count(ForwardingMode mode) {
    const auto counts = Values(mode).counts;
    return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  }
  LatencyHistogram::Values Values(ForwardingMode mode) {
    return stats_.Listener("db")->cell(0).first_byte[static_cast<size_t>(mode)].Read();
  }
  void AfterPass() override {
    if (Count(mode_) == seen_) return;
    seen_ = Count(mode_);
    last_sample_ = loop_.now();
  }
  Peer AcceptServer() {
    EXPECT_TRUE(RunUntil([&] { return local_.Knocked(0); }));
    return local_.Accept();
  }
  void ExpectAt(Peer& end, const std::string& bytes) {
    ASSERT_TRUE(RunUntil([&] { return end.UnreadBytes() >= bytes.size(); }));
    EXPECT_EQ(end.Read(bytes.size()), bytes);
  }
  void Exchange(Peer& client, Peer& server) {
    ASSERT_TRUE(client.Send("ask\n"));
    ExpectAt(server, "ask\n");
    ASSERT_TRUE(server.Send("answer\n"));
    ExpectAt(client, "answer\n");
  }
  // Runs until the gauge of bytes from clients is above 0 and returns the time of that pass.
  MonotonicTime RunUntilBuffered() {
    EXPECT_TRUE(RunUntil([&] { return stats().from_client_buffered_bytes.Value() > 0; }));
    return loop_.now();
  }
  double LastSampleSince(MonotonicTime since) const {
    return absl::ToDoubleSeconds(last_sample_ - since);
  }

  LocalServer local_;
  ForwardingMode mode_ = ForwardingMode::kMessage;
  uint64_t seen_ = 0;
  MonotonicTime last_sample_;
};

class FirstByteOfModeTest : public FirstByteTest,
                            public ::testing::WithParamInterface<ForwardingMode> {};

TEST_P(FirstByteOfModeTest, IsTimedOnceForAConnectionButForEachRequestOfAMessageClient) {
  Serve(GetParam());
  Peer client = AddClient();
  ASSERT_TRUE(client.Send("ask\n"));
  Peer server = AcceptServer();
  ExpectAt(server, "ask\n");
  EXPECT_EQ(Count(GetParam()), 0u) << "before the answer";
  ASSERT_TRUE(server.Send("answer\n"));
  ExpectAt(client, "answer\n");
  EXPECT_EQ(Count(GetParam()), 1u);
  Exchange(client, server);
  EXPECT_EQ(Count(GetParam()), GetParam() == ForwardingMode::kMessage ? 2u : 1u);
  EXPECT_EQ(cell(0).answered.Value(), Count(GetParam())) << "the endpoint's own count";
  EXPECT_GT(cell(0).first_byte_nanos.Value(), 0u);
  for (const ForwardingMode other : test::kAllModes) {
    EXPECT_EQ(Count(other) > 0, other == GetParam()) << ModeName(other);
  }
}

// A server that reads and hangs up looks like one that did its work.
TEST_P(FirstByteOfModeTest, FlowThatEndsInOrderWithoutAnAnswerIsCountedAtItsEndpoint) {
  if (GetParam() == ForwardingMode::kMessage) GTEST_SKIP() << "such a request is an error there";
  Serve(GetParam());
  Peer client = AddClient();
  ASSERT_TRUE(client.Send("ask\n"));
  Peer server = AcceptServer();
  ExpectAt(server, "ask\n");
  server.ShutdownWrite();
  client.ShutdownWrite();
  ASSERT_TRUE(RunUntil([&] { return flows_.empty(); }));
  EXPECT_EQ(cell(0).unanswered.Value(), 1u);
  EXPECT_EQ(cell(0).answered.Value(), 0u);
  Peer quiet = AddClient();
  Peer other = AcceptServer();
  quiet.ShutdownWrite();
  other.ShutdownWrite();
  ASSERT_TRUE(RunUntil([&] { return flows_.empty(); }));
  EXPECT_EQ(cell(0).unanswered.Value(), 1u) << "a client that asked nothing";
}

TEST_P(FirstByteOfModeTest, ClientThatLeavesBeforeItIsNotCounted) {
  Serve(GetParam());
  Peer client = AddClient();
  ASSERT_TRUE(client.Send("ask\n"));
  Peer server = AcceptServer();
  ExpectAt(server, "ask\n");
  client.Reset();
  ASSERT_TRUE(RunUntil([&] { return flows_.empty(); }));
  server.Send("answer\n");
  Peer next = AddClient();
  Peer other = GetParam() == ForwardingMode::kMessage ? std::move(server) : AcceptServer();
  Exchange(next, other);
  EXPECT_EQ(Count(GetParam()), 1u) << "that of the second client";
}

INSTANTIATE_TEST_SUITE_P(Modes, FirstByteOfModeTest, ::testing::ValuesIn(test::kAllModes),
                         test::kNameOfMode);

class FirstByteOfByteModeTest : public FirstByteOfModeTest {};

TEST_P(FirstByteOfByteModeTest, LatencyBeginsWithTheAccept) {
  Serve(GetParam());
  loop_.RunOnce(absl::ZeroDuration());
  const MonotonicTime accepted = loop_.now();
  Peer client = AddClient();
  Peer server = AcceptServer();
  ASSERT_TRUE(RunUntil([&] { return cell(0).connects.Value() == 1; }));
  Exchange(client, server);
  EXPECT_DOUBLE_EQ(Values(GetParam()).sum_seconds, LastSampleSince(accepted));
}

INSTANTIATE_TEST_SUITE_P(Modes, FirstByteOfByteModeTest, ::testing::ValuesIn(test::kByteModes),
                         test::kNameOfMode);

TEST_F(FirstByteTest, LatencyOfARequestBeginsWithItsLastByte) {
  Serve(ForwardingMode::kMessage);
  Peer client = AddClient();
  ASSERT_TRUE(client.Send("as"));
  const MonotonicTime first_part = RunUntilBuffered();
  ASSERT_TRUE(client.Send("k\n"));
  ASSERT_TRUE(RunUntil([&] { return cell(0).active.Value() == 1; }));
  const MonotonicTime last_part = loop_.now();
  Peer server = AcceptServer();
  ExpectAt(server, "ask\n");
  ASSERT_TRUE(server.Send("answer\n"));
  ExpectAt(client, "answer\n");
  ASSERT_GT(last_part, first_part);
  EXPECT_DOUBLE_EQ(Values(ForwardingMode::kMessage).sum_seconds, LastSampleSince(last_part));
}

TEST_F(FirstByteTest, LatencyOfARequestIncludesItsTimeInThePendingQueue) {
  Serve(ForwardingMode::kMessage, NewHttp1Codec({}));
  Peer first = AddClient();
  ASSERT_TRUE(first.Send(kGet));
  Peer server = AcceptServer();
  ExpectAt(server, kGet);
  Peer second = AddClient();
  ASSERT_TRUE(second.Send(kGet));
  const MonotonicTime queued = RunUntilBuffered();
  ASSERT_TRUE(server.Send(kOk));
  ExpectAt(first, kOk);
  const double sum = Values(ForwardingMode::kMessage).sum_seconds;
  ExpectAt(server, kGet);
  ASSERT_TRUE(server.Send(kOk));
  ExpectAt(second, kOk);
  EXPECT_NEAR(Values(ForwardingMode::kMessage).sum_seconds - sum, LastSampleSince(queued), 1e-9);
}

// A client must not look fast because its first server was dead.
TEST_F(FirstByteTest, LatencyOfARequestThatIsSentAgainBeginsWithItsArrival) {
  AddEndpoint(test::RefusingAddress(), 1000);
  AddEndpoint(local_.address(), 0.001);
  Start(ForwardingMode::kMessage, Lines());
  auto ends = test::TcpPair();
  ASSERT_TRUE(ends.second.Send("ask\n"));
  loop_.RunOnce(absl::ZeroDuration());
  const MonotonicTime arrived = loop_.now();
  Peer client = AddClient(std::move(ends));  // reads at once
  ASSERT_TRUE(RunUntil([&] { return stats().shared.resent.Value() == 1; }));
  ASSERT_GT(loop_.now(), arrived);
  Peer server = AcceptServer();
  ExpectAt(server, "ask\n");
  ASSERT_TRUE(server.Send("answer\n"));
  ExpectAt(client, "answer\n");
  EXPECT_DOUBLE_EQ(Values(ForwardingMode::kMessage).sum_seconds, LastSampleSince(arrived));
}

TEST_F(FirstByteTest, LocalReplyIsNone) {
  Serve(ForwardingMode::kMessage, NewHttp1Codec({}));
  Peer client = AddClient();
  ASSERT_TRUE(client.Send("hello\r\n"));
  ASSERT_TRUE(RunUntil([&] { return flows_.empty(); }));
  EXPECT_EQ(Count(ForwardingMode::kMessage), 0u);
}

TEST_F(FirstByteTest, FirstAnswerOnADedicatedConnectionCounts) {
  Serve(ForwardingMode::kMessage, NewHttp1Codec({}));
  Peer client = AddClient();
  const std::string connect = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n";
  ASSERT_TRUE(client.Send(connect));
  Peer server = AcceptServer();
  ExpectAt(server, connect);
  ASSERT_TRUE(server.Send("HTTP/1.1 200 OK\r\n\r\n"));
  ExpectAt(client, "HTTP/1.1 200 OK\r\n\r\n");
  ASSERT_TRUE(server.Send("more"));
  ExpectAt(client, "more");
  EXPECT_EQ(replaced_, 1u);
  EXPECT_EQ(Count(ForwardingMode::kMessage), 1u);
}

}  // namespace
}  // namespace trunkline
