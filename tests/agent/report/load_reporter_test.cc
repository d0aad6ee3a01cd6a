// Tests each message of the sequence in load_report.proto, on the side of the agent.
#include "agent/report/load_reporter.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/report/load_report_builder.h"
#include "agent/report/sampling_loop.h"
#include "agent/sample/load_sample.h"
#include "agent/sample/load_sampler.h"
#include "agent/sample/service_sampler.h"
#include "common/base/clock.h"
#include "tests/agent/fixture_root.h"
#include "tests/agent/report/fake_controller.h"
#include "trunkline/v1/load_report.pb.h"

namespace trunkline {
namespace {

std::vector<LoadSample> Samples(uint32_t streams) {
  LoadSample sample;
  sample.service = "metering";
  sample.endpoint_id = "m1";
  sample.cores = 2;
  sample.active_streams = streams;
  return {sample};
}

class LoadReporterTest : public testing::Test {
 protected:
  std::unique_ptr<LoadReporter> Reporter(const std::string& controller) {
    return std::make_unique<LoadReporter>(LoadReporter::Options{
        .controller = controller,
        .identity = {.agent_id = "m1", .boot_id = "b", .version = "1", .trunk_address = "h:7073"},
        .on_directive = [this](const Directive& directive) {
          absl::MutexLock lock(&mutex_);
          directives_.push_back(directive);
        }});
  }

  Directive AwaitDirective() {
    absl::MutexLock lock(&mutex_);
    const auto some = [this]()
                          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !directives_.empty(); };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&some), kPatience));
    return directives_.empty() ? Directive() : directives_.back();
  }

  absl::Mutex mutex_;
  std::vector<Directive> directives_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(LoadReporterTest, OnlyTheFirstReportOfAStreamAnnounces) {
  FakeController controller;
  const auto reporter = Reporter(controller.address());
  reporter->Offer(Samples(1));
  const v1::ReportLoadRequest first = controller.AwaitCount(1)[0].report;
  EXPECT_EQ(first.seq(), 1u);
  EXPECT_EQ(first.announcement().agent_id(), "m1");
  EXPECT_EQ(first.announcement().trunk_address(), "h:7073");
  ASSERT_EQ(first.announcement().endpoints_size(), 1);
  EXPECT_DOUBLE_EQ(first.announcement().endpoints(0).cores(), 2);
  reporter->Offer(Samples(2));
  const v1::ReportLoadRequest second = controller.AwaitCount(2)[1].report;
  EXPECT_EQ(second.seq(), 2u);
  EXPECT_FALSE(second.has_announcement());
  EXPECT_EQ(second.endpoints(0).active_streams(), 2u);
}

TEST_F(LoadReporterTest, NothingIsSentBeforeTheFirstSamples) {
  FakeController controller;
  const auto reporter = Reporter(controller.address());
  reporter->Stop(absl::Seconds(1));
  EXPECT_TRUE(controller.received().empty());
}

TEST_F(LoadReporterTest, DirectiveIsAppliedAndStored) {
  FakeController controller;
  v1::ReportLoadResponse directive;
  directive.mutable_report_interval()->set_seconds(3);
  auto& endpoint = *directive.add_endpoints();
  endpoint.set_service("metering");
  endpoint.set_endpoint_id("m1");
  endpoint.set_draining(true);
  controller.set_directive(directive);
  const auto reporter = Reporter(controller.address());
  reporter->Offer(Samples(1));
  EXPECT_EQ(AwaitDirective().report_interval, absl::Seconds(3));
  const LoadReporter::Status status = reporter->status();
  EXPECT_TRUE(status.connected);
  EXPECT_EQ(status.directives_received, 1u);
  ASSERT_EQ(status.endpoints.size(), 1u);
  EXPECT_TRUE(status.endpoints[0].draining);
}

