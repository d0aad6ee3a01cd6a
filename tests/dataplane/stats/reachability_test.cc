#include "dataplane/stats/reachability.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {
namespace {

const uint64_t kHere = Reachability::KeyOf("10.0.0.1:80");
const uint64_t kElsewhere = Reachability::KeyOf("10.0.0.2:80");
const MonotonicTime kNow = MonotonicTime() + absl::Seconds(100);

TEST(ReachabilityTest, FailureIsNewsToOneWorker) {
  Reachability endpoint;
  EXPECT_FALSE(endpoint.IsFailing(kHere));
  EXPECT_TRUE(endpoint.SetFailing(kHere));
  EXPECT_FALSE(endpoint.SetFailing(kHere));
  EXPECT_TRUE(endpoint.IsFailing(kHere));
  EXPECT_TRUE(endpoint.SetReachable(kHere));
  EXPECT_FALSE(endpoint.SetReachable(kHere));
  EXPECT_FALSE(endpoint.IsFailing(kHere));
}

TEST(ReachabilityTest, EndpointThatMovedIsNotFailing) {
  Reachability endpoint;
  endpoint.SetFailing(kHere);
  EXPECT_FALSE(endpoint.IsFailing(kElsewhere));
  EXPECT_FALSE(endpoint.SetReachable(kElsewhere));
  EXPECT_TRUE(endpoint.IsFailing(kHere)) << "a connect to another address proves nothing";
}

TEST(ReachabilityTest, OneWorkerProbesInEachInterval) {
  Reachability endpoint;
  EXPECT_TRUE(endpoint.ClaimProbe(kNow, absl::Seconds(1)));
  EXPECT_FALSE(endpoint.ClaimProbe(kNow, absl::Seconds(1)));
  EXPECT_FALSE(endpoint.ClaimProbe(kNow + absl::Milliseconds(999), absl::Seconds(1)));
  EXPECT_TRUE(endpoint.ClaimProbe(kNow + absl::Seconds(1), absl::Seconds(1)));
}

}  // namespace
}  // namespace trunkline
