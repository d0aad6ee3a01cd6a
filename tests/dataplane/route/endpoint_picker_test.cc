#include "dataplane/route/endpoint_picker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "common/base/balancing_policy.h"
#include "common/base/clock.h"
#include "common/base/random.h"
#include "dataplane/route/least_loaded.h"
#include "dataplane/route/load_estimate.h"
#include "dataplane/table/alias_table.h"
#include "dataplane/table/maglev_table.h"

namespace trunkline {
namespace {

using ::testing::ElementsAre;
using Weights = std::vector<double>;

constexpr int kPicks = 100'000;
// Upper bound of five standard deviations of a share of kPicks independent picks.
constexpr double kTolerance = 5 * 0.5 / 316;

MonotonicTime At(absl::Duration since_start) { return MonotonicTime() + since_start; }

std::shared_ptr<const AliasTable> Table(const Weights& weights) {
  return std::make_shared<AliasTable>(weights);
}

class EndpointPickerTest : public ::testing::Test {
 protected:
  // Starts with endpoints that are all usable.
  void Start(const Weights& weights) {
    const std::vector<size_t> kept(weights.size(), EndpointPicker::kNone);
    picker_.SetEndpoints(kept, Table(weights), At({}));
    for (size_t i = 0; i < weights.size(); ++i) SetUsable(i, true);
  }
  void SetUsable(size_t i, bool usable) {
    states_[i].usable = usable;
    picker_.Set(i, states_[i]);
  }
  void SetFull(size_t i) {
    states_[i] = {.full = true};
    picker_.Set(i, states_[i]);
  }
  void SetEjected(size_t i, bool ejected) {
    states_[i].ejected = ejected;
    picker_.Set(i, states_[i]);
  }
  std::vector<double> Shares(const std::vector<size_t>& excluded = {}) {
    std::vector<double> shares(picker_.size(), 0);
    for (int i = 0; i < kPicks; ++i) {
      const size_t picked = picker_.Pick(random_, excluded);
      if (picked != EndpointPicker::kNone) shares[picked] += 1.0 / kPicks;
    }
    return shares;
  }
  void ExpectShares(const std::vector<double>& expected) {
    const std::vector<double> shares = Shares();
    ASSERT_EQ(shares.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(shares[i], expected[i], kTolerance) << "endpoint " << i;
    }
  }

  // Returns true if the least loaded of all endpoints gets each of the next flows.
  bool ComparesAll() {
    constexpr int kFewPicks = 16;
    std::set<size_t> picked;
    for (int i = 0; i < kFewPicks; ++i) picked.insert(picker_.Pick(random_));
    return picked.size() == 1;
  }