TEST_F(LoadReporterTest, RefusedEndpointsAreKnownWithTheirReasons) {
  FakeController controller;
  v1::ReportLoadResponse directive;
  auto& refused = *directive.add_refused();
  refused.set_service("metering");
  refused.set_endpoint_id("m1");
  refused.set_reason("no service \"metering\" is configured");
  controller.set_directive(directive);
  const auto reporter = Reporter(controller.address());
  reporter->Offer(Samples(1));
  EXPECT_EQ(AwaitDirective().refused.size(), 1u);
  const LoadReporter::Status status = reporter->status();
  ASSERT_EQ(status.refused.size(), 1u);
  EXPECT_EQ(status.refused[0].service, "metering");
  EXPECT_EQ(status.refused[0].endpoint_id, "m1");
  EXPECT_EQ(status.refused[0].reason, "no service \"metering\" is configured");
}

TEST_F(LoadReporterTest, ReturningControllerGetsAnAnnouncementAgain) {
  auto controller = std::make_unique<FakeController>();
  const int port = controller->port();
  const auto reporter = Reporter(controller->address());
  reporter->Offer(Samples(1));
  controller->AwaitCount(1);
  controller->Kill();
  controller = std::make_unique<FakeController>(port);
  // Without new samples the last ones are repeated.
  const v1::ReportLoadRequest again = controller->AwaitCount(1)[0].report;
  EXPECT_EQ(again.announcement().boot_id(), "b");
  EXPECT_EQ(again.endpoints(0).active_streams(), 1u);
  EXPECT_GT(again.seq(), 1u) << "the sequence belongs to the boot id, not to the stream";
}

TEST_F(LoadReporterTest, NewestOfferWinsWhileTheControllerIsUnreachable) {
  auto controller = std::make_unique<FakeController>();
  const int port = controller->port();
  controller.reset();
  const auto reporter = Reporter(absl::StrCat("127.0.0.1:", port));
  for (uint32_t streams = 1; streams <= 3; ++streams) reporter->Offer(Samples(streams));
  EXPECT_FALSE(reporter->status().connected);
  controller = std::make_unique<FakeController>(port);
  EXPECT_EQ(controller->AwaitCount(1)[0].report.endpoints(0).active_streams(), 3u);
}

TEST_F(LoadReporterTest, ControllerThatDoesNotReadBlocksNoOfferAndGetsTheNewest) {
  FakeController controller;
  controller.set_reads(false);
  const auto reporter = Reporter(controller.address());
  // Far more than the window of a stream: if Offer wrote or queued reports, this loop would block.
  constexpr uint32_t kOffers = 20'000;
  for (uint32_t streams = 1; streams <= kOffers; ++streams) reporter->Offer(Samples(streams));
  controller.set_reads(true);
  controller.Await([](const FakeController::Received& received) {
    return received.report.endpoints(0).active_streams() == kOffers;
  });
  EXPECT_LT(controller.received().size(), kOffers);
}

TEST_F(LoadReporterTest, RefusedStreamIsRetried) {
  FakeController controller;
  controller.RefuseStreams(2, grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "agent_id: no"));
  const auto reporter = Reporter(controller.address());
  reporter->Offer(Samples(1));
  EXPECT_TRUE(controller.AwaitCount(1)[0].report.has_announcement());
}

TEST_F(LoadReporterTest, StopReportsLeavingAndHalfCloses) {
  FakeController controller;
  const auto reporter = Reporter(controller.address());
  reporter->Offer(Samples(1));
  controller.AwaitCount(1);
  reporter->Stop(kPatience);
  const std::vector<FakeController::Received> received = controller.received();
  ASSERT_EQ(received.size(), 2u);
  EXPECT_FALSE(received[0].report.leaving());
  EXPECT_TRUE(received[1].report.leaving());
  EXPECT_EQ(controller.AwaitHalfCloses(1), 1);
}

TEST_F(LoadReporterTest, StopWithoutAControllerDoesNotWaitForOne) {
  const auto controller = std::make_unique<FakeController>();
  const std::string address = controller->address();
  controller->Kill();
  const auto reporter = Reporter(address);
  reporter->Offer(Samples(1));
  const MonotonicTime start = MonotonicNow();
  reporter->Stop(kPatience);
  EXPECT_LT(MonotonicNow() - start, kPatience / 2);
}

