// Everything that the agent samples: each configured service and the host's network.
// Edge. Confined to the sampling thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/sample/load_sample.h"
#include "agent/sample/network_sampler.h"
#include "agent/sample/service_sampler.h"
#include "agent/sample/service_traffic.h"
#include "common/base/clock.h"
#include "common/base/system_files.h"

namespace trunkline {

struct LoadSamplerOptions {
  // In the order of the traffic table.
  std::vector<ServiceSamplerOptions> services;
  std::string nic;
  uint64_t nic_bits_per_second = 0;
};

class LoadSampler {
 public:
  // `files` and `traffic` outlive the sampler.
  LoadSampler(const SystemFiles& files, const TrafficTable& traffic, LoadSamplerOptions options);

  // Many times a second: what may cross a threshold.
  void SampleFast(MonotonicTime now);
  // Every second: the rest. What the log should say, a line each.
  std::vector<std::string> SampleSlow(MonotonicTime now);

  // One a service, rates over the last `window`.
  std::vector<LoadSample> Read(absl::Duration window) const;

  const NetworkSampler& network() const { return network_; }

 private:
  const TrafficTable& traffic_;
  NetworkSampler network_;
  std::vector<ServiceSampler> services_;
};

}  // namespace trunkline
