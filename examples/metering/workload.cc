#include "examples/metering/workload.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/time/time.h"
#include "examples/metering/frame.h"
#include "examples/metering/metering.pb.h"
#include "examples/metering/random_bits.h"

namespace trunkline::metering {
namespace {

constexpr double kBurstShare = 0.8;
constexpr double kBurstLength = 0.1;  // of a period
constexpr int64_t kPeriodsPerHour = 4;
constexpr double kOutageShare = 0.01;
constexpr int kOutageReadings = 20;
// A collector sends its backlog as a sequence, not at once.
constexpr absl::Duration kOutageSpacing = absl::Milliseconds(10);

struct SizeClass {
  double share;
  uint32_t min_bytes;
  uint32_t max_bytes;
};
constexpr SizeClass kSizes[] = {{0.60, 14, 200}, {0.30, 200, 1024}, {0.09, 1024, 4096}};
constexpr uint32_t kUploadBytes = 16 * 1024;  // the remaining 1 %
constexpr uint32_t kHourFactor = 2;           // on payloads of the period that closes an hour
static_assert(2 * kHourFactor * kUploadBytes <= kMaxMessageBytes);

}  // namespace

Workload::Workload(Options options)
    : options_(options),
      period_(absl::Seconds(static_cast<double>(options.collectors) / options.rate)),
      random_(Mix(options.seed)),
      next_sequence_(options.collectors + 1, options.first_sequence) {}

PlannedReading Workload::Next() {
  if (!options_.burst) {
    clock_ += absl::Seconds(random_.Exponential() / options_.rate);
    return Plan(random_.Between(1, options_.collectors), clock_, Reading::PERIODIC);
  }
  // A reading is final once no period still to be planned can contain an earlier one.
  while (next_ == planned_.size() || planned_[next_].at >= period_ * periods_) PlanPeriod();
  return planned_[next_++];
}

void Workload::PlanPeriod() {
  planned_.erase(planned_.begin(), planned_.begin() + static_cast<ptrdiff_t>(next_));
  next_ = 0;
  const absl::Duration begin = period_ * periods_;
  for (uint64_t meter = 1; meter <= options_.collectors; ++meter) PlanCollector(meter, begin);
  ++periods_;
  std::stable_sort(planned_.begin(), planned_.end(),
                   [](const PlannedReading& a, const PlannedReading& b) { return a.at < b.at; });
}

void Workload::PlanCollector(uint64_t meter, absl::Duration begin) {
  const bool early = random_.Uniform() < kBurstShare;
  const double place = early ? random_.Uniform() * kBurstLength
                             : kBurstLength + random_.Uniform() * (1 - kBurstLength);
  const absl::Duration at = begin + period_ * place;
  if (random_.Uniform() < kOutageShare) {
    for (int i = 0; i < kOutageReadings; ++i) {
      planned_.push_back(Plan(meter, at + (i + 1) * kOutageSpacing, Reading::BACKFILL));
    }
  }
  planned_.push_back(Plan(meter, at, Reading::PERIODIC));
}

PlannedReading Workload::Plan(uint64_t meter, absl::Duration at, Reading::Kind kind) {
  PlannedReading plan{
      .at = at, .meter_id = meter, .sequence = next_sequence_[meter]++, .kind = kind};
  double draw = random_.Uniform();
  for (const SizeClass& size : kSizes) {
    if (draw < size.share) {
      plan.payload_bytes = static_cast<uint32_t>(random_.Between(size.min_bytes, size.max_bytes));
      break;
    }
    draw -= size.share;
  }
  if (plan.payload_bytes == 0) {
    plan.kind = Reading::UPLOAD;
    plan.payload_bytes = kUploadBytes;
  }
  const bool closes_hour = options_.burst && periods_ % kPeriodsPerHour == kPeriodsPerHour - 1;
  if (closes_hour) plan.payload_bytes *= kHourFactor;
  return plan;
}

Reading MakeReading(const PlannedReading& plan, uint64_t seed, absl::Time started) {
  Reading reading;
  reading.set_meter_id(plan.meter_id);
  reading.set_sequence(plan.sequence);
  reading.set_taken_at_ms(static_cast<uint64_t>(absl::ToUnixMillis(started + plan.at)));
  reading.set_kind(plan.kind);
  std::string& payload = *reading.mutable_payload();
  payload.resize(plan.payload_bytes);
  SeededRandom random(Mix(seed ^ Mix(plan.meter_id)) ^ plan.sequence);
  for (size_t i = 0; i < payload.size(); i += sizeof(uint64_t)) {
    const uint64_t bits = random.Next();
    std::memcpy(payload.data() + i, &bits, std::min(sizeof bits, payload.size() - i));
  }
  return reading;
}

}  // namespace trunkline::metering
