#include "examples/metering/delivery_report.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"

namespace trunkline::metering {
namespace {

constexpr const char* kFailureNames[kAttemptFailures] = {"connect_failures", "closed", "timeouts",
                                                         "busy", "wrong_answers"};

// Nearest rank; `sorted` is not empty.
double Rank(const std::vector<double>& sorted, double share) {
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  return sorted[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

std::string LatencyJson(const Percentiles& p) {
  return absl::StrFormat(R"({"p50": %.6f, "p99": %.6f, "p99.9": %.6f, "max": %.6f})", p.p50, p.p99,
                         p.p999, p.max);
}

}  // namespace

Percentiles PercentilesOf(std::vector<double>& latencies) {
  if (latencies.empty()) return {};
  std::sort(latencies.begin(), latencies.end());
  return {Rank(latencies, 0.5), Rank(latencies, 0.99), Rank(latencies, 0.999), latencies.back()};
}

DeliveryReport::Second& DeliveryReport::SecondOf(absl::Duration at) {
  const auto index = static_cast<size_t>(absl::ToInt64Seconds(at));
  if (index >= seconds_.size()) seconds_.resize(index + 1);
  return seconds_[index];
}

void DeliveryReport::Sent(absl::Duration at) {
  ++sent_;
  ++SecondOf(at).sent;
}

void DeliveryReport::Acknowledged(absl::Duration at, absl::Duration latency) {
  ++acknowledged_;
  if (latency > run_.slo) ++late_;
  const double seconds = absl::ToDoubleSeconds(latency);
  SecondOf(at).latencies.push_back(seconds);
  since_last_line_.push_back(seconds);
}

uint64_t DeliveryReport::MissesOf(const Second& second) const {
  const double slo = absl::ToDoubleSeconds(run_.slo);
  const auto late = std::count_if(second.latencies.begin(), second.latencies.end(),
                                  [slo](double latency) { return latency > slo; });
  return second.sent - second.latencies.size() + static_cast<uint64_t>(late);
}

uint64_t DeliveryReport::Misses() const { return late_ + sent_ - acknowledged_; }

Percentiles DeliveryReport::Latencies() const {
  std::vector<double> all;
  all.reserve(acknowledged_);
  for (const Second& second : seconds_) {
    all.insert(all.end(), second.latencies.begin(), second.latencies.end());
  }
  return PercentilesOf(all);
}

std::string DeliveryReport::ProgressLine(absl::Duration since_start) {
  const Percentiles latency = PercentilesOf(since_last_line_);
  since_last_line_.clear();
  return absl::StrFormat(
      "%4d s  sent %d  acknowledged %d  in flight %d  p50 %.1f ms  p99 %.1f ms  late %d  resends %d"
      "  held %d",
      absl::ToInt64Seconds(since_start), sent_, acknowledged_, in_flight(), latency.p50 * 1e3,
      latency.p99 * 1e3, late_, resends_, held_.open);
}

std::string DeliveryReport::Table() const {
  const Percentiles latency = Latencies();
  std::string failures;
  for (int i = 0; i < kAttemptFailures; ++i) {
    absl::StrAppendFormat(&failures, "%s%s %d", i == 0 ? "" : ", ", kFailureNames[i], failures_[i]);
  }
  const double share = sent_ == 0 ? 0 : static_cast<double>(Misses()) / static_cast<double>(sent_);
  return absl::StrFormat(
      "sent            %d\n"
      "acknowledged    %d\n"
      "refused         %d\n"
      "latency         p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms, max %.1f ms (from the intended "
      "time)\n"
      "misses          %d (%.3f %%) later than %s or never\n"
      "connections     %d short ones, %d held open of %d\n"
      "resends         %d (%s)\n",
      sent_, acknowledged_, refused_, latency.p50 * 1e3, latency.p99 * 1e3, latency.p999 * 1e3,
      latency.max * 1e3, Misses(), share * 100, absl::FormatDuration(run_.slo), connections_,
      held_.open, held_.wanted, resends_, failures);
}

std::string DeliveryReport::Json() const {
  std::string out = absl::StrFormat(
      R"({"seed": %d, "collectors": %d, "rate_per_second": %.3f, "burst": %s, "started_unix": %.3f,)"
      "\n"
      R"( "sent": %d, "acknowledged": %d, "refused": %d, "misses": %d, "slo_seconds": %.3f,)"
      "\n"
      R"( "connections": %d, "resends": %d, "held": {"wanted": %d, "open": %d, "reopened": %d},)"
      "\n",
      run_.seed, run_.collectors, run_.rate, run_.burst ? "true" : "false",
      absl::ToDoubleSeconds(started_ - absl::UnixEpoch()), sent_, acknowledged_, refused_, Misses(),
      absl::ToDoubleSeconds(run_.slo), connections_, resends_, held_.wanted, held_.open,
      held_.reopened);
  for (int i = 0; i < kAttemptFailures; ++i) {
    absl::StrAppendFormat(&out, R"( "%s": %d,)", kFailureNames[i], failures_[i]);
  }
  absl::StrAppendFormat(&out, "\n \"latency_seconds\": %s,\n \"series\": [",
                        LatencyJson(Latencies()));
  std::vector<std::string> rows;
  for (size_t i = 0; i < seconds_.size(); ++i) {
    std::vector<double> latencies = seconds_[i].latencies;
    rows.push_back(absl::StrFormat(
        R"({"second": %d, "sent": %d, "acknowledged": %d, "misses": %d, "latency_seconds": %s})", i,
        seconds_[i].sent, latencies.size(), MissesOf(seconds_[i]),
        LatencyJson(PercentilesOf(latencies))));
  }
  absl::StrAppend(&out, "\n  ", absl::StrJoin(rows, ",\n  "), "]}\n");
  return out;
}

}  // namespace trunkline::metering
