// A shared connection tells a client about its numbered requests: where each reply lies among
// the client's bytes, and how requests end that get none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/memcached.h"
#include "dataplane/codec/modbus_tcp.h"
#include "dataplane/message/shared_connection.h"
#include "dataplane/table/message_service.h"
#include "tests/dataplane/message/connection_bench.h"

namespace trunkline {
namespace {

using test::ConnectionBench;
using test::IdMessage;
using test::TestClient;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Step = SharedConnection::Step;

constexpr absl::Duration kSoon = absl::Milliseconds(30);

SharedConnectionOptions WithCodec(std::shared_ptr<const Codec> codec) {
  SharedConnectionOptions options;
  options.codec = std::move(codec);
  return options;
}

class RequestStepsTest : public ::testing::Test {
 protected:
  void Open(SharedConnectionOptions options) {
    bench_.emplace(std::move(options));
    bench_->Open();
  }
  void Send(const std::string& request, uint32_t number, const Request& traits = {}) {
    bench_->connection().Send(&client_, test::AsBytes(request), traits, /*open=*/false,
                              MonotonicTime(), number);
  }
  std::string ReadAtServer(size_t size) {
    bench_->Run([&] { return bench_->server.UnreadBytes() >= size; });
    return bench_->server.Read(size);
  }
  void Answer(const std::string& bytes) {
    ASSERT_TRUE(bench_->server.Send(bytes));
    bench_->Run([&] { return bench_->connection().idle() || bench_->closed(); });
  }

