// Load reports of one agent, from the wire through validation into the controller's core, and the
// snapshot and the delta that the controller then sends to proxies. Input: see control_messages.h.
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cmath>
#include <initializer_list>
#include <memory>
#include <optional>

#include "common/base/balancing_policy.h"
#include "common/base/utf8.h"
#include "common/config/names.h"
#include "controller/core/control_core.h"
#include "controller/core/snapshot_delta.h"
#include "controller/wire/report.h"
#include "controller/wire/snapshot.h"
#include "dataplane/control/snapshot_sequence.h"
#include "dataplane/control/snapshot_wire.h"
#include "tests/controller/core/core_fixture.h"
#include "tests/fuzz/control_messages.h"

namespace trunkline {
namespace {

void CheckName(const std::string& name) {
  EXPECT_FALSE(name.empty());
  EXPECT_LE(name.size(), kMaxNameLength);
}

// Validated text is copied into messages and files, which hold UTF-8 only.
void CheckText(const std::string& text) {
  EXPECT_LE(text.size(), kMaxNameLength);
  EXPECT_TRUE(IsUtf8(text));
}

void CheckLoad(const ReportedLoad& load) {
  for (const std::optional<double> number : std::initializer_list<std::optional<double>>{
           load.cpu_utilization, load.cpu_throttled, load.memory_utilization,
           load.connection_utilization, load.bytes_per_second, load.nic_utilization,
           load.successes_per_second, load.errors_per_second, load.named_utilization}) {
    if (!number) continue;
    EXPECT_TRUE(std::isfinite(*number) && *number >= 0) << *number;
  }
  CheckText(load.cpu_source);
  CheckText(load.server_boot_id);
  CheckText(load.named_metric);
}

void CheckReport(const ValidReport& report) {
  for (const ReportedLoad& load : report.loads) CheckLoad(load);
  if (!report.announcement) return;
  CheckName(report.announcement->agent_id);
  CheckName(report.announcement->boot_id);
  CheckText(report.announcement->version);
  // A host name, which ParseAddress bounds, and a port.
  EXPECT_LE(report.announcement->trunk_address.size(), 253 + std::string(":65535").size());
  for (const AnnouncedEndpoint& endpoint : report.announcement->endpoints) {
    CheckName(endpoint.key.service);
    CheckName(endpoint.key.endpoint_id);
    CheckText(endpoint.server_boot_id);
    EXPECT_GT(endpoint.cores, 0);
  }
}

// For any report, proxies accept the resulting snapshot.
void CheckPublished(const ClusterSnapshot& snapshot) {
  v1::Snapshot message;
  WriteSnapshot(snapshot, &message);
  EXPECT_TRUE(message.ParseFromString(message.SerializeAsString()));
  TrafficStats stats(1);
  const auto resolve = [](const Address&) -> AddressList { return nullptr; };
  std::vector<RefusedService> refused;
  const auto table = BuildRoutingTable(message, nullptr, resolve, stats, &refused);
  EXPECT_TRUE(table.ok()) << table.status();
  EXPECT_TRUE(refused.empty()) << refused[0].reason;
}

// A proxy that gets the delta has exactly the snapshot that one without a base gets.
void CheckDelta(const ClusterSnapshot& base, const ClusterSnapshot& target) {
  v1::Snapshot held, whole;
  WriteSnapshot(base, &held);
  WriteSnapshot(target, &whole);
  v1::SubscribeResponse response;
  WriteDelta(Diff(base, target), response.mutable_delta());
  EXPECT_TRUE(response.ParseFromString(response.SerializeAsString()));
  const absl::StatusOr<v1::Snapshot> next = NextSnapshot(held, response);
  EXPECT_TRUE(next.ok()) << next.status();
  if (!next.ok()) return;
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*next, whole));
}

ControlCore::Options CoreOptions() {
  ServiceSpec cache = Service("cache");
  cache.listen = {"127.0.0.1:9001"};
  cache.policy = BalancingPolicy::kStatic;
  return {.services = {Service("db", {{.endpoint_id = "a", .weight = 2}}), cache},
          .first = {.epoch = 1, .version = 1}};
}

// Like LoadReportingService: the first report of a stream announces, later ones do not.
class AgentStream {
 public:
  void Take(v1::ReportLoadRequest message) {
    if (!agent_id_.empty()) message.clear_announcement();
    const absl::StatusOr<ValidReport> report = ReadLoadReport(message, agent_id_);
    if (!report.ok()) {
      EXPECT_EQ(report.status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_FALSE(report.status().message().empty());
      return;
    }
    CheckReport(*report);
    if (report->announcement) {
      agent_id_ = report->announcement->agent_id;
      (void)core_.registry().Announce(kSession, *report->announcement, now_);
    }
    (void)core_.registry().Report(kSession, report->seq, report->loads, now_);
    if (report->leaving) core_.registry().Leave(kSession);
    Tick();
  }

 private:
  static constexpr AgentSession kSession = 1;

  void Tick() {
    now_ = now_ + absl::Seconds(1);
    core_.Tick(now_);
    const auto& current = core_.publisher().current();
    CheckPublished(*current);
    for (const auto& base : core_.publisher().history()) CheckDelta(*base, *current);
  }

  MonotonicTime now_ = At(0);
  ControlCore core_{CoreOptions(), now_};
  std::string agent_id_;
};

}  // namespace
}  // namespace trunkline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  AgentStream stream;
  for (const auto& report : test::ReadMessages<v1::ReportLoadRequest>({data, size}))
    stream.Take(report);
  return 0;
}
