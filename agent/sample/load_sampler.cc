#include "agent/sample/load_sampler.h"

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/sample/service_sampler.h"
#include "agent/sample/service_traffic.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/system_files.h"

namespace trunkline {

LoadSampler::LoadSampler(const SystemFiles& files, const TrafficTable& traffic,
                         LoadSamplerOptions options)
    : traffic_(traffic), network_(files, options.nic, options.nic_bits_per_second) {
  TRUNKLINE_CHECK(options.services.size() == traffic.services(),
                  "a traffic table has a column for each service");
  services_.reserve(options.services.size());
  for (ServiceSamplerOptions& service : options.services) {
    services_.emplace_back(files, std::move(service));
  }
}

void LoadSampler::SampleFast(MonotonicTime now) {
  for (size_t i = 0; i < services_.size(); ++i) services_[i].SampleFast(now, traffic_.Totals(i));
}

std::vector<std::string> LoadSampler::SampleSlow(MonotonicTime now) {
  std::vector<std::string> news;
  if (std::optional<std::string> of_network = network_.Sample(now); of_network.has_value()) {
    news.push_back(*std::move(of_network));
  }
  for (size_t i = 0; i < services_.size(); ++i) {
    const std::optional<std::string> of_service = services_[i].SampleSlow(now, traffic_.Totals(i));
    if (!of_service.has_value()) continue;
    news.push_back(absl::StrCat("service ", services_[i].Read(absl::ZeroDuration()).service, ": ",
                                *of_service));
  }
  return news;
}

std::vector<LoadSample> LoadSampler::Read(absl::Duration window) const {
  std::vector<LoadSample> samples;
  for (const ServiceSampler& service : services_) {
    LoadSample sample = service.Read(window);
    sample.nic_bytes_per_second = network_.BytesPerSecond(window);
    sample.nic_utilization = network_.Utilization(window);
    sample.network_error = network_.error();
    if (service.has_port()) {
      sample.accept_overflows_per_second = network_.AcceptOverflowsPerSecond(window);
    }
    samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace trunkline
