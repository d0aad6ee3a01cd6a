#include "dataplane/control/traffic_reporter.h"

#include <cstdint>
#include <utility>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "dataplane/stats/endpoint_health.h"
#include "dataplane/stats/traffic_stats.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {
namespace {

// The controller reads no more endpoints of a report.
constexpr int kMaxReported = static_cast<int>(kMaxClusterEndpoints);

bool HasNews(const v1::EndpointTraffic& item) {
  return item.requests() > 0 || item.errors() > 0 || item.active() > 0 || item.ejected() ||
         item.has_connect_seconds() || item.has_healthy() || item.served() > 0 ||
         item.unanswered() > 0 || item.bytes() > 0;
}

double MeanSeconds(uint64_t nanos, uint64_t count) {
  return static_cast<double>(nanos) * 1e-9 / static_cast<double>(count);
}

}  // namespace

v1::TrafficReport TrafficReporter::Make() {
  const MonotonicTime now = MonotonicNow();
  v1::TrafficReport report;
  report.set_seconds(absl::ToDoubleSeconds(now - reported_at_));
  reported_at_ = now;
  for (const WorkerStats& worker : stats_.workers()) {
    report.set_clients(report.clients() + worker.clients.Value());
    report.set_trunks(report.trunks() + worker.trunks.Value());
  }
  auto before = std::exchange(reported_, {});
  reported_.reserve(before.size());
  for (const auto& endpoint : stats_.Endpoints()) {
    Reported sum;
    v1::EndpointTraffic item;
    for (const EndpointCell& cell : endpoint->cells()) {
      sum.flows += cell.flows.Value();
      sum.errors += cell.connect_refused.Value() + cell.connect_timeouts.Value() +
                    cell.resets.Value() + cell.trunk_losses.Value() + cell.reply_timeouts.Value();
      sum.connects += cell.connects.Value();
      sum.connect_nanos += cell.connect_nanos.Value();
      sum.answered += cell.answered.Value();
      sum.first_byte_nanos += cell.first_byte_nanos.Value();
      sum.one_way += cell.one_way.Value();
      sum.unanswered += cell.unanswered.Value();
      sum.bytes += cell.bytes_to_server.Value() + cell.bytes_to_client.Value();
      item.set_active(item.active() + cell.active.Value());
      item.set_load(item.load() + cell.load.Value());
      item.set_ejected(item.ejected() || cell.ejected.Value() != 0);
    }
    if (const EndpointHealth::State health = endpoint->health.state();
        health != EndpointHealth::State::kUnknown) {
      item.set_healthy(health == EndpointHealth::State::kHealthy);
    }
    // An endpoint that left and returned since the last report has new cells, which count from
    // zero.
    const auto found = before.find(endpoint);
    const Reported last = found != before.end() ? found->second : Reported();
    item.set_requests(sum.flows - last.flows);
    item.set_errors(sum.errors - last.errors);
    if (const uint64_t connects = sum.connects - last.connects; connects > 0) {
      item.set_connect_seconds(MeanSeconds(sum.connect_nanos - last.connect_nanos, connects));
    }
    const uint64_t answered = sum.answered - last.answered;
    if (answered > 0) {
      item.set_first_byte_seconds(
          MeanSeconds(sum.first_byte_nanos - last.first_byte_nanos, answered));
    }
    item.set_served(answered + sum.one_way - last.one_way);
    item.set_unanswered(sum.unanswered - last.unanswered);
    item.set_bytes(sum.bytes - last.bytes);
    reported_.emplace(endpoint, sum);
    if (!HasNews(item) || report.endpoints_size() == kMaxReported) continue;
    item.set_service(endpoint->service);
    item.set_endpoint_id(endpoint->endpoint_id);
    *report.add_endpoints() = std::move(item);
  }
  return report;
}

}  // namespace trunkline
