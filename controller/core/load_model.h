// What each endpoint of one service can do, estimated from what it did: states and time in,
// smoothed load out.
//
// Utilization alone is a bad guide: a weight that follows idle per cent is a loop whose gain grows
// without bound as the server fills, and it rings. Work over utilization *measures capacity*,
// whatever the weights were, so it hardly minds delay. The model splits that measurement in two: P,
// learned slowly and kept for good (how big the server is), and theta, learned in seconds and
// forgotten on restart (how it does now). docs/weights.md has the derivation and a worked example.
//
// It does not decide a weight, knows no bounds between endpoints and no administrative state except
// that a draining endpoint holds no capacity. More than half of the capacity silent at once says
// more about the controller's network than about the servers: then it freezes everything and says
// so, for a while.
//
// Pure; one object a service; externally synchronized (the control loop). Cannot fail: reports were
// validated before.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "controller/core/endpoint_registry.h"

namespace trunkline {

// The largest of the report's resource shares.
double Utilization(const ReportedLoad& load);

// Work a second in streams: those that ended well, and their bytes at kBytesPerStream a stream. A
// tunnel sees no requests, so long streams count by what they carried. Moving 64 KiB costs about
// the CPU of opening and closing a connection (some tens of microseconds), so neither kind of
// traffic hides the other. Only the ratio between a service's endpoints matters.
constexpr double kBytesPerStream = 64 * 1024;
double Work(const ReportedLoad& load);

enum class CapacitySource { kOperator, kCores, kMedian, kStored };

// The terms of docs/weights.md for one endpoint, as of its last report used.
struct LoadEstimate {
  double utilization = 0;            // u
  double effective_utilization = 0;  // u_eff
  double work = 0;                   // r
  double error_share = 0;            // e/(r+e)
  double expected_utilization = 0;   // r/(P*k)
  double observed = 0;               // obs
  double theta = 0;
  double capacity = 1;  // P
  CapacitySource capacity_source = CapacitySource::kMedian;
};

struct ServiceLoad {
  double work_per_capacity = 0;  // k
  double mean_utilization = 0;   // ubar
  // Set: nothing moves, and why.
  std::string freeze_reason;
  bool frozen() const { return !freeze_reason.empty(); }
};

// An endpoint and the weight that proxies use for it now.
struct WeightedEndpoint {
  const RegisteredEndpoint* endpoint;
  double weight;
};

class LoadModel {
 public:
  // Utilization that is noise; low load falls back to P.
  static constexpr double kNoiseUtilization = 0.03;
  // No single report claims more than 20 times faster or slower.
  static constexpr double kMaxObservation = 2.995732273553991;  // ln 20
  static constexpr double kMaxAlpha = 0.5;
  static constexpr absl::Duration kSmoothing = absl::Seconds(3);
  static constexpr double kDeadband = 0.01;
  // One step: halve at most, rise by a quarter at most.
  static constexpr double kMaxFall = -0.6931471805599453;  // ln 0.5
  static constexpr double kMaxRise = 0.22314355131420976;  // ln 1.25
  // Above this utilization a second moves 1 % of theta into P.
  static constexpr double kLearnAbove = 0.3;
  static constexpr double kLearnPerSecond = 0.01;
  // An error share is believed from this many events on, and for this long.
  static constexpr double kMinErrorEvents = 20;
  static constexpr absl::Duration kErrorMemory = absl::Seconds(30);
  static constexpr absl::Duration kExpiredHalfLife = absl::Seconds(30);
  // Capacity stays within these multiples of the mean, so that a broken sensor cannot drive it to
  // zero.
  static constexpr double kMinCapacity = 0.001;
  static constexpr double kMaxCapacity = 1000;
  // Silent for longer than expiry plus this: the loss is permanent, the rest may move again.
  static constexpr absl::Duration kFreezeAtMost = absl::Minutes(5);
  // The same for endpoints of the state file: agents are back within their reconnect backoff or not
  // at all.
  static constexpr absl::Duration kRestartGrace = absl::Seconds(5);
  // Endpoints that left and may come back; the oldest is forgotten first.
  static constexpr size_t kMaxDeparted = 1024;

  explicit LoadModel(absl::Duration report_interval) : report_interval_(report_interval) {}

  void Restore(const std::string& endpoint_id, double capacity, double theta);
  void RestoreDeparted(const std::string& endpoint_id, double capacity);

  void Tick(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now);

  const ServiceLoad& service() const { return service_; }
  // Of an endpoint of the last Tick.
  const LoadEstimate& estimate(const std::string& endpoint_id) const {
    return entries_.at(endpoint_id).estimate;
  }
  const std::deque<std::pair<std::string, double>>& departed() const { return departed_; }

 private:
  struct Entry {
    LoadEstimate estimate;
    bool learned = false;
    // As last seen; 0: never.
    double cores = 0;
    uint64_t incarnation = 0;
    uint64_t report_serial = 0;
    std::optional<MonotonicTime> report_used_at;
    MonotonicTime decayed_at;
    double events = 0;
    double errors = 0;
    MonotonicTime errors_counted_at;
  };

  void FollowMembership(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now);
  // How much capacity an operator's unit, a core or any endpoint has, as the known ones taught; 0:
  // not known.
  struct CapacityUnits {
    double per_operator_unit = 0;
    double per_core = 0;
    double median = 0;
  };
  CapacityUnits MeasureUnits(const std::vector<WeightedEndpoint>& endpoints) const;
  bool NeedsCapacity(const RegisteredEndpoint& endpoint) const;
  void StartCapacities(const std::vector<WeightedEndpoint>& endpoints);
  // Another limit, or the first true one of a server that started after its agent.
  static void FollowCores(const RegisteredEndpoint& endpoint, Entry& entry);
  static void StartCapacity(const RegisteredEndpoint& endpoint, CapacityUnits& units,
                            LoadEstimate& estimate);
  bool RecallDeparted(const std::string& endpoint_id, LoadEstimate& estimate);
  void MeasureService(const std::vector<WeightedEndpoint>& endpoints);
  void DecideFreeze(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now);
  void UseReport(const RegisteredEndpoint& endpoint, Entry& entry);
  void CountErrors(const ReportedLoad& load, absl::Duration dt, MonotonicTime now, Entry& entry);
  void Observe(absl::Duration dt, Entry& entry);
  void Normalise();

  const absl::Duration report_interval_;
  ServiceLoad service_;
  std::map<std::string, Entry> entries_;
  std::deque<std::pair<std::string, double>> departed_;
};

}  // namespace trunkline
