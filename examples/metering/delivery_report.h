// The outcome of a run: counts and latencies, as a progress line per second, a table at the end,
// and JSON.
//
// Latency counts from the intended send time, so a generator or server that falls behind shows it.
// A reading belongs to the second of its intended time. All latencies are kept (8 bytes per
// reading), so percentiles are exact. Confined to one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace trunkline::metering {

// Why an attempt ended without an acknowledgement.
enum class AttemptFailure {
  kConnect,      // refused, unreachable, no descriptor
  kClosed,       // the connection ended before the answer
  kTimeout,      // no answer in time
  kBusy,         // the server answered BUSY or UNAVAILABLE
  kWrongAnswer,  // the answer is for another reading or another payload
};
inline constexpr int kAttemptFailures = 5;
static_assert(static_cast<int>(AttemptFailure::kWrongAnswer) + 1 == kAttemptFailures);

// In seconds; zeros without latencies.
struct Percentiles {
  double p50 = 0, p99 = 0, p999 = 0, max = 0;
};
// Reorders `latencies`.
Percentiles PercentilesOf(std::vector<double>& latencies);

class DeliveryReport {
 public:
  struct Run {
    uint64_t seed = 0;
    uint64_t collectors = 0;
    double rate = 0;
    bool burst = false;
    absl::Duration slo;
  };
  // Idle connections that collectors keep open beside the connections of their readings.
  struct Held {
    uint64_t wanted = 0, open = 0, reopened = 0;
  };

  explicit DeliveryReport(Run run) : run_(run) {}

  // Every `at` counts from here.
  void Started(absl::Time started) { started_ = started; }
  void Sent(absl::Duration at);
  void Connected() { ++connections_; }
  void Resent() { ++resends_; }
  void Failed(AttemptFailure why) { ++failures_[static_cast<int>(why)]; }
  // The reading was refused for good (CONFLICT or INVALID) and is never acknowledged.
  void Refused() { ++refused_; }
  void Acknowledged(absl::Duration at, absl::Duration latency);
  void SetHeld(Held held) { held_ = held; }

  uint64_t in_flight() const { return sent_ - acknowledged_ - refused_; }
  bool all_acknowledged() const { return acknowledged_ == sent_; }
  uint64_t wrong_answers() const {
    return failures_[static_cast<int>(AttemptFailure::kWrongAnswer)];
  }

  // Its percentiles cover the latencies since the previous line.
  std::string ProgressLine(absl::Duration since_start);
  std::string Table() const;
  std::string Json() const;

 private:
  struct Second {
    uint64_t sent = 0;
    std::vector<double> latencies;
  };
  Second& SecondOf(absl::Duration at);
  uint64_t MissesOf(const Second& second) const;
  uint64_t Misses() const;
  Percentiles Latencies() const;

  const Run run_;
  absl::Time started_;
  std::vector<Second> seconds_;
  std::vector<double> since_last_line_;
  uint64_t sent_ = 0, acknowledged_ = 0, refused_ = 0, connections_ = 0, resends_ = 0;
  uint64_t late_ = 0;
  uint64_t failures_[kAttemptFailures] = {};
  Held held_;
};

}  // namespace trunkline::metering