  TestClient client_;
  std::optional<ConnectionBench> bench_;
};

TEST_F(RequestStepsTest, RepliesThatAreDeliveredTogetherKeepTheirBounds) {
  Open(WithCodec(test::LineCodec()));
  Send("a\n", 1);
  Send("b\n", 2);
  ReadAtServer(4);
  Answer("one\nthree\n");
  EXPECT_THAT(client_.steps, ElementsAre(TestClient::Noted{1, Step::kReplyBegins, 0},
                                         TestClient::Noted{1, Step::kReplyEnds, 4},
                                         TestClient::Noted{2, Step::kReplyBegins, 4},
                                         TestClient::Noted{2, Step::kReplyEnds, 10}));
}

TEST_F(RequestStepsTest, ReplyInPiecesBeginsAndEndsOnce) {
  Open(WithCodec(test::LineCodec()));
  Send("a\n", 1);
  ReadAtServer(2);
  ASSERT_TRUE(bench_->server.Send("on"));
  bench_->Run([&] { return client_.replies == "on"; });
  EXPECT_THAT(client_.steps, ElementsAre(TestClient::Noted{1, Step::kReplyBegins, 0}));
  Answer("e\n");
  EXPECT_THAT(client_.steps, ElementsAre(TestClient::Noted{1, Step::kReplyBegins, 0},
                                         TestClient::Noted{1, Step::kReplyEnds, 4}));
}

TEST_F(RequestStepsTest, RepliesWithIdsAreToldApartInAnyOrder) {
  Open(WithCodec(test::IdCodec()));
  Send(IdMessage(7, "a"), 1);
  Send(IdMessage(7, "bb"), 2);
  const std::string first = ReadAtServer(5);
  const std::string second = ReadAtServer(6);
  Answer(second + first);
  EXPECT_THAT(client_.steps, ElementsAre(TestClient::Noted{2, Step::kReplyBegins, 0},
                                         TestClient::Noted{2, Step::kReplyEnds, 6},
                                         TestClient::Noted{1, Step::kReplyBegins, 6},
                                         TestClient::Noted{1, Step::kReplyEnds, 11}));
}

// The reply to `noreply` does not reach the client, so it is empty; those around it are not.
TEST_F(RequestStepsTest, DiscardedReplyIsEmpty) {
  const auto codec = std::shared_ptr<const Codec>(NewMemcachedCodec({}));
  Open(WithCodec(codec));
  size_t sent = 0;
  const auto send = [&](const std::string& command, uint32_t number) {
    const std::unique_ptr<RequestParser> parser = codec->NewRequestParser();
    ASSERT_EQ(parser->Parse(test::AsBytes(command)).state, ParseState::kEnd);
    Send(command, number, parser->request());
    sent += command.size();
  };
  send("incr a 1\r\n", 1);
  send("incr a 1 noreply\r\n", 2);
  send("mg none q\r\n", 3);
  send("incr a 1\r\n", 4);
  ReadAtServer(sent);
  Answer("10\r\n11\r\nEN\r\n12\r\n");
  EXPECT_EQ(client_.replies, "10\r\n12\r\n");
  const size_t at = 4;
  EXPECT_THAT(client_.steps, ElementsAre(TestClient::Noted{1, Step::kReplyBegins, 0},
                                         TestClient::Noted{1, Step::kReplyEnds, at},
                                         TestClient::Noted{2, Step::kReplyBegins, at},
                                         TestClient::Noted{2, Step::kReplyEnds, at},
                                         TestClient::Noted{3, Step::kReplyBegins, at},
                                         TestClient::Noted{3, Step::kReplyEnds, at},
                                         TestClient::Noted{4, Step::kReplyBegins, at},
                                         TestClient::Noted{4, Step::kReplyEnds, 2 * at}));
}

TEST_F(RequestStepsTest, FINOfTheServerEndsAReplyWithoutALength) {
  Open(WithCodec(test::HttpCodec()));
  Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1);
  ReadAtServer(27);
  ASSERT_TRUE(bench_->server.Send("HTTP/1.0 200 OK\r\n\r\nbody"));
  bench_->Run([&] { return client_.replies.ends_with("body"); });
  bench_->server.Close();
  bench_->RunUntilClosed();
  ASSERT_EQ(client_.steps.size(), 2u);
  EXPECT_EQ(client_.steps[1], (TestClient::Noted{1, Step::kReplyEnds, client_.replies.size()}));
}

TEST_F(RequestStepsTest, OneWayMessageEndsSilentlyOnceItIsWritten) {
  Open(WithCodec(test::LineCodec()));
  Send("a\n", 1, {.replies = Replies::kNone});
  EXPECT_THAT(client_.steps, IsEmpty());
  bench_->Run([&] { return bench_->connection().idle(); });
  EXPECT_THAT(client_.steps, ElementsAre(TestClient::Noted{1, Step::kEndsSilently, 0}));
}

TEST_F(RequestStepsTest, OneWayMessageThatWasWrittenInPartIsLost) {
  constexpr size_t kMoreThanTheKernelTakes = 48 * 1024 * 1024;
  Open(WithCodec(test::LineCodec()));
  Send(std::string(kMoreThanTheKernelTakes, 'x') + "\n", 1, {.replies = Replies::kNone});
  ReadAtServer(1);
  bench_->server.Reset();
  bench_->RunUntilClosed();
  EXPECT_THAT(client_.steps, ElementsAre(TestClient::Noted{1, Step::kLost, 0}));
  EXPECT_EQ(client_.completed, 1u);
}

TEST_F(RequestStepsTest, RequestWhoseReplyNeedNotComeEndsSilently) {
  SharedConnectionOptions options = WithCodec(NewModbusTcpCodec());
  options.reply_timeout = kSoon;
  Open(options);
  Send(std::string("\0\1\0\0\0\6\0\6\0\1\0\3", 12), 1, {.replies = Replies::kMaybe});
  bench_->Run([&] { return bench_->connection().idle(); });
  EXPECT_THAT(client_.steps, ElementsAre(TestClient::Noted{1, Step::kEndsSilently, 0}));
}

TEST_F(RequestStepsTest, OnlyTheOldestUnansweredRequestTimedOut) {
  SharedConnectionOptions options = WithCodec(test::LineCodec());
  options.reply_timeout = kSoon;
  Open(options);
  Send("a\n", 1);
  Send("b\n", 2);
  bench_->RunUntilClosed();
  ASSERT_EQ(client_.unanswered.size(), 2u);
  EXPECT_EQ(client_.unanswered[0].number, 1u);
  EXPECT_TRUE(client_.unanswered[0].timed_out);
  EXPECT_EQ(client_.unanswered[1].number, 2u);
  EXPECT_FALSE(client_.unanswered[1].timed_out);
  EXPECT_THAT(client_.steps, IsEmpty());
}

TEST_F(RequestStepsTest, LateRequestWithAnIdTimedOut) {
  SharedConnectionOptions options = WithCodec(test::IdCodec());
  options.reply_timeout = kSoon;
  Open(options);
  Send(IdMessage(7, "a"), 5);
  bench_->Run([&] { return !client_.unanswered.empty(); });
  EXPECT_EQ(client_.unanswered[0].number, 5u);
  EXPECT_TRUE(client_.unanswered[0].timed_out);
}

TEST_F(RequestStepsTest, NeitherAClientThatLeftNorARequestWithoutANumberHasSteps) {
  Open(WithCodec(test::LineCodec()));
  TestClient gone;
  bench_->Send(gone, "a\n", /*open=*/false, MonotonicTime(), 1);
  Send("b\n", 0);
  ReadAtServer(4);
  bench_->connection().Abandon(&gone);
  Answer("one\ntwo\n");
  EXPECT_THAT(gone.steps, IsEmpty());
  EXPECT_THAT(client_.steps, IsEmpty());
  EXPECT_EQ(client_.replies, "two\n");
}

}  // namespace
}  // namespace trunkline
