#include "agent/report/load_report_builder.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "agent/sample/load_sample.h"
#include "trunkline/v1/load_report.pb.h"

namespace trunkline {
namespace {

const AgentIdentity kIdentity = {
    .agent_id = "a", .boot_id = "b", .version = "1", .trunk_address = "h:7073"};

// All values differ, so that confused fields fail the test.
LoadSample Sample() {
  LoadSample sample;
  sample.service = "metering";
  sample.endpoint_id = "m1";
  sample.capacity_hint = 1;
  sample.cores = 2;
  sample.server_boot_id = "7@8";
  sample.cpu_utilization = 3;
  sample.cpu_source = "host";
  sample.memory_utilization = 4;
  sample.connection_utilization = 5;
  sample.nic_utilization = 6;
  sample.cpu_pressure = 7;
  sample.memory_pressure = 8;
  sample.io_pressure = 9;
  sample.connections = 10;
  sample.active_streams = 11;
  sample.bytes_per_second = 12;
  sample.nic_bytes_per_second = 13;
  sample.successes_per_second = 14;
  sample.errors_per_second = 15;
  sample.accept_overflows_per_second = 16;
  sample.cpu_throttled = 17;
  sample.reachable = false;
  return sample;
}

TEST(LoadReportBuilderTest, UnknownUtilizationIsUnsetAndNotZero) {
  LoadSample sample = Sample();
  const auto load = [&] { return BuildLoadReport(kIdentity, 1, false, {sample}).endpoints(0); };
  sample.cpu_utilization = 0;
  sample.memory_utilization = 0;
  EXPECT_TRUE(load().has_cpu_utilization()) << "idle";
  EXPECT_TRUE(load().has_memory_utilization());
  sample.cpu_known = false;
  sample.memory_utilization.reset();
  EXPECT_FALSE(load().has_cpu_utilization());
  EXPECT_FALSE(load().has_memory_utilization());
}

TEST(LoadReportBuilderTest, ValuesOfSourcesThatAreNotThereAreUnset) {
  const v1::EndpointLoad load = BuildLoadReport(kIdentity, 1, false, {LoadSample()}).endpoints(0);
  EXPECT_FALSE(load.has_memory_utilization());
  EXPECT_FALSE(load.has_cpu_throttled());
  EXPECT_FALSE(load.has_connections());
  EXPECT_FALSE(load.has_connection_utilization());
  EXPECT_FALSE(load.has_nic_bytes_per_second());
  EXPECT_FALSE(load.has_nic_utilization());
  EXPECT_FALSE(load.has_accept_overflows_per_second());
  EXPECT_FALSE(load.pressure().has_cpu());
  EXPECT_FALSE(load.pressure().has_memory());
  EXPECT_FALSE(load.pressure().has_io());
  LoadSample idle;
  idle.nic_utilization = 0;
  idle.connections = 0;
  idle.cpu_throttled = 0;
  const v1::EndpointLoad of_idle = BuildLoadReport(kIdentity, 1, false, {idle}).endpoints(0);
  EXPECT_TRUE(of_idle.has_nic_utilization());
  EXPECT_TRUE(of_idle.has_connections());
  EXPECT_TRUE(of_idle.has_cpu_throttled());
}

TEST(LoadReportBuilderTest, EveryValueIsInItsField) {
  const v1::ReportLoadRequest report = BuildLoadReport(kIdentity, 42, false, {Sample()});
  EXPECT_EQ(report.seq(), 42u);
  EXPECT_FALSE(report.leaving());
  ASSERT_EQ(report.endpoints_size(), 1);
  const v1::EndpointLoad& load = report.endpoints(0);
  EXPECT_EQ(load.service(), "metering");
  EXPECT_EQ(load.endpoint_id(), "m1");
  EXPECT_EQ(load.server_boot_id(), "7@8");
  EXPECT_EQ(load.cpu_source(), "host");
  EXPECT_EQ(load.cores(), 2);
  EXPECT_EQ(load.cpu_utilization(), 3);
  EXPECT_EQ(load.memory_utilization(), 4);
  EXPECT_EQ(load.connection_utilization(), 5);
  EXPECT_EQ(load.nic_utilization(), 6);
  EXPECT_EQ(load.pressure().cpu(), 7);
  EXPECT_EQ(load.pressure().memory(), 8);
  EXPECT_EQ(load.pressure().io(), 9);
  EXPECT_EQ(load.connections(), 10u);
  EXPECT_EQ(load.active_streams(), 11u);
  EXPECT_EQ(load.bytes_per_second(), 12);
  EXPECT_EQ(load.nic_bytes_per_second(), 13);
  EXPECT_EQ(load.successes_per_second(), 14);
  EXPECT_EQ(load.errors_per_second(), 15);
  EXPECT_EQ(load.accept_overflows_per_second(), 16);
  EXPECT_EQ(load.cpu_throttled(), 17);
  EXPECT_FALSE(load.reachable());
}

TEST(LoadReportBuilderTest, AnnouncementHasIdentityAndEndpointsOnlyOnRequest) {
  EXPECT_FALSE(BuildLoadReport(kIdentity, 1, false, {Sample()}).has_announcement());
  const v1::AgentAnnouncement announcement =
      BuildLoadReport(kIdentity, 1, true, {Sample(), Sample()}).announcement();
  EXPECT_EQ(announcement.agent_id(), "a");
  EXPECT_EQ(announcement.boot_id(), "b");
  EXPECT_EQ(announcement.version(), "1");
  EXPECT_EQ(announcement.trunk_address(), "h:7073");
  ASSERT_EQ(announcement.endpoints_size(), 2);
  EXPECT_EQ(announcement.endpoints(1).capacity_hint(), 1);
  EXPECT_EQ(announcement.endpoints(1).cores(), 2);
  EXPECT_EQ(announcement.endpoints(1).server_boot_id(), "7@8");
}

TEST(LoadReportBuilderTest, UtilizationIsTheLargestExceptMemory) {
  EXPECT_EQ(Sample().Utilization(), 6);
  LoadSample sample = Sample();
  sample.memory_utilization = 100;
  sample.cpu_utilization = 20;
  EXPECT_EQ(sample.Utilization(), 20);
}

Directive WithInterval(int64_t seconds, int32_t nanos) {
  v1::ReportLoadResponse message;
  message.mutable_report_interval()->set_seconds(seconds);
  message.mutable_report_interval()->set_nanos(nanos);
  return ReadDirective(message);
}

TEST(ReadDirectiveTest, IntervalIsClampedToItsBounds) {
  EXPECT_EQ(WithInterval(2, 500'000'000).report_interval, absl::Milliseconds(2500));
  EXPECT_EQ(WithInterval(0, 1).report_interval, kMinReportInterval);
  EXPECT_EQ(WithInterval(1'000'000, 0).report_interval, kMaxReportInterval);
}

TEST(ReadDirectiveTest, AbsentOrNegativeIntervalChangesNothing) {
  EXPECT_EQ(ReadDirective(v1::ReportLoadResponse()).report_interval, std::nullopt);
  EXPECT_EQ(WithInterval(0, 0).report_interval, std::nullopt);
  EXPECT_EQ(WithInterval(-5, 0).report_interval, std::nullopt);
}

}  // namespace
}  // namespace trunkline
