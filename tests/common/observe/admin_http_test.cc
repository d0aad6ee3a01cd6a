#include "common/observe/admin_http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"

namespace trunkline {
namespace {

using testing::HasSubstr;

class AdminHttpTest : public testing::Test {
 protected:
  AdminHttpTest() : page_("trunkline-test"), server_(Listen("127.0.0.1:0")) {}

  std::unique_ptr<AdminHttp> Listen(const std::string& address) {
    auto server = AdminHttp::Start(address, page_, [this] { return reason_; });
    EXPECT_TRUE(server.ok()) << server.status();
    return server.ok() ? std::move(*server) : nullptr;
  }

  httplib::Result Get(const std::string& path) {
    return httplib::Client("127.0.0.1", server_->port()).Get(path);
  }

  MetricsPage page_;
  std::string reason_;
  std::unique_ptr<AdminHttp> server_;
};

TEST_F(AdminHttpTest, HealthIsOkWhileTheProcessLives) {
  const auto answer = Get("/healthz");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "ok\n");
}

TEST_F(AdminHttpTest, UnreadyProcessReportsTheReason) {
  EXPECT_EQ(Get("/readyz")->status, 200);
  reason_ = "no snapshot yet";
  const auto answer = Get("/readyz");
  EXPECT_EQ(answer->status, 503);
  EXPECT_EQ(answer->body, "no snapshot yet\n");
}

TEST_F(AdminHttpTest, MetricsAreInThePrometheusTextFormat) {
  const auto answer = Get("/metrics");
  EXPECT_EQ(answer->status, 200);
  EXPECT_THAT(answer->get_header_value("Content-Type"), HasSubstr("text/plain; version=0.0.4"));
  EXPECT_THAT(answer->body, HasSubstr("trunkline_build_info{"));
}

TEST_F(AdminHttpTest, UnknownPathListsTheKnownOnes) {
  const auto answer = Get("/");
  EXPECT_EQ(answer->status, 404);
  EXPECT_THAT(answer->body, HasSubstr("/metrics, /healthz and /readyz"));
}

TEST_F(AdminHttpTest, ErrorNamesThePortInUse) {
  const std::string address = absl::StrCat("127.0.0.1:", server_->port());
  const auto second = AdminHttp::Start(address, page_, [] { return ""; });
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(address));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("Address already in use"));
}

TEST_F(AdminHttpTest, PortIsFreeAgainAfterTheServer) {
  const std::string address = absl::StrCat("127.0.0.1:", server_->port());
  ASSERT_EQ(Get("/healthz")->status, 200);
  server_.reset();
  server_ = Listen(address);
  EXPECT_EQ(Get("/healthz")->status, 200);
}

TEST_F(AdminHttpTest, MalformedAndUnixAddressesAreRefused) {
  for (const std::string address : {"nine", "unix:/run/x", "127.0.0.1"}) {
    const auto server = AdminHttp::Start(address, page_, [] { return ""; });
    ASSERT_FALSE(server.ok()) << address;
    EXPECT_THAT(std::string(server.status().message()), HasSubstr(address));
  }
}

TEST_F(AdminHttpTest, ParallelScrapesAllAnswer) {
  std::vector<std::thread> scrapers;
  std::atomic<int> answered{0};
  for (int i = 0; i < 50; ++i) {
    scrapers.emplace_back([&] {
      const auto answer = Get("/metrics");
      if (answer && answer->status == 200) ++answered;
    });
  }
  for (std::thread& scraper : scrapers) scraper.join();
  EXPECT_EQ(answered, 50);
}

TEST_F(AdminHttpTest, BodyIsRefused) {
  const auto answer = httplib::Client("127.0.0.1", server_->port())
                          .Post("/metrics", std::string(100'000, 'x'), "text/plain");
  ASSERT_TRUE(!answer || answer->status >= 400);
  EXPECT_EQ(Get("/healthz")->status, 200);
}

TEST_F(AdminHttpTest, StopsAtOnceWhileAClientHoldsAnIdleConnection) {
  httplib::Client idle("127.0.0.1", server_->port());
  idle.set_keep_alive(true);
  ASSERT_EQ(idle.Get("/healthz")->status, 200);
  const MonotonicTime start = MonotonicNow();
  server_.reset();
  EXPECT_LT(MonotonicNow() - start, absl::Seconds(1));
}

}  // namespace
}  // namespace trunkline
