#include "dataplane/flow/request_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "common/base/clock.h"

namespace trunkline {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using End = RequestRecord::End;
using Phase = RequestRecord::Phase;

MonotonicTime At(int64_t nanos) { return MonotonicTime::FromNanos(nanos); }

class RequestRecordsTest : public ::testing::Test {
 protected:
  // A request whose reply has these places among the client's bytes.
  uint32_t AddEnded(uint64_t begin, uint64_t end, End how = End::kDone) {
    const uint32_t number = records_.Add({});
    RequestRecord& request = *records_.Find(number);
    request.OnReplyBegins(At(1), begin);
    request.OnEnded(how, end);
    return number;
  }
  std::vector<RequestRecord> TakeEnded(uint64_t taken) {
    std::vector<RequestRecord> all;
    records_.TakeEnded(taken, [&](const RequestRecord& one) { all.push_back(one); });
    return all;
  }
  std::vector<RequestRecord> TakeAll(uint64_t taken, uint64_t local_reply_bytes = 0) {
    std::vector<RequestRecord> all;
    records_.TakeAll(taken, local_reply_bytes,
                     [&](const RequestRecord& one) { all.push_back(one); });
    return all;
  }

  RequestRecords records_;
};

TEST_F(RequestRecordsTest, RequestIsOverOnceTheClientHasTheLastByteOfItsReply) {
  const uint32_t first = AddEnded(0, 10);
  const uint32_t second = AddEnded(10, 30);
  EXPECT_THAT(TakeEnded(9), IsEmpty());
  const std::vector<RequestRecord> over = TakeEnded(29);
  ASSERT_EQ(over.size(), 1u);
  EXPECT_EQ(over[0].number, first);
  EXPECT_EQ(over[0].to_client_bytes, 10u);
  ASSERT_EQ(TakeEnded(30).size(), 1u);
  EXPECT_EQ(records_.Find(first), nullptr);
  EXPECT_EQ(records_.Find(second), nullptr);
}

TEST_F(RequestRecordsTest, OpenRequestStaysBehindOneThatIsOver) {
  const uint32_t open = records_.Add({});
  AddEnded(0, 10);
  EXPECT_EQ(TakeEnded(10).size(), 1u);
  EXPECT_NE(records_.Find(open), nullptr);
}

TEST_F(RequestRecordsTest, ReplyThatTheClientDidNotTakeIsIncomplete) {
  AddEnded(0, 10);
  AddEnded(10, 30);
  AddEnded(30, 50);
  const std::vector<RequestRecord> all = TakeAll(20);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].end, End::kDone);
  EXPECT_EQ(all[0].to_client_bytes, 10u);
  EXPECT_EQ(all[1].end, End::kOpen);
  EXPECT_EQ(all[1].to_client_bytes, 10u);
  EXPECT_EQ(all[2].end, End::kOpen);
  EXPECT_EQ(all[2].to_client_bytes, 0u);
  EXPECT_THAT(TakeAll(20), IsEmpty());
}

TEST_F(RequestRecordsTest, ReplyThatHasOnlyBegunCountsWithTheBytesThatWereTaken) {
  const uint32_t number = records_.Add({});
  records_.Find(number)->OnReplyBegins(At(1), 100);
  records_.Add({});
  const std::vector<RequestRecord> all = TakeAll(107);
  EXPECT_EQ(all[0].to_client_bytes, 7u);
  EXPECT_EQ(all[1].to_client_bytes, 0u);
}

TEST_F(RequestRecordsTest, LocalReplyAnswersTheOldestRequest) {
  records_.Add({});
  records_.Add({});
  const std::vector<RequestRecord> all = TakeAll(100, /*local_reply_bytes=*/17);
  EXPECT_EQ(all[0].to_client_bytes, 17u);
  EXPECT_EQ(all[1].to_client_bytes, 0u);
}

TEST_F(RequestRecordsTest, TimeoutStaysOneIfItsClientDoesNotTakeTheError) {
  AddEnded(0, 9, End::kTimeout);
  EXPECT_EQ(TakeAll(0)[0].end, End::kTimeout);
}

TEST_F(RequestRecordsTest, SendingItAgainIsARetryAndKeepsTheFirstTime) {
  RequestRecord request = {.arrived_at = At(1)};
  request.OnSent(At(2), nullptr);
  request.timed_out = true;
  request.phase = Phase::kQueue;
  request.OnSent(At(3), nullptr);
  EXPECT_EQ(request.retries, 1u);
  EXPECT_EQ(request.sent_at, At(2));
  EXPECT_EQ(request.phase, Phase::kData);
  EXPECT_FALSE(request.timed_out) << "its next reply may be in time";
}

TEST_F(RequestRecordsTest, NewestRequestIsTheOneThatIsBeingSent) {
  const uint32_t number = records_.Add({});
  EXPECT_EQ(records_.newest()->number, number);
  AddEnded(0, 0);
  TakeEnded(0);
  EXPECT_EQ(records_.newest(), nullptr) << "it has left";
  EXPECT_EQ(records_.Find(0), nullptr);
}

}  // namespace
}  // namespace trunkline
