#include "agent/sample/service_sampler.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/proc/meminfo.h"
#include "agent/proc/psi.h"
#include "agent/sample/cgroup_place.h"
#include "agent/sample/port_watch.h"
#include "agent/sample/service_traffic.h"
#include "common/base/clock.h"
#include "common/base/system_files.h"
#include "common/cgroup/cgroup_files.h"

namespace trunkline {
namespace {

// Returns nothing if the file is absent (before Linux 4.20), disabled (EOPNOTSUPP) or unreadable.
std::optional<double> Pressure(const SystemFiles& files, const std::string& path) {
  const absl::StatusOr<std::string> text = files.Read(path);
  const absl::StatusOr<double> share = text.ok() ? ParsePressure(*text) : text.status();
  return share.ok() ? std::optional(*share) : std::nullopt;
}

uint32_t Clamp32(uint64_t value) {
  return static_cast<uint32_t>(std::min<uint64_t>(value, std::numeric_limits<uint32_t>::max()));
}

}  // namespace

ServiceSampler::ServiceSampler(const SystemFiles& files, ServiceSamplerOptions options)
    : files_(files), options_(std::move(options)), cpu_meter_(files, options_.local.cpu) {
  current_.service = options_.local.name;
  current_.endpoint_id = options_.local.endpoint_id;
  current_.capacity_hint = options_.local.capacity_hint;
  current_.server_address = options_.local.server_address;
}

void ServiceSampler::TakeCpu(MonotonicTime now) {
  if (!group_error_.empty() && cpu_meter_.reads_group()) {
    current_.cpu_error = group_error_;
    cpu_seconds_.Reset();
    return;
  }
  const absl::StatusOr<double> seconds = cpu_meter_.CpuSeconds();
  if (seconds.ok()) cpu_seconds_.Add(now, *seconds);
  current_.cpu_error = std::string(seconds.status().message());
}

void ServiceSampler::SampleFast(MonotonicTime now, const ServiceTrafficTotals& traffic) {
  TakeCpu(now);
  successes_.Add(now, static_cast<double>(traffic.successes));
  errors_.Add(now, static_cast<double>(traffic.errors_connect + traffic.errors_reset));
  stream_bytes_.Add(now, static_cast<double>(traffic.bytes_from_proxy + traffic.bytes_to_proxy));
  current_.active_streams = Clamp32(traffic.active_streams);
  if (has_port()) TakeCount();
}

std::optional<std::string> ServiceSampler::SampleSlow(MonotonicTime now,
                                                      const ServiceTrafficTotals& traffic) {
  std::optional<std::string> news = cpu_meter_.Refresh();
  // Another source or process counts CPU time from another start.
  if (news.has_value() || current_.server_boot_id != cpu_meter_.server_boot_id()) {
    cpu_seconds_.Reset();
  }
  current_.cpu_source = cpu_meter_.source();
  current_.cores = cpu_meter_.cores();
  current_.server_boot_id = cpu_meter_.server_boot_id();
  const std::string warning = JudgeGroup(now);
  const CgroupPlace* const place = group_error_.empty() ? cpu_meter_.place() : nullptr;
  throttle_.Add(
      now, place != nullptr ? place->Throttling(files_) : std::map<std::string, CpuThrottling>());
  current_.memory_error = SampleMemory();
  SamplePressure();
  if (has_port() && options_.count_error) current_.connections_error = options_.count_error();
  if (const std::string of_sources = NewsOfSources(); !of_sources.empty()) {
    news = absl::StrCat(news.value_or(""), news.has_value() ? "; " : "", of_sources);
  }
  if (!warning.empty()) {
    news = absl::StrCat(news.value_or(""), news.has_value() ? "; " : "", warning);
  }
  const bool was_reachable = current_.reachable;
  current_.reachable = reachability_.Update(traffic, options_.try_connect);
  if (was_reachable && !current_.reachable) {
    news = absl::StrCat(news.value_or(""), news.has_value() ? "; " : "",
                        "the server does not accept connections");
  } else if (!was_reachable && current_.reachable) {
    news = absl::StrCat(news.value_or(""), news.has_value() ? "; " : "",
                        "the server accepts connections again");
  }
  return news;
}

std::string ServiceSampler::JudgeGroup(MonotonicTime now) {
  const CgroupPlace* const place = cpu_meter_.place();
  if (options_.local.cpu.cgroup_path.empty() || place == nullptr ||
      !empty_group_.Update(files_, *place)) {
    group_error_.clear();
    return "";
  }
  if (now < next_question_) return "";
  next_question_ = now + kAskAgain;
  group_error_.clear();
  if (!options_.try_connect()) return "";
  next_question_ = now + kWarnAgain;
  group_error_ = absl::StrCat("the control group ", place->directory(),
                              " has no process, so it is not the server's");
  return absl::StrCat("the control group ", place->directory(), " has no process while ",
                      options_.local.target.ToString(),
                      " accepts connections; set cgroup_path to the server's group, or remove it "
                      "and the agent looks for that group");
}

std::string ServiceSampler::SampleMemory() {
  current_.memory_utilization.reset();
  if (!group_error_.empty()) return group_error_;
  if (const CgroupPlace* place = cpu_meter_.place(); place != nullptr) {
    const absl::StatusOr<double> share = place->MemoryUtilization(files_);
    if (share.ok()) {
      current_.memory_utilization = *share;
      return "";
    }
  }
  const absl::StatusOr<std::string> text = files_.Read("/proc/meminfo");
  if (!text.ok()) return std::string(text.status().message());
  const absl::StatusOr<HostMemory> host = ParseMeminfo(*text);
  if (!host.ok()) return std::string(host.status().message());
  current_.memory_utilization = static_cast<double>(host->total_bytes - host->available_bytes) /
                                static_cast<double>(host->total_bytes);
  return "";
}

std::string ServiceSampler::NewsOfSources() {
  std::string news;
  const auto compare = [&](const char* what, const std::string& error, std::string& logged) {
    if (error == logged) return;
    absl::StrAppend(&news, news.empty() ? "" : "; ", what,
                    error.empty() ? " is readable again"
                                  : absl::StrCat(" is unknown and not reported: ", error));
    logged = error;
  };
  compare("CPU", current_.cpu_error, logged_cpu_error_);
  compare("memory", current_.memory_error, logged_memory_error_);
  compare("the number of connections", current_.connections_error, logged_connections_error_);
  return news;
}

void ServiceSampler::SamplePressure() {
  const CgroupPlace* place = group_error_.empty() ? cpu_meter_.place() : nullptr;
  const std::string group = place != nullptr ? place->pressure_directory() : "";
  const auto read = [&](const char* resource) {
    return group.empty() ? Pressure(files_, absl::StrCat("/proc/pressure/", resource))
                         : Pressure(files_, absl::StrCat(group, "/", resource, ".pressure"));
  };
  current_.cpu_pressure = read("cpu");
  current_.memory_pressure = read("memory");
  current_.io_pressure = read("io");
}

void ServiceSampler::TakeCount() {
  const std::optional<PortCount> count = options_.count_connections(options_.local.port);
  if (!count.has_value() || count->at == counted_at_) return;
  counted_at_ = count->at;
  current_.connections = count->established;
  if (options_.local.max_connections > 0) {
    current_.connection_utilization = static_cast<double>(count->established) /
                                      static_cast<double>(options_.local.max_connections);
  }
  port_bytes_.Add(count->at, static_cast<double>(count->bytes));
}

LoadSample ServiceSampler::Read(absl::Duration window) const {
  LoadSample sample = current_;
  sample.cpu_known = sample.cpu_error.empty() && cpu_seconds_.has_rate();
  if (!sample.connections_error.empty()) {
    sample.connections.reset();
    sample.connection_utilization.reset();
  }
  if (sample.cores > 0 && sample.cpu_known) {
    sample.cpu_utilization = cpu_seconds_.PerSecond(window) / sample.cores;
  }
  sample.cpu_throttled = throttle_.Share(window);
  sample.successes_per_second = successes_.PerSecond(window);
  sample.errors_per_second = errors_.PerSecond(window);
  const double streams = stream_bytes_.PerSecond(window);
  const double port = port_bytes_.PerSecond(window);
  sample.bytes_per_second =
      options_.local.streams_use_port() ? std::max(streams, port) : streams + port;
  return sample;
}

}  // namespace trunkline
