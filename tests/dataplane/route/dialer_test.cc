#include "dataplane/route/dialer.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/net/socket.h"
#include "dataplane/stats/traffic_stats.h"
#include "tests/common/log_capture.h"

namespace trunkline {
namespace {

class DialerTest : public ::testing::Test, public Dialer::Owner {
 protected:
  bool HasSocket() const override { return has_socket_; }
  void DialAgain() override {
    ++dialed_again_;
    if (on_dial_again_) on_dial_again_();
  }

  // Returns a listening address and one where nothing listens.
  SocketAddress Listening() {
    listener_ = ListenOn({.host = "127.0.0.1", .port = 0}).value();
    return Local(BoundPort(listener_.get()));
  }
  static SocketAddress Local(int port) {
    return ResolveAddress({.host = "127.0.0.1", .port = static_cast<uint16_t>(port)}).value();
  }
  [[nodiscard]] bool RunUntil(const std::function<bool()>& condition) {
    const MonotonicTime deadline = MonotonicNow() + absl::Seconds(20);
    while (!condition()) {
      if (MonotonicNow() > deadline) return false;
      loop_.RunOnce(absl::Milliseconds(20));
    }
    return true;
  }

  EventLoop loop_;
  WorkerStats stats_;
  bool has_socket_ = true;
  int dialed_again_ = 0;
  std::function<void()> on_dial_again_;
  UniqueFd listener_;
  Dialer dialer_{loop_, stats_, *this};
};

TEST_F(DialerTest, ListeningServerIsReached) {
  const ConnectResult result = dialer_.Connect(Listening());
  EXPECT_TRUE(result.fd);
  EXPECT_FALSE(Dialer::IsOurFault(result));
  EXPECT_FALSE(dialer_.lacking());
}

TEST_F(DialerTest, RefusedConnectIsTheServersFault) {
  const SocketAddress target = Listening();
  listener_.Reset();
  const ConnectResult result = dialer_.Connect(target);
  EXPECT_FALSE(Dialer::IsOurFault(result));
  EXPECT_EQ(stats_.socket_shortages.Value(), 0u);
}

TEST_F(DialerTest, DialsStopUntilADescriptorIsFree) {
  const SocketAddress target = Listening();
  has_socket_ = false;
  const ConnectResult first = dialer_.Connect(target);
  EXPECT_TRUE(Dialer::IsOurFault(first));
  EXPECT_EQ(first.error, EMFILE);
  EXPECT_TRUE(dialer_.lacking());
  EXPECT_EQ(stats_.sockets_short.Value(), 1) << "no worker accepts new clients";
  has_socket_ = true;
  EXPECT_TRUE(Dialer::IsOurFault(dialer_.Connect(target))) << "pending flows come first";
  EXPECT_EQ(stats_.socket_shortages.Value(), 1u);
  ASSERT_TRUE(RunUntil([&] { return dialed_again_ == 1; }));
  EXPECT_EQ(stats_.sockets_short.Value(), 0);
  EXPECT_FALSE(dialer_.lacking());
  EXPECT_TRUE(dialer_.Connect(target).fd);
}

TEST_F(DialerTest, DialsAreRetriedDuringALongShortage) {
  const SocketAddress target = Listening();
  has_socket_ = false;
  on_dial_again_ = [&] { EXPECT_TRUE(Dialer::IsOurFault(dialer_.Connect(target))); };
  EXPECT_TRUE(Dialer::IsOurFault(dialer_.Connect(target)));
  ASSERT_TRUE(RunUntil([&] { return dialed_again_ == 3; }));
  EXPECT_EQ(stats_.sockets_short.Value(), 1);
  EXPECT_EQ(stats_.socket_shortages.Value(), 4u);
}

TEST_F(DialerTest, ShortagesAreLoggedWithTheirOwnRemedy) {
  const test::LogCapture log;
  dialer_.OnUnwatchable(Local(9), absl::ResourceExhaustedError("raise fs.epoll.max_user_watches"));
  EXPECT_TRUE(dialer_.lacking());
  EXPECT_EQ(
      log.Count("no connection to 127.0.0.1:9: raise fs.epoll.max_user_watches; clients wait"), 1)
      << log.text();
}

TEST_F(DialerTest, ErrorsOfTheMachineDifferFromErrorsOfAServer) {
  for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC}) EXPECT_TRUE(IsShortage(error));
  for (const int error : {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, EADDRNOTAVAIL}) {
    EXPECT_FALSE(IsShortage(error));
  }
  const auto failed = [](int error) {
    return ConnectResult{.fd = UniqueFd(), .state = ConnectState::kFailed, .error = error};
  };
  EXPECT_TRUE(Dialer::IsOurFault(failed(EADDRNOTAVAIL))) << "no port is left toward that server";
  EXPECT_FALSE(Dialer::IsOurFault(failed(ECONNREFUSED)));
}

}  // namespace
}  // namespace trunkline
