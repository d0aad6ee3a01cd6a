#include "controller/core/traffic_window.h"

#include <algorithm>
#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "controller/core/load_report.h"
#include "controller/core/proxy_table.h"

namespace trunkline {

int64_t TrafficWindow::BucketAt(MonotonicTime time) {
  return time.nanos() / absl::ToInt64Nanoseconds(kBucket);
}

void TrafficWindow::AddTo(Sums& sums, const Sums& part, double share) {
  sums.served += share * part.served;
  sums.errors += share * part.errors;
  sums.unanswered += share * part.unanswered;
  sums.bytes += share * part.bytes;
  sums.flow_seconds += share * part.flow_seconds;
  sums.answered += share * part.answered;
  sums.wait_seconds += share * part.wait_seconds;
}

void TrafficWindow::Ring::Advance(int64_t number) {
  for (int64_t i = std::max(newest + 1, number - kBuckets + 1); i <= number; ++i) at(i) = {};
  newest = std::max(newest, number);
}

void TrafficWindow::Add(const ProxyTraffic& traffic, MonotonicTime now) {
  reported_at_ = now;
  const absl::Duration covered =
      std::clamp(absl::Seconds(traffic.seconds), kBucket, absl::Duration(absl::Hours(1)));
  const MonotonicTime from = now - covered;
  const int64_t last = BucketAt(now);
  const int64_t first = std::max(BucketAt(from), last - kBuckets + 1);
  for (const ProxyTraffic::Endpoint& endpoint : traffic.endpoints) {
    const double served = static_cast<double>(endpoint.served);
    const double wait = endpoint.first_byte ? absl::ToDoubleSeconds(*endpoint.first_byte) : 0;
    const Sums part = {.served = served,
                       .errors = static_cast<double>(endpoint.errors),
                       .unanswered = static_cast<double>(endpoint.unanswered),
                       .bytes = static_cast<double>(endpoint.bytes),
                       .flow_seconds = endpoint.load * absl::ToDoubleSeconds(covered),
                       .answered = endpoint.first_byte ? served : 0,
                       .wait_seconds = served * wait};
    Ring& ring = endpoints_[endpoint.key];
    ring.Advance(last);
    for (int64_t number = first; number <= last; ++number) {
      const MonotonicTime begin =
          MonotonicTime::FromNanos(number * absl::ToInt64Nanoseconds(kBucket));
      const absl::Duration overlap = std::min(now, begin + kBucket) - std::max(from, begin);
      if (overlap > absl::ZeroDuration()) {
        AddTo(ring.at(number), part, absl::FDivDuration(overlap, covered));
      }
    }
  }
}

EndpointTraffic TrafficWindow::Measure(const EndpointKey& key, MonotonicTime now) const {
  EndpointTraffic traffic;
  const auto found = endpoints_.find(key);
  if (found == endpoints_.end()) return traffic;
  const Ring& ring = found->second;
  const int64_t last = BucketAt(now) - kLeftOut - 1;
  const int64_t oldest_kept = ring.newest - kBuckets + 1;
  Sums sums;
  for (int64_t number = std::max(last - kMeasured + 1, oldest_kept);
       number <= std::min(last, ring.newest); ++number) {
    AddTo(sums, ring.at(number), 1);
  }
  const double seconds = absl::ToDoubleSeconds(kMeasured * kBucket);
  traffic.served_per_second = sums.served / seconds;
  traffic.errors_per_second = sums.errors / seconds;
  traffic.unanswered_per_second = sums.unanswered / seconds;
  traffic.bytes_per_second = sums.bytes / seconds;
  traffic.in_flight = sums.flow_seconds / seconds;
  traffic.answers = sums.answered;
  if (sums.answered > 0) traffic.first_byte = absl::Seconds(sums.wait_seconds / sums.answered);
  return traffic;
}

void TrafficWindow::Sweep(MonotonicTime now) {
  const int64_t last = BucketAt(now);
  absl::erase_if(endpoints_,
                 [&](const auto& entry) { return entry.second.newest + kBuckets <= last; });
}

}  // namespace trunkline
