#include "dataplane/control/health_checks.h"

#include "common/config/health_check_options.h"

namespace trunkline {
namespace {

HttpCheck ReadHttp(const v1::HttpCheck& from) {
  HttpCheck check;
  if (!from.method().empty()) check.method = from.method();
  if (!from.path().empty()) check.path = from.path();
  check.host = from.host();
  if (from.expected_statuses().empty()) return check;
  check.expected.clear();
  for (const std::string& text : from.expected_statuses()) {
    // CheckHealthCheck accepts only ranges.
    const StatusRange range = *ParseStatusRange(text);
    check.expected.push_back({.first = range.first, .last = range.last});
  }
  return check;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const HealthCheck>> MakeHealthCheck(const v1::Service& service) {
  if (!service.has_health_check()) return nullptr;
  const v1::HealthCheck& from = service.health_check();
  const absl::Status fits = CheckHealthCheck(from, service.mode(), service.message());
  if (!fits.ok()) return fits;
  auto check = std::make_shared<HealthCheck>();
  if (from.has_http()) {
    check->kind = ReadHttp(from.http());
  } else if (from.has_redis()) {
    check->kind = RedisCheck();
  } else {
    check->kind = TcpCheck{.send = from.tcp().send(), .expect = from.tcp().expect()};
  }
  check->interval = CheckIntervalOf(from);
  check->timeout = CheckTimeoutOf(from, check->interval);
  if (from.has_jitter()) check->jitter = from.jitter();
  if (from.has_rise()) check->rise = from.rise();
  if (from.has_fall()) check->fall = from.fall();
  return check;
}

}  // namespace trunkline
