#include "tests/sim/proxy.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/backoff.h"
#include "common/inband/inband_report.h"
#include "controller/core/proxy_table.h"
#include "dataplane/table/alias_table.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/pick_rule.h"
#include "tests/sim/request.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

enum Kind : uint32_t { kSecondOver, kEjectionOver, kProbe, kTryAgain };

constexpr SimTime kReportInterval = kSecond;
// As DirectCarrier.
constexpr Backoff::Options kProbeBackoff = {
    .initial = absl::Milliseconds(100), .max = absl::Seconds(5), .factor = 2.0};
constexpr SimTime kRoundTrip = kMillisecond / 2;

}  // namespace

Proxy::Proxy(EventQueue& queue, RequestPool& requests, Owner& owner, const Scenario& scenario,
             std::unique_ptr<PickRule> rule, uint64_t seed)
    : queue_(queue),
      requests_(requests),
      owner_(owner),
      scenario_(scenario),
      rule_(std::move(rule)),
      random_(seed),
      endpoints_(scenario.servers.size()) {
  for (size_t i = 0; i < endpoints_.size(); ++i) UpdateState(i);
}

void Proxy::Start() {
  reported_at_ = queue_.now();
  const auto phase = static_cast<SimTime>(random_.Uniform() * kReportInterval);
  queue_.Add(queue_.now() + phase, *this, kSecondOver);
}

void Proxy::OnEvent(uint32_t kind, uint64_t value) {
  switch (kind) {
    case kSecondOver:
      ReportTraffic();
      rule_->OnSecond(queue_.monotonic());
      queue_.Add(queue_.now() + kReportInterval, *this, kSecondOver);
      return;
    case kEjectionOver:
      if (!ejection_.End(endpoints_[value].ejection, queue_.monotonic())) return;
      UpdateState(value);
      return;
    case kProbe:
      return Probe(value);
    case kTryAgain:
      if (requests_.Valid(value)) OnRefused(static_cast<RequestId>(value));
      return;
  }
}

void Proxy::Submit(RequestId id) {
  budget_.Deposit();
  if (!Assign(id, PickRule::kNone)) Wait(id);
}

void Proxy::SubmitTo(size_t server, RequestId id, bool is_load) {
  requests_[id].is_load = is_load;
  StartAt(server, id);
}

// `avoid` refused the request just now.
bool Proxy::Assign(RequestId id, size_t avoid) {
  const std::array<size_t, 1> excluded = {avoid};
  const bool any = avoid == PickRule::kNone;
  size_t picked =
      rule_->Pick(random_, any ? std::span<const size_t>() : std::span<const size_t>(excluded));
  if (picked == PickRule::kNone && !any) picked = rule_->Pick(random_, {});
  if (picked == PickRule::kNone) return false;
  StartAt(picked, id);
  return true;
}

void Proxy::StartAt(size_t server, RequestId id) {
  Request& request = requests_[id];
  request.server = static_cast<uint32_t>(server);
  if (!request.is_load) AddLoad(server, 1);
  request.is_load = true;
  if (owner_.OnConnect(server, id)) {
    return ejection_.OnConnected(endpoints_[server].ejection);
  }
  queue_.Add(queue_.now() + kRoundTrip, *this, kTryAgain, requests_.Ticket(id));
}

void Proxy::OnRefused(RequestId id) {
  Request& request = requests_[id];
  const size_t server = request.server;
  ++Touch(server).errors;
  Release(id);
  if (request.abandoned) return owner_.OnFailed(id);
  // A later request of a flow has no connect of its own: its connection is lost.
  if (request.tries == UINT8_MAX) return owner_.OnFailed(id);
  Eject(server);
  const bool free = endpoints_[server].ejected() && rule_->HasHealthy();
  if (!free && (++request.tries >= kMaxTries || !budget_.Withdraw())) return owner_.OnFailed(id);
  if (!Assign(id, server)) Wait(id);
}

void Proxy::Eject(size_t server) {
  Endpoint& endpoint = endpoints_[server];
  if (!has_trunks()) {
    if (std::exchange(endpoint.failing, true)) return;
    endpoint.backoff = std::make_unique<Backoff>(kProbeBackoff);
    ScheduleProbe(server);
    return UpdateState(server);
  }
  if (!ejection_.OnFailed(endpoint.ejection, queue_.monotonic(), random_.Uniform())) return;
  queue_.Add(queue_.now() + (endpoint.ejection.until - queue_.monotonic()) / absl::Nanoseconds(1),
             *this, kEjectionOver, server);
  UpdateState(server);
}

