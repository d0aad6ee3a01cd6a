#include "dataplane/exclusive_parts.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/absl_view.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "common/observe/admin_http.h"
#include "common/observe/log.h"
#include "common/observe/metrics_page.h"
#include "dataplane/data_plane.h"
#include "dataplane/listen/handover_wire.h"
#include "dataplane/listen/inheritance.h"
#include "dataplane/proxy_settings.h"
#include "dataplane/stats/traffic_stats.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

// Port 0 selects a free port, so an address fits as it is written or as it is bound.
bool ListensAt(const HandoverSockets& inherited, const std::string& listen) {
  if (!inherited.admin) return false;
  return inherited.admin_listen == listen ||
         WithPort(inherited.admin_listen, BoundPort(inherited.admin.get())) == listen;
}

}  // namespace

ExclusiveParts::ExclusiveParts(const v1::ProxyConfig& config, DataPlane& data_plane,
                               TrafficStats& stats, const MetricsPage& metrics, UniqueFd admin)
    : config_(config),
      data_plane_(data_plane),
      metrics_(metrics),
      admin_(std::move(admin)),
      subscriber_(ReadSubscriberOptions(config_), stats, CallsOf(data_plane_)) {}

absl::Status ExclusiveParts::TakeOver(Inheritance& inheritance) {
  if (inheritance.empty()) return absl::OkStatus();
  if (absl::Status usable = AwaitUse(); !usable.ok()) return inheritance.Decline(usable);
  return inheritance.Confirm();
}

absl::Status ExclusiveParts::AwaitUse() {
  if (!subscriber_.AwaitReady()) return absl::UnavailableError("there is no snapshot to serve");
  if (data_plane_.UsesInherited()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "the successor would use none of the running proxy's listening sockets, because its services "
      "listen at other addresses: if that is meant, stop the running proxy first");
}

absl::Status ExclusiveParts::Start() {
  absl::StatusOr<UniqueFd> admin = CopyOf(admin_);
  if (!admin.ok()) return admin.status();
  auto http = AdminHttp::Start(
      *std::move(admin), metrics_, [this] { return NotReady(subscriber_, data_plane_); },
      [this] { return Notes(subscriber_, data_plane_); });
  if (!http.ok()) return http.status();
  http_ = *std::move(http);
  data_plane_.StartAccepting();
  LogInfo("admin HTTP listens on {}", WithPort(AdminListenOf(config_), http_->port()));
  return absl::OkStatus();
}

void ExclusiveParts::Release() {
  // Stop accepting last, to keep the gap for clients short.
  http_.reset();
  subscriber_.Pause();
  data_plane_.StopAccepting();
}

void ExclusiveParts::TakeBack() {
  // At once, because clients wait; the rest may take long.
  data_plane_.StartAccepting();
  subscriber_.Resume();
  if (absl::Status started = Start(); !started.ok()) {
    LogError("the admin server does not run, clients are served: {}", StdView(started.message()));
  }
}

absl::StatusOr<HandoverSockets> ExclusiveParts::Offer() {
  subscriber_.Save();
  absl::StatusOr<ListeningSockets> services = data_plane_.CopySockets();
  if (!services.ok()) return services.status();
  absl::StatusOr<UniqueFd> admin = CopyOf(admin_);
  if (!admin.ok()) return admin.status();
  return HandoverSockets{.services = *std::move(services),
                         .admin_listen = AdminListenOf(config_),
                         .admin = *std::move(admin)};
}

void ExclusiveParts::Drain() {
  // A successor may not use it, and connects to it would wait.
  admin_.Reset();
  data_plane_.Drain(DrainTimeoutOf(config_));
}

absl::StatusOr<UniqueFd> OpenAdminSocket(const v1::ProxyConfig& config,
                                         HandoverSockets& inherited) {
  const std::string listen = AdminListenOf(config);
  if (ListensAt(inherited, listen)) return std::move(inherited.admin);
  absl::StatusOr<UniqueFd> socket = AdminHttp::Listen(listen);
  if (socket.ok() || !inherited.admin) return socket;
  return absl::Status(
      socket.status().code(),
      absl::StrCat(socket.status().message(), " (the running proxy's is ",
                   WithPort(inherited.admin_listen, BoundPort(inherited.admin.get())), ")"));
}

absl::StatusOr<UniqueFd> OpenHandoverSocket(const v1::ProxyConfig& config,
                                            Inheritance& inheritance) {
  if (config.handover_socket().empty()) return UniqueFd();
  if (!inheritance.empty()) return inheritance.TakeHandoverSocket();
  return ListenForHandover(config.handover_socket());
}

}  // namespace trunkline
