// The thresholds of the memory budget, their hysteresis, and the choice of clients to reset.
#include "dataplane/memory/memory_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>

#include "absl/time/time.h"

namespace trunkline {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kBudget = 1000;

MemoryLevel After(std::initializer_list<int64_t> readings) {
  MemoryLevel level;
  for (const int64_t used : readings) {
    level.OnReading({.used_bytes = used, .budget_bytes = kBudget});
  }
  return level;
}

TEST(MemoryLevelTest, NothingIsStoppedBeforeTheFirstReading) {
  EXPECT_TRUE(After({}).windows_may_grow());
  EXPECT_TRUE(After({}).takes_clients());
  EXPECT_EQ(After({}).bytes_to_shed(), 0);
}

TEST(MemoryLevelTest, WindowsStopAtEightyPercentAndGrowAgainBelowSeventyFive) {
  EXPECT_TRUE(After({799}).windows_may_grow());
  EXPECT_FALSE(After({800}).windows_may_grow());
  EXPECT_FALSE(After({800, 750}).windows_may_grow());
  EXPECT_TRUE(After({800, 749}).windows_may_grow());
  EXPECT_TRUE(After({800, 749, 799}).windows_may_grow());
}

TEST(MemoryLevelTest, ClientsAreShedFromNinetyFivePercentUntilItIsBelowNinety) {
  EXPECT_EQ(After({949}).bytes_to_shed(), 0);
  EXPECT_EQ(After({950}).bytes_to_shed(), 50);
  EXPECT_EQ(After({1200}).bytes_to_shed(), 300);
  EXPECT_EQ(After({950, 920}).bytes_to_shed(), 20);
  EXPECT_EQ(After({950, 900}).bytes_to_shed(), 1) << "one more byte brings it below";
  EXPECT_EQ(After({950, 899}).bytes_to_shed(), 0);
  EXPECT_EQ(After({950, 899, 949}).bytes_to_shed(), 0) << "not again before 95 %";
}

TEST(MemoryLevelTest, NoClientIsAcceptedFromNinetyEightPercentUntilItIsBelowNinetyFive) {
  EXPECT_TRUE(After({979}).takes_clients());
  EXPECT_FALSE(After({980}).takes_clients());
  EXPECT_FALSE(After({980, 950}).takes_clients());
  EXPECT_TRUE(After({980, 949}).takes_clients());
  EXPECT_TRUE(After({980, 949, 979}).takes_clients());
}

TEST(MemoryLevelTest, ReadersAreSparedWhileClientsAreAccepted) {
  EXPECT_FALSE(After({979}).urgent());
  EXPECT_TRUE(After({980}).urgent());
  EXPECT_FALSE(After({980, 949}).urgent());
}

TEST(MemoryLevelTest, HeadroomEndsWhereResetsBegin) {
  EXPECT_EQ(After({100}).headroom_bytes(), 850);
  EXPECT_EQ(After({960}).headroom_bytes(), 0);
}

const absl::Duration kLong = 10 * kStalledAfter;
const absl::Duration kShort = kStalledAfter / 10;

TEST(ChooseToShedTest, LargestGoFirstAndNoMoreThanIsNeeded) {
  const Holding holdings[] = {{10'000, kLong}, {40'000, kLong}, {20'000, kLong}, {30'000, kLong}};
  EXPECT_THAT(ChooseToShed(holdings, 1, false), ElementsAre(1));
  EXPECT_THAT(ChooseToShed(holdings, 40'000, false), ElementsAre(1));
  EXPECT_THAT(ChooseToShed(holdings, 40'001, false), ElementsAre(1, 3));
  EXPECT_THAT(ChooseToShed(holdings, 1'000'000, false), ElementsAre(1, 3, 2, 0));
  EXPECT_THAT(ChooseToShed(holdings, 0, false), IsEmpty());
}

TEST(ChooseToShedTest, ClientThatReadsIsSparedHoweverMuchIsBuffered) {
  const Holding holdings[] = {{900'000, kShort}, {10'000, kStalledAfter}};
  EXPECT_THAT(ChooseToShed(holdings, 500'000, false), ElementsAre(1));
}

TEST(ChooseToShedTest, UrgentSheddingResetsReadersAfterAllStalledClients) {
  const Holding holdings[] = {{900'000, kShort}, {10'000, kLong}, {800'000, kShort}};
  EXPECT_THAT(ChooseToShed(holdings, 10'000, true), ElementsAre(1));
  EXPECT_THAT(ChooseToShed(holdings, 1'000'000, true), ElementsAre(1, 0, 2));
}

TEST(ChooseToShedTest, ReadersAreSparedIfAllBufferedBytesAreTooFew) {
  const Holding holdings[] = {{900'000, kShort}, {10'000, kLong}, {800'000, kShort}};
  EXPECT_THAT(ChooseToShed(holdings, 1'710'001, true), ElementsAre(1));
}

TEST(ChooseToShedTest, EqualClientsAreResetByAgeThenByIndex) {
  const Holding holdings[] = {{10'000, kLong}, {10'000, 2 * kLong}, {10'000, kLong}};
  EXPECT_THAT(ChooseToShed(holdings, 30'000, false), ElementsAre(1, 0, 2));
}

TEST(ChooseToShedTest, ClientWithLessThanAPageIsNeverReset) {
  const Holding holdings[] = {{kLeastShedBytes - 1, kLong}, {0, kLong}, {kLeastShedBytes, kLong}};
  EXPECT_THAT(ChooseToShed(holdings, 1, true), ElementsAre(2));
}

}  // namespace
}  // namespace trunkline
