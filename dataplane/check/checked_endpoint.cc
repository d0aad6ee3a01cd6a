#include "dataplane/check/checked_endpoint.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/net/event_loop.h"
#include "common/observe/log.h"
#include "common/proxy_protocol/proxy_header.h"
#include "dataplane/check/check_exchange.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {
namespace {

// After a shortage, which ends as clients leave.
constexpr absl::Duration kWaitForSocket = absl::Seconds(1);

std::string Checks(uint32_t in_row) {
  return in_row == 1 ? "a health check" : absl::StrCat(in_row, " health checks in a row");
}

}  // namespace

CheckedEndpoint::CheckedEndpoint(EventLoop& loop, Owner& owner, const EndpointSet& set,
                                 const Endpoint& endpoint, absl::Duration first_wait,
                                 uint64_t random_seed)
    : loop_(loop),
      owner_(owner),
      address_(endpoint.address),
      stats_(endpoint.stats),
      schedule_(random_seed),
      rule_(set.health_check->rise, set.health_check->fall) {
  Update(set, endpoint);
  loop_.Arm(timer_, first_wait);
}

CheckedEndpoint::~CheckedEndpoint() {
  EndConnection();
  if (running_) owner_.ReturnConnection();
  stats_->health.Set(EndpointHealth::State::kUnknown);
}

void CheckedEndpoint::Update(const EndpointSet& set, const Endpoint& endpoint) {
  check_ = set.health_check;
  proxy_protocol_ = set.send_proxy_protocol;
  rule_.SetLimits(check_->rise, check_->fall);
  if (endpoint.addresses != nullptr) targets_.Set(endpoint.addresses);
}

void CheckedEndpoint::OnTimer() {
  if (running_) return OnTryFailed(connection_->DescribeTimeout(try_timeout_));
  began_at_ = loop_.now();
  // A name that was never resolved is not the server's fault.
  if (targets_.empty()) return Rest();
  if (owner_.TakeConnection(*this)) Begin();
}

void CheckedEndpoint::Begin() {
  running_ = true;
  began_at_ = loop_.now();
  tries_left_ = targets_.size();
  TryAddresses();
}

// Goes on until a try is in progress or the check is over.
void CheckedEndpoint::TryAddresses() {
  while (running_ && tries_left_ > 0) {
    if (TryNext()) return;
  }
  if (running_) Finish(false);
}

// Returns false if the try failed at once.
bool CheckedEndpoint::TryNext() {
  const absl::Duration left = check_->timeout - (loop_.now() - began_at_);
  try_timeout_ = left / static_cast<double>(tries_left_--);
  turn_ = targets_.turn();
  // Without addresses the header says that the proxy speaks for itself: LOCAL, in version 1
  // UNKNOWN.
  CheckExchange exchange(*check_, WriteProxyHeader(proxy_protocol_, {}), address_);
  CheckConnection::Owner& owner = *this;
  connection_ =
      std::make_unique<CheckConnection>(loop_, owner, targets_.current(), std::move(exchange));
  switch (connection_->Start()) {
    case CheckConnection::State::kRunning:
      loop_.Arm(timer_, try_timeout_);
      return true;
    case CheckConnection::State::kPassed:
      Finish(true);
      return true;
    case CheckConnection::State::kNoSocket:
      Skip(connection_->shortage());
      return true;
    case CheckConnection::State::kFailed:
      break;
  }
  fault_ = connection_->DescribeFailure();
  EndConnection();
  targets_.OnFailed(turn_);
  return false;
}

void CheckedEndpoint::OnConnectionEnded(bool passed) {
  if (passed) return Finish(true);
  OnTryFailed(connection_->DescribeFailure());
}

void CheckedEndpoint::OnTryFailed(std::string fault) {
  fault_ = std::move(fault);
  EndConnection();
  targets_.OnFailed(turn_);
  TryAddresses();
}

void CheckedEndpoint::Finish(bool passed) {
  EndConnection();
  running_ = false;
  EndpointHealth& health = stats_->health;
  (passed ? health.passed : health.failed).Add();
  health.last_duration_nanos.Set((loop_.now() - began_at_) / absl::Nanoseconds(1));
  const bool first = rule_.state() == HealthRule::State::kUnknown;
  if (rule_.OnChecked(passed)) {
    if (!passed) health.falls.Add();
    health.Set(rule_.state());
    // A new endpoint counts as healthy, so a first check that passes is not logged.
    if (!first || !passed) {
      Log(first);
      owner_.OnHealthChanged(*this);
    }
  }
  owner_.ReturnConnection();
  Rest();
}

void CheckedEndpoint::Skip(const std::string& shortage) {
  // The connection is retired, not deleted, so its text stays.
  EndConnection();
  running_ = false;
  owner_.OnNoSocket(*this, shortage);
  owner_.ReturnConnection();
  loop_.Arm(timer_, std::min(check_->interval, kWaitForSocket));
}

void CheckedEndpoint::EndConnection() {
  timer_.Cancel();
  if (connection_ == nullptr) return;
  connection_->Close();
  loop_.Retire(std::move(connection_));
}

void CheckedEndpoint::Rest() {
  const MonotonicTime next = began_at_ + schedule_.Next(check_->interval, check_->jitter);
  loop_.Arm(timer_, std::max(next - loop_.now(), absl::ZeroDuration()));
}

void CheckedEndpoint::Log(bool first) const {
  const std::string name =
      absl::StrCat("endpoint ", stats_->endpoint_id, " of service ", stats_->service);
  if (rule_.state() == HealthRule::State::kHealthy) {
    LogInfo("{} is healthy again: it passed {}", name, Checks(check_->rise));
    return;
  }
  LogWarn(
      "{} is unhealthy: {}: {}; it gets new flows only while no endpoint of the service is "
      "healthy, until it passes {}; check its server",
      name,
      first ? "it failed its first health check"
            : absl::StrCat("it failed ", Checks(check_->fall),
                           check_->fall > 1 ? ", the last one" : ""),
      fault_, Checks(check_->rise));
}

}  // namespace trunkline
