#include "examples/metering/cost_model.h"

#include <time.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "examples/metering/metering.pb.h"
#include "examples/metering/random_bits.h"

namespace trunkline::metering {
namespace {

// Steps between two reads of the CPU clock (a system call). They take about 5 us, so costs from
// 0.5 ms on are exact to 1 %.
constexpr int kStepsPerClockRead = 4000;

int64_t ThreadCpuNanos() {
  timespec ts;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return static_cast<int64_t>(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec;
}

}  // namespace

absl::Status ParseCost(const std::string& text, CostModel* model) {
  const std::pair<std::string, std::string> ends = absl::StrSplit(text, absl::MaxSplits('-', 1));
  const std::string& last = ends.second.empty() ? ends.first : ends.second;
  if (!absl::ParseDuration(ends.first, &model->min) || !absl::ParseDuration(last, &model->max) ||
      model->min < absl::ZeroDuration() || model->max < model->min) {
    return absl::InvalidArgumentError(
        absl::StrCat("cost \"", text, "\": expected a duration or a range, for example 0.5ms-2ms"));
  }
  return absl::OkStatus();
}

absl::Status ParseTail(const std::string& text, CostModel* model) {
  if (text.empty()) return absl::OkStatus();
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits("%:", 1));
  double percent = 0;
  if (!absl::SimpleAtod(parts.first, &percent) || percent < 0 || percent > 100 ||
      !absl::ParseDuration(parts.second, &model->tail) || model->tail < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tail \"", text, "\": expected PERCENT%:DURATION, for example 1%:50ms"));
  }
  model->tail_share = percent / 100;
  return absl::OkStatus();
}

absl::Duration CostOf(const CostModel& model, const Reading& reading) {
  const uint64_t bits = Mix(Mix(model.seed ^ reading.meter_id()) ^ reading.sequence());
  if (UnitInterval(Mix(bits ^ 1)) < model.tail_share) return model.tail;
  const absl::Duration cost = model.min + (model.max - model.min) * UnitInterval(bits);
  return reading.kind() == Reading::UPLOAD ? cost * model.upload_factor : cost;
}

void BurnCpu(absl::Duration cost) {
  if (cost <= absl::ZeroDuration()) return;
  const int64_t end = ThreadCpuNanos() + absl::ToInt64Nanoseconds(cost);
  uint64_t bits = static_cast<uint64_t>(end);
  do {
    for (int i = 0; i < kStepsPerClockRead; ++i) bits = Mix(bits);
    asm volatile("" : : "r"(bits));  // keeps the compiler from removing the work
  } while (ThreadCpuNanos() < end);
}

}  // namespace trunkline::metering
