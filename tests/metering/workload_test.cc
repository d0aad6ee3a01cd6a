#include "examples/metering/workload.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "examples/metering/metering.pb.h"

namespace trunkline::metering {
namespace {

constexpr uint64_t kCollectors = 10'000;
constexpr double kPeriodSeconds = 30;

// Every test draws and prints a new seed. Tolerances are at least five standard deviations of the
// draws that they bound, so about one run in a million fails by chance.
class WorkloadTest : public testing::Test {
 protected:
  WorkloadTest() : seed_(std::random_device()()) { RecordProperty("seed", std::to_string(seed_)); }
  void SetUp() override { printf("seed %lu\n", seed_); }

  Workload::Options Options(bool burst) const {
    return {.collectors = kCollectors,
            .rate = static_cast<double>(kCollectors) / kPeriodSeconds,
            .burst = burst,
            .seed = seed_};
  }
  std::vector<PlannedReading> PlanFor(bool burst, double seconds) const {
    Workload workload(Options(burst));
    std::vector<PlannedReading> all;
    for (auto reading = workload.Next(); reading.at < absl::Seconds(seconds);
         reading = workload.Next()) {
      all.push_back(reading);
    }
    return all;
  }

  const uint64_t seed_;
};

bool IsBackfill(const PlannedReading& reading) { return reading.kind == Reading::BACKFILL; }

TEST_F(WorkloadTest, FourFifthsOfAPeriodComeInItsFirstTenth) {
  int early = 0, all = 0;
  // Uploads of a backlog look like other uploads, so only the first reading of each meter counts.
  std::set<uint64_t> seen;
  for (const PlannedReading& reading : PlanFor(true, kPeriodSeconds)) {
    if (!seen.insert(reading.meter_id).second) continue;
    ++all;
    if (reading.at < absl::Seconds(kPeriodSeconds / 10)) ++early;
  }
  EXPECT_EQ(all, kCollectors) << "every collector sends in every period";
  EXPECT_NEAR(early, 8000, 250);  // sigma = sqrt(10000 * 0.8 * 0.2) = 40
}

TEST_F(WorkloadTest, SizesFollowTheMix) {
  int small = 0, medium = 0, large = 0, uploads = 0, all = 0;
  for (const PlannedReading& reading : PlanFor(false, 10 * kPeriodSeconds)) {
    ++all;
    ASSERT_GE(reading.payload_bytes, 14u);
    if (reading.payload_bytes < 200) {
      ++small;
    } else if (reading.payload_bytes < 1024) {
      ++medium;
    } else if (reading.payload_bytes <= 4096) {
      ++large;
    } else {
      ++uploads;
      EXPECT_EQ(reading.payload_bytes, 16u * 1024);
      EXPECT_EQ(reading.kind, Reading::UPLOAD);
    }
  }
  EXPECT_NEAR(all, 100'000, 2000);  // sigma = sqrt(100000) = 316
  // Sigma of a share is at most sqrt(0.6 * 0.4 / 100000) = 0.0016; 1/187 of the smallest class
  // draws exactly 200 B.
  EXPECT_NEAR(small / static_cast<double>(all), 0.60, 0.012);
  EXPECT_NEAR(medium / static_cast<double>(all), 0.30, 0.012);
  EXPECT_NEAR(large / static_cast<double>(all), 0.09, 0.006);
  EXPECT_NEAR(uploads / static_cast<double>(all), 0.01, 0.002);
}

TEST_F(WorkloadTest, OneCollectorInAHundredSendsTwentyMoreAfterAnOutage) {
  const std::vector<PlannedReading> readings = PlanFor(true, 4 * kPeriodSeconds);
  std::map<uint64_t, int> by_meter;
  std::map<uint64_t, absl::Duration> last;
  for (const PlannedReading& reading : readings) {
    ++by_meter[reading.meter_id];
    last[reading.meter_id] = reading.at;
  }
  // A backlog takes 200 ms, so the end of the plan truncates one that begins just before it.
  const absl::Duration cut = absl::Seconds(4 * kPeriodSeconds) - absl::Milliseconds(200);
  int outages = 0;
  for (const auto& [meter, count] : by_meter) {
    if (last[meter] < cut) {
      EXPECT_EQ((count - 4) % 20, 0) << "meter " << meter;
    }
    outages += (count - 4 + 19) / 20;
  }
  EXPECT_NEAR(outages, 400, 105);  // sigma = sqrt(40000 * 0.01) = 20
}

TEST_F(WorkloadTest, EachFourthPeriodHasTwiceTheSize) {
  std::map<int, double> bytes;
  std::map<int, int> count;
  for (const PlannedReading& reading : PlanFor(true, 8 * kPeriodSeconds)) {
    if (IsBackfill(reading)) continue;
    const int period = static_cast<int>(absl::ToDoubleSeconds(reading.at) / kPeriodSeconds);
    bytes[period] += reading.payload_bytes;
    ++count[period];
  }
  // The mean payload is 0.6 * 107 + 0.3 * 612 + 0.09 * 2560 + 0.01 * 16384 = 642 B with sigma 1800
  // B: a period's mean of 10,000 has sigma 18 B.
  for (int period = 0; period < 8; ++period) {
    const double expected = period % 4 == 3 ? 2 * 642 : 642;
    EXPECT_NEAR(bytes[period] / count[period], expected, expected * 0.2) << "period " << period;
  }
}

TEST_F(WorkloadTest, ReadingsAreOrderedByTimeAndKeysAreUnique) {
  for (const bool burst : {true, false}) {
    std::set<std::pair<uint64_t, uint64_t>> keys;
    absl::Duration last;
    for (const PlannedReading& reading : PlanFor(burst, 3 * kPeriodSeconds)) {
      EXPECT_GE(reading.at, last);
      last = reading.at;
      EXPECT_TRUE(keys.insert({reading.meter_id, reading.sequence}).second);
      EXPECT_GE(reading.meter_id, 1u);
      EXPECT_LE(reading.meter_id, kCollectors);
    }
  }
}

TEST_F(WorkloadTest, SteadyArrivalsHaveNoBurst) {
  int by_tenth[10] = {};
  for (const PlannedReading& reading : PlanFor(false, kPeriodSeconds)) {
    ++by_tenth[static_cast<int>(absl::ToDoubleSeconds(reading.at) / (kPeriodSeconds / 10))];
  }
  for (const int count : by_tenth) EXPECT_NEAR(count, 1000, 180);  // sigma = sqrt(1000) = 32
}

TEST_F(WorkloadTest, OnlyEqualSeedsMakeEqualWorkloads) {
  Workload first(Options(true)), again(Options(true));
  Workload::Options other = Options(true);
  other.seed = seed_ + 1;
  Workload different(other);
  int differences = 0;
  for (int i = 0; i < 1000; ++i) {
    const PlannedReading a = first.Next(), b = again.Next(), c = different.Next();
    EXPECT_EQ(a.at, b.at);
    EXPECT_EQ(a.meter_id, b.meter_id);
    EXPECT_EQ(a.payload_bytes, b.payload_bytes);
    if (a.at != c.at) ++differences;
  }
  EXPECT_GT(differences, 900);
}

TEST_F(WorkloadTest, ResendHasTheSameBytes) {
  Workload workload(Options(false));
  const PlannedReading plan = workload.Next();
  PlannedReading next_of_meter = plan;
  ++next_of_meter.sequence;
  const absl::Time started = absl::FromUnixSeconds(1'700'000'000);
  const Reading sent = MakeReading(plan, seed_, started);
  EXPECT_EQ(sent.payload().size(), plan.payload_bytes);
  EXPECT_EQ(sent.payload(), MakeReading(plan, seed_, started).payload());
  EXPECT_NE(sent.payload(), MakeReading(next_of_meter, seed_, started).payload());
}

}  // namespace
}  // namespace trunkline::metering
