// The opening of a shared connection: no request is sent before the server has answered it, and no
// client gets the answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/redis.h"
#include "dataplane/codec/redis_introduction.h"
#include "dataplane/message/shared_connection.h"
#include "dataplane/table/message_service.h"
#include "tests/dataplane/message/connection_bench.h"

namespace trunkline {
namespace {

using test::ConnectionBench;
using test::TestClient;
using OpeningEnd = SharedConnection::OpeningEnd;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kHello = "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n";
const std::string kAccepted = "%1\r\n$5\r\nproto\r\n:3\r\n";

SharedConnectionOptions Resp3(std::optional<RedisCredential> credential = std::nullopt) {
  return {
      .codec = std::shared_ptr<const Codec>(NewRedisCodec({.credential = std::move(credential)})),
      .variant = kResp3,
      .connect_timeout = absl::Seconds(20)};
}

class SharedConnectionOpeningTest : public ::testing::Test {
 protected:
  // Dials, and reads the opening at the server.
  void Dial() {
    bench_.Dial();
    bench_.Run([&] { return bench_.server.UnreadBytes() == kHello.size(); });
    EXPECT_EQ(bench_.server.Read(kHello.size()), kHello);
  }
  void Answer(const std::string& bytes) { EXPECT_TRUE(bench_.server.Send(bytes)); }

  ConnectionBench bench_{Resp3()};
  TestClient client_;
};

TEST_F(SharedConnectionOpeningTest, RequestsFollowItsReply) {
  bench_.Dial();
  bench_.Send(client_, "GET a\r\n");
  bench_.Run([&] { return bench_.server.UnreadBytes() >= kHello.size(); });
  EXPECT_EQ(bench_.server.Read(kHello.size()), kHello);
  Answer(kAccepted.substr(0, 9));
  for (int i = 0; i < 5; ++i) bench_.RunOnce();
  EXPECT_EQ(bench_.server.UnreadBytes(), 0u) << "a request before the end of the reply";
  EXPECT_FALSE(bench_.connection().up());
  Answer(kAccepted.substr(9));
  bench_.Run([&] { return bench_.server.UnreadBytes() > 0; });
  EXPECT_EQ(bench_.server.Read(7), "GET a\r\n");
  Answer("_\r\n");
  bench_.Run([&] { return client_.completed == 1; });
  EXPECT_EQ(client_.replies, "_\r\n");
  EXPECT_EQ(bench_.ups, 1);
}

TEST_F(SharedConnectionOpeningTest, RefusalReturnsTheRequestsUnwritten) {
  Dial();
  bench_.Send(client_, "GET a\r\n");
  Answer("-ERR unknown command `HELLO`\r\n");
  bench_.RunUntilClosed();
  EXPECT_TRUE(bench_.never_up());
  EXPECT_EQ(bench_.connection().opening_end(), OpeningEnd::kLacking);
  EXPECT_THAT(std::string(bench_.why().message()), HasSubstr("unknown command `HELLO`"));
  ASSERT_EQ(client_.unanswered.size(), 1u);
  EXPECT_EQ(client_.unanswered[0].request, "GET a\r\n");
  EXPECT_FALSE(client_.unanswered[0].written);
  EXPECT_EQ(client_.replies, "");
}

// As of a server at its limit of clients.
TEST_F(SharedConnectionOpeningTest, OtherErrorsSayNothingAboutTheVariant) {
  Dial();
  Answer("-ERR max number of clients reached\r\n");
  bench_.RunUntilClosed();
  EXPECT_EQ(bench_.connection().opening_end(), OpeningEnd::kRefused);
  EXPECT_THAT(std::string(bench_.why().message()), HasSubstr("max number of clients reached"));
}

TEST_F(SharedConnectionOpeningTest, BytesBeforeItAreUnaskedAndInTheReasonOfTheEnd) {
  bench_.Dial();
  bench_.Send(client_, "GET a\r\n");
  Answer("-ERR max number of clients reached\r\n");
  bench_.RunUntilClosed();
  EXPECT_THAT(std::string(bench_.why().message()),
              HasSubstr("which begin with \"-ERR max number of clients reached\\r\\n\""));
  EXPECT_TRUE(bench_.never_up());
  EXPECT_EQ(bench_.connection().opening_end(), OpeningEnd::kRefused);
  EXPECT_EQ(bench_.unasked, 1);
  EXPECT_EQ(client_.replies, "");
  EXPECT_EQ(client_.unanswered.size(), 1u);
}

TEST_F(SharedConnectionOpeningTest, BytesBehindItsReplyAreUnasked) {
  Dial();
  bench_.Send(client_, "GET a\r\n");
  Answer(kAccepted + "+stale\r\n");
  bench_.RunUntilClosed();
  EXPECT_EQ(bench_.unasked, 1);
  EXPECT_EQ(client_.replies, "") << "another reply for the client's";
}

TEST_F(SharedConnectionOpeningTest, BytesThatAreNoReplyCloseIt) {
  Dial();
  bench_.Send(client_, "GET a\r\n");
  Answer("220 ready\r\n");
  bench_.RunUntilClosed();
  EXPECT_TRUE(bench_.never_up());
  EXPECT_EQ(bench_.connection().opening_end(), OpeningEnd::kRefused);
  EXPECT_THAT(std::string(bench_.why().message()), HasSubstr("no reply of redis"));
  EXPECT_EQ(client_.replies, "");
}

TEST_F(SharedConnectionOpeningTest, ServerThatLeavesDuringItWasNeverUp) {
  Dial();
  bench_.Send(client_, "GET a\r\n");
  bench_.server.Close();
  bench_.RunUntilClosed();
  EXPECT_TRUE(bench_.never_up());
  EXPECT_EQ(bench_.connection().opening_end(), OpeningEnd::kRefused);
  EXPECT_THAT(std::string(bench_.why().message()), HasSubstr("before it answered the opening"));
  EXPECT_EQ(client_.unanswered.size(), 1u);
}

TEST(SharedConnectionOpeningTimeoutTest, ConnectTimeoutIncludesItsReply) {
  SharedConnectionOptions options = Resp3();
  options.connect_timeout = absl::Milliseconds(200);
  ConnectionBench bench(options);
  bench.Dial();
  bench.RunUntilClosed();
  EXPECT_TRUE(bench.never_up());
  EXPECT_EQ(bench.connection().opening_end(), OpeningEnd::kRefused);
  EXPECT_THAT(std::string(bench.why().message()), HasSubstr("no answer to the opening"));
}

// Redis 5 repeats the arguments of a command that it does not know.
TEST(SharedConnectionOpeningSecretTest, CredentialIsNotInTheReasonOfTheEnd) {
  ConnectionBench bench(Resp3(RedisCredential{.user = "app", .password = "secret"}));
  bench.Dial();
  bench.Run([&] { return bench.server.UnreadBytes() > 0; });
  EXPECT_THAT(bench.server.Read(bench.server.UnreadBytes()), HasSubstr("secret"));
  EXPECT_TRUE(bench.server.Send("-ERR unknown command `HELLO`, with args: `3`, `secret`\r\n"));
  bench.RunUntilClosed();
  EXPECT_THAT(std::string(bench.why().message()), HasSubstr("ERR"));
  EXPECT_THAT(std::string(bench.why().message()), Not(HasSubstr("secret")));
}

}  // namespace
}  // namespace trunkline
