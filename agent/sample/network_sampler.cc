#include "agent/sample/network_sampler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "agent/proc/net_dev.h"
#include "agent/proc/net_route.h"
#include "agent/proc/netstat.h"

namespace trunkline {
namespace {

constexpr double kBitsPerByte = 8;
constexpr uint64_t kBitsPerMegabit = 1'000'000;

std::string DefaultInterface(const SystemFiles& files) {
  const absl::StatusOr<std::string> routes = files.Read("/proc/net/route");
  return routes.ok() ? ParseDefaultInterface(*routes).value_or("") : "";
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
    : files_(files), interface_(std::move(interface)), bits_per_second_(bits_per_second) {
  if (interface_.empty()) interface_ = DefaultInterface(files_);
  if (bits_per_second_ == 0 && !interface_.empty()) {
    bits_per_second_ = LinkBitsPerSecond(files_, interface_);
  }
}

void NetworkSampler::Sample(MonotonicTime now) {
  const absl::StatusOr<std::string> dev = files_.Read("/proc/net/dev");
  if (dev.ok() && !interface_.empty()) {
    const absl::StatusOr<NicCounters> counters = ParseNetDev(*dev, interface_);
    if (counters.ok()) {
      received_.Add(now, static_cast<double>(counters->received_bytes));
      sent_.Add(now, static_cast<double>(counters->sent_bytes));
    }
  }
  const absl::StatusOr<std::string> netstat = files_.Read("/proc/net/netstat");
  if (!netstat.ok()) return;
  const absl::StatusOr<uint64_t> overflows = ParseListenOverflows(*netstat);
  if (overflows.ok()) overflows_.Add(now, static_cast<double>(*overflows));
}

double NetworkSampler::BytesPerSecond(absl::Duration window) const {
  return received_.PerSecond(window) + sent_.PerSecond(window);
}

double NetworkSampler::Utilization(absl::Duration window) const {
  if (bits_per_second_ == 0) return 0;
  const double busier = std::max(received_.PerSecond(window), sent_.PerSecond(window));
  return busier * kBitsPerByte / static_cast<double>(bits_per_second_);
}

double NetworkSampler::AcceptOverflowsPerSecond(absl::Duration window) const {
  return overflows_.PerSecond(window);
}

}  // namespace trunkline
