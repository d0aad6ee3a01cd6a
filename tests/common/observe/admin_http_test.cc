#include "common/observe/admin_http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/unique_fd.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "common/observe/metrics_page.h"

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

  // A client that sends `bytes` and then nothing more.
  UniqueFd Connect(std::string_view bytes = "") {
    const auto address = ResolveAddress(*ParseAddress(absl::StrCat("127.0.0.1:", server_->port())));
    ConnectResult result = ConnectTo(*address);
    EXPECT_EQ(result.state, ConnectState::kConnected);
    EXPECT_EQ(send(result.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    return std::move(result.fd);
  }

  std::vector<UniqueFd> ConnectMany(size_t count, std::string_view bytes = "") {
    std::vector<UniqueFd> clients;
    while (clients.size() < count) clients.push_back(Connect(bytes));
    return clients;
  }

  // Returns whether the server has neither closed the connection nor sent a byte.
  static bool IsStillOpen(const UniqueFd& client) {
    char byte;
    return recv(client.get(), &byte, 1, MSG_PEEK) < 0 && WouldBlock(errno);
  }

  // Waits until the server closed the connection, and returns what it sent.
  static std::string ReadToEnd(const UniqueFd& client) {
    std::string text;
    char piece[65536];
    pollfd event = {.fd = client.get(), .events = POLLIN, .revents = 0};
    while (poll(&event, 1, -1) == 1) {
      const ssize_t n = recv(client.get(), piece, sizeof(piece), 0);
      if (n <= 0) break;
      text.append(piece, static_cast<size_t>(n));
    }
    return text;
  }

  // As many as the server keeps, less one for a client of the test.
  static constexpr size_t kManyClients = 127;

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

TEST_F(AdminHttpTest, FaultsThatLeaveTheProcessReadyAreShownBelowTheAnswer) {
  auto server = AdminHttp::Start(
      "127.0.0.1:0", page_, [this] { return reason_; },
      [] {
        return std::vector<std::string>{"controller lost", "CPU unknown"};
      });
  httplib::Client client("127.0.0.1", (*server)->port());
  EXPECT_EQ(client.Get("/readyz")->status, 200);
  EXPECT_EQ(client.Get("/readyz")->body, "ok\ncontroller lost\nCPU unknown\n");
  reason_ = "stopping";
  EXPECT_EQ(client.Get("/readyz")->status, 503);
  EXPECT_EQ(client.Get("/readyz")->body, "stopping\ncontroller lost\nCPU unknown\n");
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

TEST_F(AdminHttpTest, ClientsOfASocketWithoutAServerAreServedByTheNextOne) {
  auto listener = AdminHttp::Listen("127.0.0.1:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  UniqueFd copy(dup(listener->get()));
  const auto ready = [] { return ""; };
  server_ = *AdminHttp::Start(*std::move(listener), page_, ready);
  const int port = server_->port();
  EXPECT_EQ(Get("/healthz")->status, 200);
  const UniqueFd early = [&] {
    server_.reset();
    const auto address = ResolveAddress(*ParseAddress(absl::StrCat("127.0.0.1:", port)));
    return ConnectTo(*address).fd;
  }();
  server_ = *AdminHttp::Start(std::move(copy), page_, ready);
  EXPECT_EQ(server_->port(), port);
  EXPECT_EQ(Get("/healthz")->status, 200);
  EXPECT_TRUE(IsStillOpen(early));
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

TEST_F(AdminHttpTest, SilentConnectionsDelayNoAnswer) {
  const std::vector<UniqueFd> silent = ConnectMany(kManyClients);
  for (const char* path : {"/healthz", "/readyz", "/metrics"}) EXPECT_EQ(Get(path)->status, 200);
  for (const UniqueFd& client : silent) EXPECT_TRUE(IsStillOpen(client));
}

TEST_F(AdminHttpTest, UnfinishedRequestsDelayNoAnswer) {
  const std::vector<UniqueFd> slow = ConnectMany(kManyClients, "GET /healthz HTTP/1.1\r\nHost:");
  EXPECT_EQ(Get("/healthz")->status, 200);
  for (const UniqueFd& client : slow) EXPECT_TRUE(IsStillOpen(client));
  // The rest of the head may come in pieces.
  for (const std::string_view piece : {" x\r", "\n", "\r\n"}) {
    send(slow[0].get(), piece.data(), piece.size(), MSG_NOSIGNAL);
  }
  EXPECT_THAT(ReadToEnd(slow[0]), HasSubstr("200 OK"));
}

TEST_F(AdminHttpTest, ClientsThatReadNothingDelayNoAnswer) {
  const std::string help(4 << 20, 'x');  // more than sockets buffer
  page_.Register([&](MetricsWriter& writer) { writer.AddGauge("large", help, {}, 1); });
  const std::vector<UniqueFd> stuck = ConnectMany(8, "GET /metrics HTTP/1.1\r\n\r\n");
  EXPECT_EQ(Get("/healthz")->status, 200);
  for (const UniqueFd& client : stuck) EXPECT_GT(ReadToEnd(client).size(), help.size());
}

TEST_F(AdminHttpTest, HealthAndReadinessAnswerDuringAScrapeThatTakesLong) {
  absl::Notification started, release;
  page_.Register([&](MetricsWriter&) {
    if (!started.HasBeenNotified()) started.Notify();
    release.WaitForNotification();
  });
  const UniqueFd scraper = Connect("GET /metrics HTTP/1.1\r\n\r\n");
  started.WaitForNotification();
  EXPECT_EQ(Get("/healthz")->status, 200);
  EXPECT_EQ(Get("/readyz")->status, 200);
  release.Notify();
  EXPECT_THAT(ReadToEnd(scraper), HasSubstr("trunkline_build_info"));
}

TEST_F(AdminHttpTest, TooManySilentConnectionsPushOutTheOldest) {
  const UniqueFd oldest = Connect();
  const std::vector<UniqueFd> silent = ConnectMany(2 * kManyClients);
  EXPECT_EQ(Get("/healthz")->status, 200);
  EXPECT_EQ(ReadToEnd(oldest), "");
  EXPECT_TRUE(IsStillOpen(silent.back()));
}

TEST_F(AdminHttpTest, SilentConnectionsDoNotPushOutAScrape) {
  absl::Notification started, release;
  page_.Register([&](MetricsWriter&) {
    started.Notify();
    release.WaitForNotification();
  });
  const UniqueFd scraper = Connect("GET /metrics HTTP/1.1\r\n\r\n");
  started.WaitForNotification();
  const std::vector<UniqueFd> silent = ConnectMany(2 * kManyClients);
  EXPECT_EQ(Get("/healthz")->status, 200);
  release.Notify();
  EXPECT_THAT(ReadToEnd(scraper), HasSubstr("trunkline_build_info"));
}

TEST_F(AdminHttpTest, HeadHasTheLengthWithoutABody) {
  const std::string answer = ReadToEnd(Connect("HEAD /healthz?verbose HTTP/1.0\r\n\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 3\r\n"));
  EXPECT_TRUE(absl::EndsWith(answer, "\r\n\r\n"));
}

TEST_F(AdminHttpTest, WrongRequestsGetAnErrorStatus) {
  EXPECT_THAT(ReadToEnd(Connect("DELETE /metrics HTTP/1.1\r\n\r\n")), HasSubstr(" 405 "));
  EXPECT_THAT(ReadToEnd(Connect("hello\r\n\r\n")), HasSubstr(" 400 "));
  EXPECT_THAT(ReadToEnd(Connect("GET /" + std::string(9000, 'x'))), HasSubstr(" 431 "));
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
