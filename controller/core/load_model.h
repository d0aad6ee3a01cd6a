// Estimates the capacity of each endpoint of one service from its reported work and utilization.
//
// A weight that follows idle CPU is a control loop whose gain grows without bound as the server
// fills, so it oscillates. Work over utilization instead measures capacity, whatever the weights
// were, and tolerates delay. The model splits the measurement into P, the size of the server, which
// it learns slowly and keeps, and theta, the correction for current load, which it learns within
// seconds and drops on a restart. docs/weights.md has the derivation and a worked example.
//
// The model decides no weights and compares no bounds. If more than half of a service's capacity
// stops reporting at once, the controller's network is a likelier cause than the servers, so the
// model freezes all estimates for a limited time.
//
// Pure; one object per service; externally synchronized (by the control loop). Has no errors,
// because its input is validated.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/endpoint_table.h"
#include "controller/core/wait_model.h"
#include "controller/core/weighted_endpoint.h"

namespace trunkline {

// Returns the largest utilization among the report's resources.
double Utilization(const ReportedLoad& load);

// Returns the work per second in streams: streams that ended well, plus bytes at kBytesPerStream.
// A tunnel sees no requests, so long streams count by their bytes. Moving 64 KiB costs about as
// much CPU time as opening and closing a connection (some tens of microseconds), so neither kind of
// traffic hides the other. Only the ratio between a service's endpoints matters.
constexpr double kBytesPerStream = 64 * 1024;
double Work(const ReportedLoad& load);
double Work(const EndpointTraffic& traffic);

enum class CapacitySource { kOperator, kCores, kMedian, kStored };

// The terms of docs/weights.md for one endpoint, as of the last report that the model used.
struct EndpointEstimate {
  double utilization = 0;            // u
  double effective_utilization = 0;  // u_eff
  double work = 0;                   // r
  // The proxies' view, from which r and e are; unset if they are from the agent.
  std::optional<EndpointTraffic> traffic;
  std::optional<double> excess_wait;  // of WaitModel
  std::optional<bool> faster;
  double error_share = 0;           // e/(r+e)
  double expected_utilization = 0;  // r/(P*k)
  double observed = 0;              // obs
  double theta = 0;
  double capacity = 1;  // P
  CapacitySource capacity_source = CapacitySource::kMedian;
  // P was measured under load; else it is the figure that it began with.
  bool learned = false;
  // Clearly hotter than the service's median, or slower than usual by more than the others: the
  // endpoint gains no share.
  bool hot = false;
  bool slower = false;
  // Its agent has reported next to no utilization for kSuspectAfter, although proxies see it do
  // work that costs others much: the agent measures something else, or the server waits.
  bool suspect = false;
};

// Returns a sentence for the operator about a suspect endpoint.
std::string DescribeSuspect(const EndpointEstimate& load);

struct ServiceLoad {
  double work_per_capacity = 0;   // k
  double mean_utilization = 0;    // ubar
  double median_utilization = 0;  // half of the weight is at endpoints that are not hotter
  // Why the estimates are frozen; empty if they are not.
  std::string freeze_reason;
  bool frozen() const { return !freeze_reason.empty(); }
};

class LoadModel {
 public:
  // Added to utilizations, so that the noise of an idle server does not move theta.
  static constexpr double kNoiseUtilization = 0.03;
  // Bounds one observation to 20 times faster or slower.
  static constexpr double kMaxObservation = 2.995732273553991;  // ln 20
  // A long wait lowers theta no further: the weight is at its floor, and the way back would be
  // long.
  static constexpr double kLowest = -3.912023005428146;  // ln WeightLimiter::kFloor
  static constexpr double kMaxAlpha = 0.5;
  static constexpr absl::Duration kSmoothing = absl::Seconds(3);
  static constexpr double kDeadband = 0.01;
  // One step at most halves the weight or raises it by a quarter.
  static constexpr double kMaxFall = -0.6931471805599453;  // ln 0.5
  static constexpr double kMaxRise = 0.22314355131420976;  // ln 1.25
  // An endpoint whose utilization is above the median by more may not gain share.
  static constexpr double kHotMargin = 0.1;
  // A contradiction: work that would utilize the endpoint this much by what it costs elsewhere, and
  // less than this part of it reported.
  static constexpr double kSuspectFrom = 0.2;
  static constexpr double kSuspectPart = 0.1;
  static constexpr absl::Duration kSuspectAfter = absl::Seconds(10);
  // Medians need this many endpoints: of two, none can outvote the other.
  static constexpr size_t kMinForMedian = 3;
  // After clients had to wait much longer at an endpoint, its weight rises at most this much per
  // second for kRecovery. If they have to wait again in that time, it was the weight that was too
  // much, and the next rise is slow, or the endpoint would be drowned again and again.
  static constexpr double kRecoveryRise = 0.2;
  static constexpr double kSlowRecoveryRise = 0.01;
  static constexpr absl::Duration kRecovery = absl::Minutes(5);
  // An endpoint has recovered once clients have waited as elsewhere for this long.
  static constexpr absl::Duration kRecovered = absl::Seconds(10);
  // Above this utilization, 1 % of theta moves into P per second.
  static constexpr double kLearnAbove = 0.3;
  static constexpr double kLearnPerSecond = 0.01;
  // A smaller theta is noise, which must not add up in P.
  static constexpr double kLearnFrom = 0.05;
  // An error share needs this many events, and expires after kErrorMemory.
  static constexpr double kMinErrorEvents = 20;
  static constexpr absl::Duration kErrorMemory = absl::Seconds(30);
  static constexpr absl::Duration kExpiredHalfLife = absl::Seconds(30);
  // Bounds on capacity relative to the mean, so that a broken sensor cannot drive it to zero.
  static constexpr double kMinCapacity = 0.001;
  static constexpr double kMaxCapacity = 1000;
  // An endpoint that is silent for this long after expiry counts as lost, which ends the freeze.
  static constexpr absl::Duration kFreezeAtMost = absl::Minutes(5);
  // The same for endpoints whose agents are not connected although the network is not to blame:
  // those of the state file after a restart, and those whose agents closed their streams. They
  // return within their reconnect backoff or not at all.
  static constexpr absl::Duration kReturnGrace = absl::Seconds(5);
  // Endpoints that left and may return; the model forgets the oldest first.
  static constexpr size_t kMaxDeparted = 1024;