TEST_F(LoadReporterTest, StopDoesNotWaitForAControllerThatDoesNotRead) {
  FakeController controller;
  controller.set_reads(false);
  const auto reporter = Reporter(controller.address());
  for (uint32_t streams = 1; streams <= 1000; ++streams) reporter->Offer(Samples(streams));
  const MonotonicTime start = MonotonicNow();
  reporter->Stop(absl::Milliseconds(100));
  EXPECT_LT(MonotonicNow() - start, kPatience / 2);
  controller.set_reads(true);
}

// Tests loop, sampler, schedule and stream together, on a recorded machine.
class ReportingTest : public LoadReporterTest {
 protected:
  ReportingTest() : root_("linux-6.18-hybrid"), files_(root_.path()), traffic_(1, 1) {}

  LoadSampler Sampler() {
    ServiceSamplerOptions service;
    service.local = {.name = "metering", .endpoint_id = "m1", .cpu = {.pid = 32321}};
    service.try_connect = [] { return true; };
    return LoadSampler(files_, traffic_, {.services = {service}});
  }
  void SetCpuSeconds(int seconds) {
    root_.Write("/sys/fs/cgroup/cpuacct/tlrec/meterstore/cpuacct.usage",
                absl::StrCat(seconds, "000000000\n"));
  }

  FixtureRoot root_;
  SystemFiles files_;
  TrafficTable traffic_;
  FakeController controller_;
};

TEST_F(ReportingTest, DirectiveShortensTheInterval) {
  v1::ReportLoadResponse directive;
  directive.mutable_report_interval()->set_nanos(100'000'000);
  controller_.set_directive(directive);
  LoadSampler sampler = Sampler();
  // Without the directive the second report would be due in an hour.
  SamplingLoop loop(sampler, absl::Hours(1));
  LoadReporter reporter({.controller = controller_.address(),
                         .identity = {.agent_id = "m1"},
                         .on_directive = [&](const Directive& directive) {
                           loop.SetInterval(*directive.report_interval);
                         }});
  loop.Start([&](std::vector<LoadSample> samples) { reporter.Offer(std::move(samples)); },
             [](const std::vector<LoadSample>&) {});
  controller_.AwaitCount(4);
  loop.Stop();
  reporter.Stop(kPatience);
}

TEST(SamplingLoopTest, ServerOfHundredsOfProcessesIsSampledLessOften) {
  EXPECT_EQ(SamplingLoop::FastPeriodAt(absl::Microseconds(40)), absl::Milliseconds(30));
  EXPECT_EQ(SamplingLoop::FastPeriodAt(absl::Microseconds(600)), absl::Milliseconds(60));
  EXPECT_EQ(SamplingLoop::FastPeriodAt(absl::Milliseconds(7)), absl::Milliseconds(100));
}

TEST_F(ReportingTest, HotServerIsReportedAtOnce) {
  SetCpuSeconds(100);
  LoadSampler sampler = Sampler();
  SamplingLoop loop(sampler, absl::Hours(1));
  LoadReporter reporter(
      {.controller = controller_.address(), .identity = {.agent_id = "m1"}, .on_directive = {}});
  loop.Start([&](std::vector<LoadSample> samples) { reporter.Offer(std::move(samples)); },
             [](const std::vector<LoadSample>&) {});
  const v1::ReportLoadRequest first = controller_.AwaitCount(1)[0].report;
  EXPECT_LT(first.endpoints(0).cpu_utilization(), 0.9);
  EXPECT_DOUBLE_EQ(first.announcement().endpoints(0).cores(), 0.5);
  // Fifty seconds of CPU within half a second, of half a core.
  SetCpuSeconds(150);
  const v1::ReportLoadRequest hot = controller_.AwaitCount(2)[1].report;
  EXPECT_GE(hot.endpoints(0).cpu_utilization(), 0.9);
  // Half a second later it has cooled down.
  const v1::ReportLoadRequest cool = controller_.AwaitCount(3)[2].report;
  EXPECT_LE(cool.endpoints(0).cpu_utilization(), 0.8);
  loop.Stop();
  reporter.Stop(kPatience);
}

}  // namespace
}  // namespace trunkline
