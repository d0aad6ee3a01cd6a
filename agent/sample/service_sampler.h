// Samples one local service: CPU, memory, pressure, connections and streams.
//
// Values that may cross a threshold between two reports (CPU, streams) are sampled many times per
// second, at the cost of reading a few small files, and the others once per second. Edge: reads
// files. Externally synchronized.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "agent/sample/cpu_meter.h"
#include "agent/sample/empty_group.h"
#include "agent/sample/load_sample.h"
#include "agent/sample/local_service.h"
#include "agent/sample/port_watch.h"
#include "agent/sample/rate_window.h"
#include "agent/sample/reachability.h"
#include "agent/sample/service_traffic.h"
#include "agent/sample/throttle_meter.h"
#include "common/base/clock.h"
#include "common/base/system_files.h"

namespace trunkline {

struct ServiceSamplerOptions {
  LocalService local;
  // PortWatch::Latest, or a test's count. Not called without a port.
  std::function<std::optional<PortCount>(uint16_t port)> count_connections;
  // PortWatch::Error: why connections cannot be counted, or "". Null if they always can.
  std::function<std::string()> count_error;
  // Probes the server with a connection; called only while its reachability is in doubt.
  std::function<bool()> try_connect;
};

class ServiceSampler {
 public:
  // Between two warnings about one fault that lasts, and between two questions whether it does,
  // which cost the server a connection.
  static constexpr absl::Duration kWarnAgain = absl::Minutes(1);
  static constexpr absl::Duration kAskAgain = absl::Seconds(10);

  // `files` outlives the sampler.
  ServiceSampler(const SystemFiles& files, ServiceSamplerOptions options);

  void SampleFast(MonotonicTime now, const ServiceTrafficTotals& traffic);
  // Returns sentences for the log at transitions, and once per kWarnAgain for a configured control
  // group that cannot be the server's.
  std::optional<std::string> SampleSlow(MonotonicTime now, const ServiceTrafficTotals& traffic);

  // Returns rates over the last `window`. The caller fills in the host's network values.
  LoadSample Read(absl::Duration window) const;

  // Returns true if the service has a listening TCP port, whose accept queue can overflow.
  bool has_port() const { return options_.local.port != 0; }

 private:
  // Returns sentences for the log about sources that became unreadable or readable.
  std::string NewsOfSources();
  // Finds out whether the configured control group has no process while the server answers. Returns
  // a warning if it has none.
  std::string JudgeGroup(MonotonicTime now);
  void TakeCpu(MonotonicTime now);
  // Returns "" if the utilization was read, else why not.
  std::string SampleMemory();
  void SamplePressure();
  // Takes the latest count of connections, if it is new.
  void TakeCount();

  const SystemFiles& files_;
  const ServiceSamplerOptions options_;
  CpuMeter cpu_meter_;
  Reachability reachability_;
  MonotonicTime counted_at_;
  EmptyGroup empty_group_;
  // Why the configured group says nothing about the server; empty if it does.
  std::string group_error_;
  MonotonicTime next_question_;
  RateWindow cpu_seconds_;
  RateWindow successes_;
  RateWindow errors_;
  RateWindow stream_bytes_;
  RateWindow port_bytes_;
  ThrottleMeter throttle_;
  // The parts of a sample that are not rates.
  LoadSample current_;
  // The errors that were logged last.
  std::string logged_cpu_error_;
  std::string logged_memory_error_;
  std::string logged_connections_error_;
};

}  // namespace trunkline
