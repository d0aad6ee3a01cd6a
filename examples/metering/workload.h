// The quarter-hour: when ten thousand energy collectors send what.
//
// Every collector has one reading for each period. Meters keep the same clock, so 80 % of a
// period's readings come in its first tenth, an eightfold burst; the others are spread over the
// rest. Each fourth period closes an hour and its payloads are twice as large. In each period 1 %
// of the collectors come back from an outage and send the 20 readings that they could not send (on
// top of the mean rate). Payloads: 60 % 14-200 B, 30 % 200-1024 B, 9 % 1-4 kB, and 1 % are uploads
// of 16 kB. The steady variant sends the same sizes at Poisson times, without periods and outages:
// it is for measuring balance, where a burst would hide it.
//
// Pure: a seed makes the workload, every process and run the same. Confined to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "examples/metering/metering.pb.h"
#include "examples/metering/random_bits.h"

namespace trunkline::metering {

struct PlannedReading {
  // Since the start of the workload.
  absl::Duration at;
  uint64_t meter_id = 0;
  uint64_t sequence = 0;
  Reading::Kind kind = Reading::PERIODIC;
  uint32_t payload_bytes = 0;
};

class Workload {
 public:
  struct Options {
    // Meters 1 .. collectors.
    uint64_t collectors = 10'000;
    // Mean readings a second, outages apart; a period lasts collectors / rate.
    double rate = 10'000.0 / 30;
    bool burst = true;
    uint64_t seed = 1;
    // Of every meter: what it sent in an earlier run must not come again.
    uint64_t first_sequence = 1;
  };

  explicit Workload(Options options);

  // Endless, in the order of `at`.
  PlannedReading Next();

 private:
  void PlanPeriod();
  void PlanCollector(uint64_t meter, absl::Duration begin);
  PlannedReading Plan(uint64_t meter, absl::Duration at, Reading::Kind kind);

  const Options options_;
  const absl::Duration period_;
  SeededRandom random_;
  std::vector<uint64_t> next_sequence_;  // by meter
  // Burst: the period being sent, from next_ on; an outage's readings may reach into the next one.
  std::vector<PlannedReading> planned_;
  size_t next_ = 0;
  int64_t periods_ = 0;
  // Steady: the time of the last one.
  absl::Duration clock_;
};

// The message, payload included; the same at every call for the same plan, so that a resend needs
// no memory.
Reading MakeReading(const PlannedReading& plan, uint64_t seed, absl::Time started);

}  // namespace trunkline::metering
