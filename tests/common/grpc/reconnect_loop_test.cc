#include "common/grpc/reconnect_loop.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/net/socket.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline {
namespace {

using grpc::StatusCode;
using testing::ElementsAre;
using testing::IsEmpty;

class ReconnectLoopTest : public testing::Test {
 protected:
  // Calls that allow this many turns and record how attempts and streams end.
  ReconnectLoop::Calls Recorded(int turns) {
    turns_left_ = turns;
    return {
        .await_turn = [this] { return turns_left_-- > 0; },
        .run_stream =
            [this](const std::shared_ptr<grpc::Channel>& channel) {
              EXPECT_NE(channel, nullptr);
              return grpc::Status(StatusCode::ABORTED, absl::StrCat("stream ", ++streams_));
            },
        .on_end = [this](const grpc::Status& status) { ended_.push_back(status.error_code()); }};
  }
  std::string Address() const { return absl::StrCat("127.0.0.1:", BoundPort(silent_.get())); }

  int turns_left_ = 0;
  int streams_ = 0;
  std::vector<StatusCode> ended_;
  // The kernel accepts connections, and nothing answers.
  UniqueFd silent_ = ListenOn({.host = "127.0.0.1", .port = 0}).value();
};

TEST_F(ReconnectLoopTest, StreamsFollowEachOtherWhileTheClientHasATurn) {
  grpc::CallbackGenericService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.RegisterCallbackGenericService(&service);
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  const auto server = builder.BuildAndStart();
  ReconnectLoop loop(absl::StrCat("127.0.0.1:", port), Recorded(2));
  loop.Run();
  EXPECT_EQ(streams_, 2);
  EXPECT_THAT(ended_, ElementsAre(StatusCode::ABORTED, StatusCode::ABORTED));
}

TEST_F(ReconnectLoopTest, FailedAttemptsAreReported) {
  const std::string address = Address();
  silent_.Reset();
  ReconnectLoop loop(address, Recorded(2));
  loop.Run();
  EXPECT_EQ(streams_, 0);
  EXPECT_THAT(ended_, ElementsAre(StatusCode::UNAVAILABLE, StatusCode::UNAVAILABLE));
}

TEST_F(ReconnectLoopTest, StopEndsAnAttemptThatGetsNoAnswer) {
  ReconnectLoop loop(Address(), Recorded(1'000'000));
  std::thread runner([&] { loop.Run(); });
  EXPECT_TRUE(test::WaitFor(silent_.get(), POLLIN));
  loop.Stop();
  runner.join();
  EXPECT_THAT(ended_, IsEmpty()) << "the attempt did not end by itself";
}

TEST_F(ReconnectLoopTest, StopEndsTheWaitBetweenAttempts) {
  const std::string address = Address();
  silent_.Reset();
  absl::Notification failed;
  ReconnectLoop::Calls calls = Recorded(1'000'000);
  calls.on_end = [&](const grpc::Status&) {
    if (!failed.HasBeenNotified()) failed.Notify();
  };
  ReconnectLoop loop(address, calls);
  std::thread runner([&] { loop.Run(); });
  failed.WaitForNotification();
  loop.Stop();
  runner.join();
}

TEST_F(ReconnectLoopTest, StopBeforeRunAsksForNoTurn) {
  ReconnectLoop loop(Address(), Recorded(1));
  loop.Stop();
  loop.Run();
  EXPECT_EQ(turns_left_, 1);
}

TEST_F(ReconnectLoopTest, InterruptedAttemptAsksForATurnAgain) {
  ReconnectLoop loop(Address(), Recorded(1));
  std::thread runner([&] { loop.Run(); });
  EXPECT_TRUE(test::WaitFor(silent_.get(), POLLIN));
  loop.Interrupt();
  runner.join();
  EXPECT_EQ(turns_left_, -1);
  EXPECT_THAT(ended_, IsEmpty()) << "an interruption is no failure";
}

}  // namespace
}  // namespace trunkline