  EndpointPicker picker_;
  std::map<size_t, EndpointPicker::State> states_;
  FastRandom random_{1};
};

TEST_F(EndpointPickerTest, NewEndpointGetsNothingUntilItIsUsable) {
  picker_.SetEndpoints(std::vector<size_t>(2, EndpointPicker::kNone), Table({1, 1}), At({}));
  EXPECT_FALSE(picker_.HasCandidate());
  EXPECT_EQ(picker_.Pick(random_), EndpointPicker::kNone);
  SetUsable(1, true);
  EXPECT_TRUE(picker_.HasCandidate());
  ExpectShares({0, 1});
}

TEST_F(EndpointPickerTest, RemainingEndpointsKeepTheirProportions) {
  Start({4, 2, 1, 1});
  SetUsable(1, false);  // three quarters are left, so draws are rejected
  ExpectShares({4 / 6.0, 0, 1 / 6.0, 1 / 6.0});
  SetUsable(0, false);  // a quarter is left, so the picker builds another table
  ExpectShares({0, 0, 0.5, 0.5});
  SetUsable(1, true);  // the restricted table lacks this endpoint
  ExpectShares({0, 0.5, 0.25, 0.25});
  SetUsable(0, true);
  ExpectShares({0.5, 0.25, 0.125, 0.125});
}

TEST_F(EndpointPickerTest, EjectedEndpointIsPickedOnlyWhileNoOtherIsUsable) {
  Start({1, 1, 2});
  SetEjected(2, true);
  ExpectShares({0.5, 0.5, 0});
  SetUsable(0, false);
  SetUsable(1, false);
  EXPECT_TRUE(picker_.HasCandidate());
  EXPECT_FALSE(picker_.HasHealthy());
  ExpectShares({0, 0, 1});
  SetUsable(0, true);
  ExpectShares({1, 0, 0});
  SetEjected(2, false);
  ExpectShares({1 / 3.0, 0, 2 / 3.0});
}

TEST_F(EndpointPickerTest, EjectedEndpointIsNotPickedWhileAHealthyOneIsExcluded) {
  Start({1, 1, 2, 4});
  SetEjected(3, true);
  EXPECT_NEAR(Shares({0})[2], 2 / 3.0, kTolerance);
  EXPECT_EQ(picker_.Pick(random_, std::vector<size_t>{0, 1, 2}), EndpointPicker::kNone);
  EXPECT_FALSE(picker_.IsCandidate(3));
  for (size_t i = 0; i < 3; ++i) SetEjected(i, true);
  EXPECT_EQ(picker_.Pick(random_, std::vector<size_t>{0, 1, 2}), 3u) << "none is healthy";
  EXPECT_TRUE(picker_.IsCandidate(3));
}

TEST_F(EndpointPickerTest, EjectedEndpointIsNotPickedWhileAHealthyOneIsFull) {
  Start({1, 1});
  SetEjected(0, true);
  SetFull(1);
  EXPECT_TRUE(picker_.HasHealthy());
  EXPECT_FALSE(picker_.HasCandidate());
  EXPECT_EQ(picker_.Pick(random_), EndpointPicker::kNone);
  SetEjected(1, true);
  ExpectShares({1, 0});
  SetEjected(0, false);
  SetEjected(1, false);
  ExpectShares({1, 0});
}

TEST_F(EndpointPickerTest, NewWeightsTakeEffectAndKeepTheEndpointsState) {
  Start({1, 1, 1});
  SetUsable(0, false);
  SetEjected(1, true);
  picker_.SetWeights(Table({5, 5, 1}), At(absl::Seconds(1)));
  ExpectShares({0, 0, 1});
  EXPECT_TRUE(picker_.ejected(1));
  picker_.SetWeights(Table({5, 5, 0}), At(absl::Seconds(2)));
  ExpectShares({0, 1, 0});
  picker_.SetWeights(Table({0, 0, 0}), At(absl::Seconds(3)));
  EXPECT_FALSE(picker_.HasCandidate());
}

TEST_F(EndpointPickerTest, EndpointsThatStayKeepTheirStateUnderANewIndex) {
  Start({1, 1, 1});
  SetUsable(2, false);
  picker_.AddOwn(0, 7);
  // The second endpoint leaves and a new one comes first.
  picker_.SetEndpoints(std::vector<size_t>{EndpointPicker::kNone, 0, 2}, Table({1, 1, 1}), At({}));
  ExpectShares({0, 1, 0});
  SetUsable(0, true);
  EXPECT_GT(Shares()[0], 0.7) << "the other one has 7 flows";
}

TEST_F(EndpointPickerTest, LoadOfTheWorkersOwnFlowsCounts) {
  Start({1, 1});
  picker_.AddOwn(0, 5);
  ExpectShares({0.25, 0.75});
  picker_.AddOwn(0, -5);
  ExpectShares({0.5, 0.5});
}

TEST_F(EndpointPickerTest, FewEndpointsAreAllCompared) {
  Start({1, 1, 1, 1});
  for (size_t i = 0; i < 3; ++i) picker_.AddOwn(i, 5);
  EXPECT_TRUE(ComparesAll());
}

TEST_F(EndpointPickerTest, ManyEndpointsAreDrawn) {
  Start(Weights(LeastLoaded::kMostEndpoints + 1, 1));
  for (size_t i = 0; i < LeastLoaded::kMostEndpoints; ++i) picker_.AddOwn(i, 5);
  EXPECT_FALSE(ComparesAll());
}

// Workers that see the same reports and all compare would all send to the same endpoint.
TEST_F(EndpointPickerTest, WorkersThatSendASmallPartOfTheTrafficDraw) {
  Start({1, 1, 1, 1});
  for (size_t i = 0; i < 3; ++i) picker_.AddOwn(i, 1);
  picker_.AddOwn(3, 2);
  for (int i = 0; i < 300; ++i) {
    for (size_t j = 0; j < 3; ++j) picker_.OnReport(j, {.active = 40}, At({}));
    picker_.OnReport(3, {.active = 10}, At({}));
  }
  EXPECT_FALSE(ComparesAll());
}

TEST(EndpointPickerWorkersTest, ManyWorkersOfOneProxyDraw) {
  for (const size_t workers : {4, 5}) {
    EndpointPicker picker(workers);
    picker.SetEndpoints(std::vector<size_t>(4, EndpointPicker::kNone), Table({1, 1, 1, 1}), At({}));
    for (size_t i = 0; i < 4; ++i) {
      picker.Set(i, {.usable = true});
      picker.AddOwn(i, i == 0 ? 1 : 2);
    }
    FastRandom random(1);
    std::set<size_t> picked;
    for (int i = 0; i < 16; ++i) picked.insert(picker.Pick(random));
    EXPECT_EQ(picked.size() == 1, workers == 4);
  }
}

TEST_F(EndpointPickerTest, RoundRobinTakesTurnsAmongCandidatesWhateverTheirLoad) {
  Start({1, 1, 1});
  picker_.SetPolicy(BalancingPolicy::kRoundRobin, nullptr);
  picker_.AddOwn(0, 50);
  ExpectShares({1 / 3.0, 1 / 3.0, 1 / 3.0});
  SetUsable(1, false);
  ExpectShares({0.5, 0, 0.5});
  SetEjected(2, true);
  ExpectShares({1, 0, 0});
}

TEST_F(EndpointPickerTest, StaticTakesTurnsInProportionToNewWeights) {
  Start({1, 1});
  picker_.SetPolicy(BalancingPolicy::kStatic, nullptr);
  ExpectShares({0.5, 0.5});
  picker_.SetWeights(Table({3, 1}), At({}));
  picker_.AddOwn(0, 50);
  ExpectShares({0.75, 0.25});
}

TEST_F(EndpointPickerTest, RandomDrawsByWeightWhateverTheLoad) {
  Start({3, 1});
  picker_.SetPolicy(BalancingPolicy::kRandom, nullptr);
  picker_.AddOwn(0, 50);
  ExpectShares({0.75, 0.25});
}

TEST_F(EndpointPickerTest, LeastTimePrefersTheFasterOfEquallyLoadedEndpoints) {
  Start({1, 1, 1});
  picker_.SetPolicy(BalancingPolicy::kLeastTime, nullptr);
  EXPECT_FALSE(ComparesAll()) << "no answer is known";
  for (size_t i = 0; i < 3; ++i) {
    picker_.OnAnswer(i, absl::Milliseconds(i == 1 ? 1 : 5), At(absl::Seconds(1)));
  }
  EXPECT_EQ(picker_.Pick(random_), 1u);
  EXPECT_TRUE(ComparesAll());
}

TEST_F(EndpointPickerTest, LeastTimeWeighsTimeAgainstLoad) {
  Start({1, 1});
  picker_.SetPolicy(BalancingPolicy::kLeastTime, nullptr);
  picker_.OnAnswer(0, absl::Milliseconds(1), At(absl::Seconds(1)));
  picker_.OnAnswer(1, absl::Milliseconds(5), At(absl::Seconds(1)));
  picker_.AddOwn(0, 3);
  EXPECT_EQ(picker_.Pick(random_), 0u) << "4 * 1 ms against 5 ms";
  picker_.AddOwn(0, 2);
  EXPECT_EQ(picker_.Pick(random_), 1u) << "6 * 1 ms against 5 ms";
}

TEST_F(EndpointPickerTest, OtherPoliciesIgnoreAnswerTimes) {
  Start({1, 1});
  picker_.OnAnswer(0, absl::Milliseconds(1), At(absl::Seconds(1)));
  picker_.OnAnswer(1, absl::Milliseconds(500), At(absl::Seconds(1)));
  ExpectShares({0.5, 0.5});
}

TEST_F(EndpointPickerTest, MaglevSendsAClientToItsEndpointWhileThatIsACandidate) {
  Start({1, 1, 1});
  const std::vector<std::string_view> ids = {"a", "b", "c"};
  picker_.SetPolicy(BalancingPolicy::kMaglev,
                    std::make_shared<MaglevTable>(ids, std::vector<double>{1, 1, 1}));
  picker_.AddOwn(0, 50);
  for (uint64_t client = 0; client < 1000; ++client) {
    const size_t home = picker_.Pick(random_, {}, client);
    EXPECT_EQ(picker_.Pick(random_, {}, client), home);
    SetUsable(home, false);
    const size_t other = picker_.Pick(random_, {}, client);
    EXPECT_NE(other, home);
    EXPECT_EQ(picker_.Pick(random_, {}, client), other) << "all its flows go to the same one";
    SetUsable((home + 1) % 3, false);
    SetUsable((home + 2) % 3, false);
    EXPECT_EQ(picker_.Pick(random_, {}, client), EndpointPicker::kNone);
    for (size_t i = 0; i < 3; ++i) SetUsable(i, true);
    EXPECT_EQ(picker_.Pick(random_, {}, client), home);
  }
}

TEST_F(EndpointPickerTest, MaglevExcludesEndpointsThatTheFlowHasTried) {
  Start({1, 1});
  const std::vector<std::string_view> ids = {"a", "b"};
  picker_.SetPolicy(BalancingPolicy::kMaglev,
                    std::make_shared<MaglevTable>(ids, std::vector<double>{1, 1}));
  const size_t home = picker_.Pick(random_, {}, 7);
  EXPECT_EQ(picker_.Pick(random_, std::vector<size_t>{home}, 7), 1 - home);
}

TEST_F(EndpointPickerTest, ReportsCountUntilTheyAreDropped) {
  Start({1, 1});
  picker_.OnReport(0, {.active = 40}, At({}));
  ExpectShares({0.25, 0.75});
  picker_.ForgetReport(0);
  ExpectShares({0.5, 0.5});
}

// Its report and its utilization are older than the end of the flows.
TEST_F(EndpointPickerTest, BusyServerWhoseFlowsHaveEndedIsPickedAtOnce) {
  Start({1, 1, 1});
  picker_.AddOwn(0, 8);
  picker_.OnReport(0, {.active = 9, .utilization = 990}, At(absl::Seconds(1)));
  picker_.OnReport(1, {.active = 6, .utilization = 100}, At(absl::Seconds(1)));
  picker_.OnReport(2, {.active = 7, .utilization = 100}, At(absl::Seconds(2)));
  EXPECT_EQ(picker_.Pick(random_), 1u);
  picker_.AddOwn(0, -8);
  EXPECT_EQ(picker_.Pick(random_), 0u);
}

TEST_F(EndpointPickerTest, OldReportsAreDroppedAndTheNextDueTimeIsReturned) {
  Start({1, 1, 1});
  picker_.OnReport(0, {.active = 40}, At({}));
  picker_.OnReport(2, {.active = 40}, At(absl::Seconds(2)));
  std::vector<size_t> forgotten;
  const auto note = [&](size_t i) { forgotten.push_back(i); };
  EXPECT_EQ(picker_.ForgetOld(At(absl::Seconds(4)), note), At(LoadEstimate::kFreshFor));
  EXPECT_THAT(forgotten, ElementsAre());
  EXPECT_EQ(picker_.ForgetOld(At(absl::Seconds(5)), note),
            At(absl::Seconds(2) + LoadEstimate::kFreshFor));
  EXPECT_THAT(forgotten, ElementsAre(0));
  EXPECT_EQ(picker_.ForgetOld(At(absl::Seconds(8)), note), MonotonicTime::Infinite());
  EXPECT_THAT(forgotten, ElementsAre(0, 2));
}

// In a table of thousands most endpoints leave and return one by one. A pick must find exactly the
// usable ones.
TEST_F(EndpointPickerTest, ManyEndpointsThatComeAndGoAreNeverPickedWhileGone) {
  constexpr size_t kEndpoints = 2'000;
  Start(Weights(kEndpoints, 1));
  std::set<size_t> usable;
  for (size_t i = 0; i < kEndpoints; ++i) usable.insert(i);
  FastRandom random(7);
  for (int step = 0; step < 20'000; ++step) {
    const size_t i = random.Next() % kEndpoints;
    const bool up = random.Uniform() < (step / 5'000 % 2 == 0 ? 0.1 : 0.9);
    SetUsable(i, up);
    up ? static_cast<void>(usable.insert(i)) : static_cast<void>(usable.erase(i));
    if (step % 10 != 0) continue;
    const size_t picked = picker_.Pick(random_);
    ASSERT_EQ(picked != EndpointPicker::kNone, !usable.empty());
    if (picked != EndpointPicker::kNone) {
      ASSERT_TRUE(usable.contains(picked)) << "step " << step;
    }
  }
}

}  // namespace
}  // namespace trunkline
