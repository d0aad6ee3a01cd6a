// Samples each configured service and the host's network. Edge. Confined to the sampling thread.
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
  // The interface; empty selects that of the default route.
  std::string nic;
  uint64_t nic_bits_per_second = 0;
};

class LoadSampler {
 public:
  // `files` and `traffic` outlive the sampler.
  LoadSampler(const SystemFiles& files, const TrafficTable& traffic, LoadSamplerOptions options);

  // Samples the values that may cross a threshold; called many times per second.
  void SampleFast(MonotonicTime now);
  // Samples the other values; called once per second. Returns lines for the log.
  std::vector<std::string> SampleSlow(MonotonicTime now);

  // Returns one sample per service, with rates over the last `window`.
  std::vector<LoadSample> Read(absl::Duration window) const;

  const NetworkSampler& network() const { return network_; }

 private:
  const TrafficTable& traffic_;
  NetworkSampler network_;
  std::vector<ServiceSampler> services_;
};

}  // namespace trunkline
