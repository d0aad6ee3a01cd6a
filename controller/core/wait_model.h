// Tells which endpoints of a service make their clients wait more than the others do.
//
// How long a server takes says little: one is in another zone, one has slower disks. How much
// longer it takes than it does when it has nothing else to do says that work queues there. So the
// model keeps each endpoint's shortest wait of the last minutes as its baseline, and compares the
// ratio of wait to baseline with the service's median. Requests that become longer for all move the
// median with them.
//
// It is the second witness of a server's load beside its agent: it needs no agent, and an agent
// that reads a wrong control group cannot deceive it. The idea of a baseline delay is that of TCP
// Vegas (Brakmo and Peterson, 1995).
//
// Pure; one object per service; externally synchronized (by the control loop). Has no errors.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "controller/core/endpoint_table.h"
#include "controller/core/weighted_endpoint.h"

namespace trunkline {

class WaitModel {
 public:
  // A measurement needs this many answers, and a comparison this many endpoints.
  static constexpr double kMinAnswers = 10;
  static constexpr size_t kMinEndpoints = 2;
  // Shorter waits count as this long: below it, queues do not matter.
  static constexpr absl::Duration kShortest = absl::Milliseconds(1);
  // Bounds of ratios to the median: up to kFaster, clients wait clearly less than elsewhere; above
  // kSlower longer, above kSlow much longer.
  static constexpr double kFaster = 0.8;
  static constexpr double kSlower = 1.25;
  static constexpr double kSlow = 2;
  static_assert(kFaster < 1 && 1 < kSlower && kSlower < kSlow);
  // Faster compares waits that are smoothed over this time: a weight may rise late, but not by
  // chance.
  static constexpr absl::Duration kSmoothing = absl::Seconds(10);
  // The baseline is the shortest wait of this time and the time before it, so an endpoint that
  // became slower for good is compared with itself again after that.
  static constexpr absl::Duration kBaselineAge = absl::Minutes(10);

  void Tick(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now);

  // Returns how much more the endpoint's wait has grown than the service's median, but no more than
  // it exceeds the median wait: 1 for one that does as the others do. An endpoint that was nearly
  // idle for a while has a shorter baseline than they have. Unset if that is unknown.
  std::optional<double> Excess(const std::string& endpoint_id) const;
  // The same for the endpoint at this position of the last Tick.
  std::optional<double> ExcessAt(size_t position) const { return ExcessOf(entries_[position]); }
  // Returns true if clients of the endpoint wait less than those of the others, or their wait has
  // grown less: more traffic there does no harm. Unset if that is unknown.
  std::optional<bool> Faster(const std::string& endpoint_id) const;
  std::optional<bool> FasterAt(size_t position) const { return FasterOf(entries_[position]); }

 private:
  struct Entry {
    // The shortest waits of this period and the one before it.
    std::optional<absl::Duration> shortest;
    std::optional<absl::Duration> shortest_before;
    MonotonicTime period_began_at;
    std::optional<absl::Duration> wait;
    std::optional<absl::Duration> smooth_wait;
    MonotonicTime measured_at;
    std::optional<double> growth;  // wait over baseline
  };

  static void Measure(const EndpointTraffic& traffic, MonotonicTime now, Entry& entry);
  static void Smooth(MonotonicTime now, Entry& entry);
  std::optional<double> ExcessOf(const Entry& entry) const;
  std::optional<bool> FasterOf(const Entry& entry) const;
  static std::optional<double> SmoothGrowth(const Entry& entry);
  static std::optional<absl::Duration> BaselineOf(const Entry& entry);

  EndpointTable<Entry> entries_;
  // Medians; of two middle waits the upper and the lower one.
  std::optional<double> median_growth_;
  std::optional<double> smooth_growth_;       // of smoothed waits
  std::optional<absl::Duration> upper_wait_;  // of smoothed waits
  std::optional<absl::Duration> lower_wait_;
};

}  // namespace trunkline
