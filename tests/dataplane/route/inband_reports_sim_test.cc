// Measures the benefit of in-band load reports: many independent proxies in front of many servers.
// Runs the picker's own code (Balancer, LoadEstimate, TrafficShare) on simulated time.
//
// Each server has one queue and exponential service times; requests arrive at random. All seeds are
// fixed, so a run repeats to the last digit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <queue>
#include <vector>

#include "dataplane/route/balancer.h"
#include "dataplane/route/load_estimate.h"
#include "dataplane/table/alias_table.h"

namespace trunkline {
namespace {

constexpr size_t kProxies = 20;
constexpr size_t kServers = 40;
constexpr double kLoad = 0.85;
constexpr double kServiceSeconds = 0.010;
constexpr double kTravelSeconds = 0.0005;
constexpr int kRequests = 400'000;

struct Result {
  double mean_ms;
  double p99_ms;
  double p999_ms;
};

class Cluster {
 public:
  // `gap_seconds` is the time between reports. 0: agents send none.
  Cluster(double gap_seconds, uint64_t seed) : gap_(gap_seconds), random_(seed) {
    for (Proxy& proxy : proxies_) {
      proxy.balancer = Balancer(std::make_shared<AliasTable>(std::vector<double>(kServers, 1.0)));
      proxy.loads.resize(kServers);
    }
  }

  Result Run() {
    Push({.at = 0, .kind = Kind::kArrival});
    for (size_t server = 0; server < kServers && gap_ > 0; ++server) {
      Push({.at = gap_ * random_.Uniform(), .kind = Kind::kSay, .server = server});
    }
    while (static_cast<int>(sojourns_.size()) < kRequests) {
      const Event event = events_.top();
      events_.pop();
      now_ = event.at;
      Handle(event);
    }
    std::sort(sojourns_.begin(), sojourns_.end());
    double sum = 0;
    for (const double one : sojourns_) sum += one;
    const auto at = [&](double q) { return 1000 * sojourns_[static_cast<size_t>(q * kRequests)]; };
    return {.mean_ms = 1000 * sum / kRequests, .p99_ms = at(0.99), .p999_ms = at(0.999)};
  }

 private:
  enum class Kind { kArrival, kDone, kSay, kHear };
  struct Event {
    double at;
    Kind kind;
    size_t proxy = 0;
    size_t server = 0;
    double since = 0;
    uint32_t active = 0;
    bool operator<(const Event& other) const { return at > other.at; }
  };
  struct Proxy {
    Balancer balancer;
    std::vector<Balancer::Load> loads;
    std::vector<LoadEstimate> estimates{kServers};
    TrafficShare share;
  };

  void Push(const Event& event) { events_.push(event); }
  double Exponential(double mean) { return -mean * std::log(1 - random_.Uniform()); }

  void Handle(const Event& event) {
    switch (event.kind) {
      case Kind::kArrival:
        return Arrive();
      case Kind::kDone:
        --active_[event.server];
        Change(proxies_[event.proxy], event.server, -1);
        sojourns_.push_back(now_ - event.since);
        return;
      case Kind::kSay:
        for (size_t proxy = 0; proxy < kProxies; ++proxy) {
          Push({.at = now_ + kTravelSeconds,
                .kind = Kind::kHear,
                .proxy = proxy,
                .server = event.server,
                .active = active_[event.server]});
        }
        Push({.at = now_ + gap_, .kind = Kind::kSay, .server = event.server});
        return;
      case Kind::kHear:
        return Hear(proxies_[event.proxy], event);
    }
  }

  void Arrive() {
    Push({.at = now_ + Exponential(kServiceSeconds / (kLoad * kServers)), .kind = Kind::kArrival});
    const size_t which = random_.Next() % kProxies;
    Proxy& proxy = proxies_[which];
    const size_t server = proxy.balancer.Pick(proxy.loads, random_);
    Change(proxy, server, 1);
    ++active_[server];
    free_at_[server] = std::max(free_at_[server], now_) + Exponential(kServiceSeconds);
    Push({.at = free_at_[server],
          .kind = Kind::kDone,
          .proxy = which,
          .server = server,
          .since = now_});
  }

  void Change(Proxy& proxy, size_t server, int32_t change) {
    proxy.estimates[server].AddOwn(change);
    proxy.loads[server].in_flight = proxy.estimates[server].InFlight(proxy.share.scale());
  }

  void Hear(Proxy& proxy, const Event& event) {
    LoadEstimate& estimate = proxy.estimates[event.server];
    estimate.OnReport({.active = event.active}, MonotonicTime());
    proxy.share.OnReport(estimate.own(), event.active);
    proxy.loads[event.server].in_flight = estimate.InFlight(proxy.share.scale());
  }

  const double gap_;
  FastRandom random_;
  double now_ = 0;
  std::priority_queue<Event> events_;
  std::vector<Proxy> proxies_{kProxies};
  std::vector<uint32_t> active_ = std::vector<uint32_t>(kServers, 0);
  std::vector<double> free_at_ = std::vector<double>(kServers, 0);
  std::vector<double> sojourns_;
};

Result Report(const char* name, double gap_seconds) {
  const Result result = Cluster(gap_seconds, /*seed=*/1).Run();
  printf("%-24s mean %6.1f  p99 %6.1f  p99.9 %6.1f ms\n", name, result.mean_ms, result.p99_ms,
         result.p999_ms);
  return result;
}

TEST(InbandReportsSimTest, ReportsShortenTheWaitAndItsTail) {
  const Result alone = Report("own flows only", 0);
  const Result words = Report("reports every 50 ms", 0.050);
  EXPECT_LT(words.mean_ms, 0.85 * alone.mean_ms);
  EXPECT_LT(words.p999_ms, 0.85 * alone.p999_ms);
}

// All proxies get the same report and follow it until the next one. Without TrafficShare the mean
// is four times that of proxies without any reports.
TEST(InbandReportsSimTest, InfrequentReportsDoNotMakeProxiesHerd) {
  const Result alone = Report("own flows only", 0);
  const Result late = Report("reports every second", 1);
  EXPECT_LT(late.mean_ms, 1.25 * alone.mean_ms);
}

}  // namespace
}  // namespace trunkline
