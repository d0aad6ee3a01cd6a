#include "dataplane/control/health_checks.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/config/health_check_options.h"
#include "dataplane/codec/codec.h"
#include "dataplane/control/codecs.h"
#include "dataplane/table/health_check.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/service.pb.h"

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

// CheckHealthCheck accepts only hexadecimal digits.
TcpCheck ReadTcp(const v1::TcpCheck& from) {
  const auto read = [](const std::string& text, const std::string& hex) {
    return hex.empty() ? text : *ParseHexBytes(hex);
  };
  return {.send = read(from.send(), from.send_hex()),
          .expect = read(from.expect(), from.expect_hex())};
}

absl::StatusOr<RedisCheck> ReadRedis(const v1::RedisCheck& from,
                                     const std::shared_ptr<const Codec>& codec) {
  if (from.has_auth()) {
    auto login = MakeRedisLogin(from.auth(), "health_check.redis.auth");
    if (!login.ok()) return login.status();
    return RedisCheck{.login = *std::move(login)};
  }
  const bool opens = codec != nullptr && !codec->Opening(/*variant=*/0).empty();
  return RedisCheck{.login = opens ? codec : nullptr};
}

}  // namespace

absl::StatusOr<std::shared_ptr<const HealthCheck>> MakeHealthCheck(
    const v1::Service& service, const std::shared_ptr<const Codec>& codec) {
  if (!service.has_health_check()) return nullptr;
  const v1::HealthCheck& from = service.health_check();
  const absl::Status fits = CheckHealthCheck(from, service.mode(), service.message());
  if (!fits.ok()) return fits;
  auto check = std::make_shared<HealthCheck>();
  if (from.has_http()) {
    check->kind = ReadHttp(from.http());
  } else if (from.has_redis()) {
    absl::StatusOr<RedisCheck> redis = ReadRedis(from.redis(), codec);
    if (!redis.ok()) return redis.status();
    check->kind = *std::move(redis);
  } else {
    check->kind = ReadTcp(from.tcp());
  }
  check->interval = CheckIntervalOf(from);
  check->timeout = CheckTimeoutOf(from, check->interval);
  if (from.has_jitter()) check->jitter = from.jitter();
  if (from.has_rise()) check->rise = from.rise();
  if (from.has_fall()) check->fall = from.fall();
  return check;
}

}  // namespace trunkline