void Proxy::ScheduleProbe(size_t server) {
  const absl::Duration delay = endpoints_[server].backoff->Next(random_.Uniform());
  queue_.Add(queue_.now() + absl::ToInt64Nanoseconds(delay), *this, kProbe, server);
}

void Proxy::Probe(size_t server) {
  Endpoint& endpoint = endpoints_[server];
  if (!endpoint.failing) return;
  if (!owner_.OnProbe(server)) return ScheduleProbe(server);
  endpoint.failing = false;
  endpoint.backoff.reset();
  UpdateState(server);
}

void Proxy::UpdateState(size_t server) {
  const Endpoint& endpoint = endpoints_[server];
  rule_->Set(server, {.usable = endpoint.usable, .full = false, .ejected = endpoint.ejected()});
  ServePending();
}

void Proxy::SetUsable(size_t server, bool usable) {
  endpoints_[server].usable = usable;
  if (!usable) rule_->ForgetReport(server);
  UpdateState(server);
}

void Proxy::SetWeights(const std::shared_ptr<const AliasTable>& table) {
  rule_->SetWeights(table, queue_.monotonic());
  ServePending();
}

void Proxy::OnInbandReport(size_t server, const ServerLoad& load) {
  rule_->OnInbandReport(server, load, queue_.monotonic());
}

void Proxy::Wait(RequestId id) { pending_.push_back(requests_.Ticket(id)); }

void Proxy::ServePending() {
  while (!pending_.empty()) {
    const uint64_t ticket = pending_.front();
    const auto id = static_cast<RequestId>(ticket);
    if (requests_.Valid(ticket) && !Assign(id, PickRule::kNone)) return;
    pending_.pop_front();
  }
}

Proxy::Endpoint& Proxy::Touch(size_t server) {
  Endpoint& endpoint = endpoints_[server];
  if (!std::exchange(endpoint.has_news, true)) news_.push_back(server);
  return endpoint;
}

void Proxy::AddLoad(size_t server, int change) {
  Touch(server).load += static_cast<uint32_t>(change);
  rule_->AddOwn(server, change);
}

void Proxy::Release(RequestId id) {
  Request& request = requests_[id];
  if (std::exchange(request.is_load, false)) AddLoad(request.server, -1);
}

void Proxy::OnAnswered(RequestId id, bool first_of_flow) {
  const Request& request = requests_[id];
  Endpoint& endpoint = Touch(request.server);
  ++endpoint.requests;
  if (!first_of_flow) return;
  ++endpoint.served;
  endpoint.wait_seconds += Seconds(queue_.now() - request.accepted);
}

void Proxy::OnReset(RequestId id) { ++Touch(requests_[id].server).errors; }

void Proxy::OnHungUp(RequestId id) { ++Touch(requests_[id].server).unanswered; }

// As TrafficReporter.
void Proxy::ReportTraffic() {
  ProxyTraffic traffic;
  traffic.seconds = Seconds(queue_.now() - std::exchange(reported_at_, queue_.now()));
  std::vector<size_t> still_loaded;
  for (const size_t server : news_) {
    Endpoint& endpoint = endpoints_[server];
    ProxyTraffic::Endpoint& report = traffic.endpoints.emplace_back();
    report.key = {"sim", scenario_.servers[server].name};
    report.errors = endpoint.errors;
    report.ejected = endpoint.ejected();
    report.served = endpoint.served;
    report.unanswered = endpoint.unanswered;
    report.bytes = static_cast<uint64_t>(std::llround(scenario_.bytes * endpoint.requests));
    report.load = endpoint.load;
    if (endpoint.served > 0) {
      report.first_byte = absl::Seconds(endpoint.wait_seconds / endpoint.served);
    }
    endpoint.errors = endpoint.served = endpoint.unanswered = endpoint.requests = 0;
    endpoint.wait_seconds = 0;
    endpoint.has_news = endpoint.load > 0 || endpoint.ejected();
    if (endpoint.has_news) still_loaded.push_back(server);
  }
  news_ = std::move(still_loaded);
  if (traffic.seconds > 0) owner_.OnTraffic(traffic);
}

}  // namespace trunkline::sim
