// A server that greets each connection behind a service without `greeting`. A greeting that comes
// after the first request cannot be told from its reply, so replies shift to the next request; the
// shift ends with the first reply that no request waits for, and the log names the option.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "dataplane/codec/delimiter.h"
#include "tests/common/eventually.h"
#include "tests/common/log_capture.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline {
namespace {

using test::Eventually;
using test::ExpectCarried;
using test::Peer;

constexpr int kQuestions = 5;  // of each client
const std::string kGreeting = "220 ready\r\n";

std::string Question(char client, int i) { return absl::StrCat("ask ", client - 'a', i, "\r\n"); }
std::string AnswerTo(const std::string& question) { return "to " + question; }

class UnconfiguredGreetingTest : public test::ExchangeTest {
 protected:
  void SetUp() override {
    Start({.codec = NewDelimiterCodec({.delimiter = "\r\n"}).value()});
    a_ = Connect();
    b_ = Connect();
  }
  // The workers log until then.
  void TearDown() override { exchange_.reset(); }

  // The server sends `answer`, which is not the one that `client` waits for.
  void AnswerWrongly(Peer& server, Peer& client, const std::string& answer) {
    ExpectCarried(server, client, answer);
    ++wrong_;
  }
  // The server sends a reply for which no client waits; the proxy closes the connection, and only
  // that.
  void ExpectShiftEnds(Peer& server, const std::string& answer) {
    const uint64_t before = exchange_->cell(0).unasked.Value();
    ASSERT_TRUE(server.Send(answer));
    server.ReadToEnd();
    EXPECT_TRUE(Eventually([&] { return exchange_->cell(0).unasked.Value() == before + 1; }));
    EXPECT_EQ(exchange_->clients(), 2);
    EXPECT_TRUE(Eventually([&] {
      return log_.Count("if it greets each connection, set message.greeting: one_message") > 0;
    }));
  }

  test::LogCapture log_;
  Peer a_;
  Peer b_;
  int wrong_ = 0;
};

TEST_F(UnconfiguredGreetingTest, ClientsThatAskInTurnGetTheGreetingAndNoReplyOfEachOther) {
  for (int i = 0; i < kQuestions; ++i) {
    for (auto [client, name] : {std::pair(&a_, 'a'), std::pair(&b_, 'b')}) {
      const std::string question = Question(name, i);
      Peer server = AcceptFor(*client, question);
      AnswerWrongly(server, *client, kGreeting);
      ExpectShiftEnds(server, AnswerTo(question));
    }
  }
  EXPECT_EQ(wrong_, 2 * kQuestions) << "one on each connection";
}

TEST_F(UnconfiguredGreetingTest, EachConnectionGivesAsManyWrongAnswersAsRequestsAreInFlight) {
  for (int i = 0; i < kQuestions; ++i) {
    Peer server = AcceptFor(a_, Question('a', i));
    ExpectCarried(b_, server, Question('b', i));
    AnswerWrongly(server, a_, kGreeting);
    AnswerWrongly(server, b_, AnswerTo(Question('a', i)));
    ExpectShiftEnds(server, AnswerTo(Question('b', i)));
  }
  EXPECT_EQ(wrong_, 2 * kQuestions) << "two on each connection";
}

// The worst case: the server answers each question only after the next one is here.
TEST_F(UnconfiguredGreetingTest, ShiftLastsAsLongAsAnotherRequestWaits) {
  Peer server = AcceptFor(a_, Question('a', 0));
  std::string late = kGreeting;
  for (int i = 0; i < kQuestions; ++i) {
    if (i > 0) ExpectCarried(a_, server, Question('a', i));
    AnswerWrongly(server, a_, std::exchange(late, AnswerTo(Question('a', i))));
    ExpectCarried(b_, server, Question('b', i));
    AnswerWrongly(server, b_, std::exchange(late, AnswerTo(Question('b', i))));
  }
  EXPECT_FALSE(local_.Knocked(0)) << "all of it on one connection";
  ExpectShiftEnds(server, late);
  EXPECT_EQ(wrong_, 2 * kQuestions) << "one for each question, and none after the first pause";
}

}  // namespace
}  // namespace trunkline
