#include "dataplane/route/answer_times.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {
namespace {

constexpr absl::Duration kFast = absl::Milliseconds(1);
constexpr absl::Duration kSlow = absl::Milliseconds(9);

class AnswerTimesTest : public ::testing::Test {
 protected:
  void Start(size_t count) { times_.SetEndpoints(std::vector<size_t>(count, SIZE_MAX)); }
  // Endpoint i answers 100 times per second for `duration`.
  void Answer(size_t i, absl::Duration time, absl::Duration duration) {
    for (const MonotonicTime end = now_ + duration; now_ < end;
         now_ = now_ + absl::Milliseconds(10)) {
      times_.OnAnswer(i, time, now_);
      times_.Drift(now_);
    }
  }

  AnswerTimes times_;
  MonotonicTime now_ = MonotonicTime() + absl::Seconds(100);
};

TEST_F(AnswerTimesTest, EndpointsWithoutAnswersAreEqual) {
  Start(2);
  EXPECT_EQ(times_.Seconds(0), times_.Seconds(1));
  EXPECT_GT(times_.Seconds(0), 0);
}

TEST_F(AnswerTimesTest, FirstAnswerCountsWhole) {
  Start(2);
  times_.OnAnswer(0, kSlow, now_);
  EXPECT_DOUBLE_EQ(times_.Seconds(0), 0.009);
}

TEST_F(AnswerTimesTest, MeanFollowsAChangeWithinSeconds) {
  Start(1);
  Answer(0, kFast, absl::Seconds(5));
  EXPECT_NEAR(times_.Seconds(0), 0.001, 1e-6);
  Answer(0, kSlow, absl::Seconds(1));
  EXPECT_NEAR(times_.Seconds(0), 0.0060, 0.0002);
  Answer(0, kSlow, absl::Seconds(4));
  EXPECT_NEAR(times_.Seconds(0), 0.009, 0.0001);
}

TEST_F(AnswerTimesTest, NewEndpointHasTheMeanOfAll) {
  Start(3);
  Answer(0, kFast, absl::Seconds(1));
  Answer(1, kSlow, absl::Seconds(1));
  EXPECT_NEAR(times_.Seconds(2), 0.005, 0.0005);
}

// An endpoint that was slow gets no flows, and would never show that it has recovered.
TEST_F(AnswerTimesTest, EndpointWithoutAnswersDriftsToTheMeanOfAll) {
  Start(3);
  Answer(0, kSlow, absl::Seconds(1));
  for (int i = 0; i < 30; ++i) {
    Answer(1, kFast, absl::Seconds(1));
    Answer(2, kFast, absl::Seconds(1));
  }
  EXPECT_NEAR(times_.Seconds(0), 0.001, 0.0005);
  EXPECT_NEAR(times_.Seconds(1), 0.001, 1e-6) << "those with answers keep their own";
}

TEST_F(AnswerTimesTest, EndpointsThatStayKeepTheirTimesUnderANewIndex) {
  Start(2);
  Answer(1, kSlow, absl::Seconds(1));
  times_.SetEndpoints(std::vector<size_t>{SIZE_MAX, SIZE_MAX, 1});
  EXPECT_NEAR(times_.Seconds(2), 0.009, 1e-6);
}

}  // namespace
}  // namespace trunkline