  explicit LoadModel(absl::Duration report_interval) : report_interval_(report_interval) {}

  void Restore(const std::string& endpoint_id, double capacity, double theta, bool learned);
  void RestoreDeparted(const std::string& endpoint_id, double capacity);

  void Tick(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now);

  const ServiceLoad& service() const { return service_; }
  // The estimate of the endpoint at this position of the last Tick.
  const EndpointEstimate& estimate_at(size_t position) const { return entries_[position].estimate; }
  // The endpoint must have been in the last Tick.
  const EndpointEstimate& estimate(const std::string& endpoint_id) const {
    return entries_.Find(endpoint_id)->estimate;
  }
  const std::deque<std::pair<std::string, double>>& departed() const { return departed_; }

 private:
  // Rates of one endpoint, of all proxies if they carry the service's traffic.
  struct Outcomes {
    double successes = 0;
    double errors = 0;
  };
  struct Entry {
    // The estimate has a capacity.
    bool started = false;
    EndpointEstimate estimate;
    Outcomes outcomes;
    std::optional<MonotonicTime> contradicted_since;
    std::optional<MonotonicTime> slow_at;     // excess_wait was last above WaitModel::kSlow
    std::optional<MonotonicTime> well_since;  // ... and below it since then
    bool relapsed = false;                    // it was again, within kRecovery
    // The last reported cores; 0 before the first report of them.
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
  // Median capacity per unit of an operator's figure, per core and per endpoint, over the known
  // endpoints; 0 if unknown.
  struct CapacityUnits {
    double per_operator_unit = 0;
    double per_core = 0;
    double median = 0;
  };
  CapacityUnits MeasureUnits(const std::vector<WeightedEndpoint>& endpoints) const;
  static bool NeedsCapacity(const Entry& entry);
  void StartCapacities(const std::vector<WeightedEndpoint>& endpoints);
  // Scales the capacity when the cores change, or when a server that started after its agent first
  // reports them.
  static void FollowCores(const RegisteredEndpoint& endpoint, Entry& entry);
  static void StartCapacity(const RegisteredEndpoint& endpoint, CapacityUnits& units,
                            EndpointEstimate& estimate);
  bool RecallDeparted(const std::string& endpoint_id, EndpointEstimate& estimate);
  void MeasureService(const std::vector<WeightedEndpoint>& endpoints);
  void DecideFreeze(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now);
  void UseReport(const RegisteredEndpoint& endpoint, Entry& entry);
  static void CountErrors(absl::Duration dt, MonotonicTime now, Entry& entry);
  void MeasureTraffic(const std::vector<WeightedEndpoint>& endpoints);
  void Judge(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now);
  void Suspect(bool has_signal, MonotonicTime now, Entry& entry) const;
  void Observe(absl::Duration dt, MonotonicTime now, Entry& entry);
  static void Agree(MonotonicTime now, Entry& entry);
  static void NoteWait(MonotonicTime now, Entry& entry);
  static double MaxRise(absl::Duration dt, const Entry& entry);
  void Normalise();

  const absl::Duration report_interval_;
  ServiceLoad service_;
  WaitModel waits_;
  EndpointTable<Entry> entries_;  // of the last Tick
  std::deque<std::pair<std::string, double>> departed_;
};

}  // namespace trunkline
