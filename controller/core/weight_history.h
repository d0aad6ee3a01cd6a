// Keeps the last hour of each endpoint's weight and load, one point every half minute, so that an
// operator can see what happened before they looked, also without Prometheus.
//
// A number takes two bytes, on a logarithmic scale that is exact to 0.04 %: an endpoint takes 1 kB.
// A gap in the record, such as a time in which the endpoint was gone or its load unknown, is kept
// as unknown. The history is in memory only: it survives a reload of the configuration, and not a
// restart.
//
// Pure: takes `now`, reads no clock. Externally synchronized. Has no errors.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "controller/core/control_core.h"
#include "controller/core/load_report.h"

namespace trunkline {

// Each value is unset if it was unknown at that moment.
struct HistoryPoint {
  // The published weight.
  std::optional<double> weight;
  std::optional<double> utilization;
  // Share of flows or requests that failed, 0 to 1.
  std::optional<double> error_share;
  // Mean time until an answer began.
  std::optional<double> wait_seconds;
};

class WeightHistory {
 public:
  static constexpr absl::Duration kStep = absl::Seconds(30);
  static constexpr size_t kPoints = 120;

  // Adds a point for each endpoint of `view` if kStep has passed since the last one, and between
  // two points the first one of endpoints that came. Forgets endpoints that have been gone for as
  // long as the history is.
  void Record(const ControllerView& view, MonotonicTime now);

  // Time since the newest point; unset before the first.
  std::optional<absl::Duration> Age(MonotonicTime now) const;
  // Points of one endpoint, oldest first; the last one is the newest. Begins with the endpoint's
  // first, so it may be shorter than kPoints; empty for an unknown endpoint.
  std::vector<HistoryPoint> PointsOf(const EndpointKey& key) const;
  // The endpoints with at least one point, after `key`, in order; all of them without a key. The
  // pointers are valid until the next Record.
  std::vector<const EndpointKey*> EndpointsAfter(const std::optional<EndpointKey>& key) const;

 private:
  // On a logarithmic scale; 0 if unknown.
  using Packed = uint16_t;
  struct Sample {
    Packed weight = 0;
    Packed utilization = 0;
    Packed error_share = 0;
    Packed wait_seconds = 0;
  };
  struct Series {
    std::array<Sample, kPoints> samples;
    // Numbers of its first and last points.
    int64_t first = 0;
    int64_t last = 0;
  };

  static Packed Pack(std::optional<double> value);
  static std::optional<double> Unpack(Packed packed);
  static Sample Take(const EndpointReason& reason);
  void Add(const EndpointReason& reason);
  void AddNew(const ControllerView& view);
  void DropGone();

  std::map<EndpointKey, Series> series_;
  // Number of the newest point, and its time; unset before the first.
  int64_t newest_ = 0;
  std::optional<MonotonicTime> recorded_at_;
  // Endpoints of the last view that was recorded.
  size_t seen_ = 0;
};

}  // namespace trunkline
