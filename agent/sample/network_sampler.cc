#include "agent/sample/network_sampler.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/proc/net_dev.h"
#include "agent/proc/net_route.h"
#include "agent/proc/netstat.h"
#include "common/base/clock.h"
#include "common/base/system_files.h"

namespace trunkline {
namespace {

constexpr double kBitsPerByte = 8;
constexpr uint64_t kBitsPerMegabit = 1'000'000;

std::string DefaultInterface(const SystemFiles& files) {
  const absl::StatusOr<std::string> ipv4 = files.Read("/proc/net/route");
  if (ipv4.ok()) {
    absl::StatusOr<std::string> found = ParseDefaultInterface(*ipv4);
    if (found.ok()) return *std::move(found);
  }
  const absl::StatusOr<std::string> ipv6 = files.Read("/proc/net/ipv6_route");
  return ipv6.ok() ? ParseDefaultInterface6(*ipv6).value_or("") : "";
}

// Returns 0 for virtual interfaces, which have no speed: reading the file fails or yields -1.
uint64_t LinkBitsPerSecond(const SystemFiles& files, const std::string& interface) {
  const absl::StatusOr<std::string> text =
      files.Read(absl::StrCat("/sys/class/net/", interface, "/speed"));
  int64_t megabits = 0;
  if (!text.ok() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &megabits)) return 0;
  return megabits > 0 ? static_cast<uint64_t>(megabits) * kBitsPerMegabit : 0;
}

}  // namespace

NetworkSampler::NetworkSampler(const SystemFiles& files, std::string interface,
                               uint64_t bits_per_second)
    : files_(files),
      follows_routes_(interface.empty()),
      configured_bits_per_second_(bits_per_second),
      interface_(std::move(interface)) {
  FollowRoutes();
}

void NetworkSampler::FollowRoutes() {
  if (follows_routes_) {
    std::string now_default = DefaultInterface(files_);
    if (now_default != interface_) {
      interface_ = std::move(now_default);
      received_.Reset();
      sent_.Reset();
    }
  }
  // Read again each time, because a link may come up, or at another speed.
  bits_per_second_ = configured_bits_per_second_;
  if (bits_per_second_ == 0 && !interface_.empty()) {
    bits_per_second_ = LinkBitsPerSecond(files_, interface_);
  }
}

absl::Status NetworkSampler::SampleInterface(MonotonicTime now) {
  if (interface_.empty()) return absl::NotFoundError("there is no default route; set nic");
  const absl::StatusOr<std::string> dev = files_.Read("/proc/net/dev");
  if (!dev.ok()) return dev.status();
  const absl::StatusOr<NicCounters> counters = ParseNetDev(*dev, interface_);
  if (!counters.ok()) return counters.status();
  received_.Add(now, static_cast<double>(counters->received_bytes));
  sent_.Add(now, static_cast<double>(counters->sent_bytes));
  return absl::OkStatus();
}

std::optional<std::string> NetworkSampler::Sample(MonotonicTime now) {
  const std::string interface_before = interface_;
  FollowRoutes();
  const absl::Status sampled = SampleInterface(now);
  if (!sampled.ok()) {
    received_.Reset();
    sent_.Reset();
  }
  const absl::StatusOr<std::string> netstat = files_.Read("/proc/net/netstat");
  const absl::StatusOr<uint64_t> overflows =
      netstat.ok() ? ParseListenOverflows(*netstat) : netstat.status();
  if (overflows.ok()) {
    overflows_.Add(now, static_cast<double>(*overflows));
  } else {
    overflows_.Reset();
  }
  const std::string error_before = std::exchange(error_, std::string(sampled.message()));
  if (error_ == error_before && interface_ == interface_before) return std::nullopt;
  if (!error_.empty()) return absl::StrCat("network load is unknown and not reported: ", error_);
  return absl::StrCat("network load is read from interface ", interface_);
}

std::optional<double> NetworkSampler::BytesPerSecond(absl::Duration window) const {
  if (!received_.has_rate()) return std::nullopt;
  return received_.PerSecond(window) + sent_.PerSecond(window);
}

std::optional<double> NetworkSampler::Utilization(absl::Duration window) const {
  if (bits_per_second_ == 0 || !received_.has_rate()) return std::nullopt;
  const double busier = std::max(received_.PerSecond(window), sent_.PerSecond(window));
  return busier * kBitsPerByte / static_cast<double>(bits_per_second_);
}

std::optional<double> NetworkSampler::AcceptOverflowsPerSecond(absl::Duration window) const {
  if (!overflows_.has_rate()) return std::nullopt;
  return overflows_.PerSecond(window);
}

}  // namespace trunkline
