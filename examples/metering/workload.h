// The quarter-hour: the readings of ten thousand energy collectors and their send times.
//
// Every collector has one reading per period. The meters share a clock, so 80 % of a period's
// readings come in its first tenth, an eightfold burst; the others are spread over the rest. Each
// fourth period closes an hour and doubles its payloads. In each period 1 % of the collectors
// return from an outage and send the 20 readings that they missed (on top of the mean rate).
// Payloads: 60 % have 14-200 B, 30 % 200-1024 B, 9 % 1-4 kB, and 1 % are uploads of 16 kB. The
// steady variant sends the same sizes at Poisson times, without periods and outages, to measure
// balance that a burst would hide.
//
// Pure: a seed gives the same workload in every process. Confined to one thread.
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
    // Mean readings per second without outages; a period lasts collectors / rate.
    double rate = 10'000.0 / 30;
    bool burst = true;
    uint64_t seed = 1;
    // The first sequence of every meter; runs on one database must not overlap.
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
  // Burst: the current period, from next_ on; an outage's readings may extend into the next.
  std::vector<PlannedReading> planned_;
  size_t next_ = 0;
  int64_t periods_ = 0;
  // Steady: the time of the last reading.
  absl::Duration clock_;
};

// The message with its payload. Equal plans give equal messages, so resends need no stored copy.
Reading MakeReading(const PlannedReading& plan, uint64_t seed, absl::Time started);

}  // namespace trunkline::metering
