#include "common/grpc/controller_failure.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/time/time.h"

namespace trunkline {
namespace {

using testing::HasSubstr;

const grpc::Status kRefused(grpc::StatusCode::INVALID_ARGUMENT, "hello.proxy_id: no space");
const grpc::Status kLost(grpc::StatusCode::UNAVAILABLE, "Socket closed");

class ControllerFailureTest : public testing::Test {
 protected:
  // Returns what is logged meanwhile.
  std::string Record(const grpc::Status& status, absl::Duration at) {
    testing::internal::CaptureStdout();  // spdlog's default until InitLog
    failure_.Record(status, "it serves on", MonotonicTime() + at);
    return testing::internal::GetCapturedStdout();
  }

  ControllerFailure failure_{"10.0.0.1:7070", "proxy p-1"};
};

TEST_F(ControllerFailureTest, RefusalHasStatusAndMessage) {
  EXPECT_THAT(
      Record(kRefused, absl::ZeroDuration()),
      HasSubstr("controller 10.0.0.1:7070 refuses proxy p-1: hello.proxy_id: no space (gRPC "
                "status 3); it serves on; retrying"));
  EXPECT_THAT(failure_.text(), HasSubstr("hello.proxy_id: no space"));
}

TEST_F(ControllerFailureTest, UnreachableControllerIsNoRefusal) {
  Record(kLost, absl::ZeroDuration());
  EXPECT_EQ(failure_.text(),
            "controller 10.0.0.1:7070 is unreachable: Socket closed (gRPC status 14)");
}

TEST_F(ControllerFailureTest, RepeatedFailuresAreLoggedOncePerMinute) {
  EXPECT_NE(Record(kRefused, absl::ZeroDuration()), "");
  EXPECT_EQ(Record(kRefused, absl::Seconds(30)), "");
  EXPECT_EQ(Record(kRefused, absl::Seconds(59)), "");
  EXPECT_NE(Record(kRefused, absl::Seconds(60)), "");
}

TEST_F(ControllerFailureTest, RefusalAfterALostConnectionIsLoggedAtOnce) {
  EXPECT_NE(Record(kLost, absl::ZeroDuration()), "");
  EXPECT_NE(Record(kRefused, absl::Seconds(1)), "");
  EXPECT_EQ(Record(kLost, absl::Seconds(2)), "");
  EXPECT_THAT(failure_.text(), HasSubstr("Socket closed"));
}

TEST_F(ControllerFailureTest, FailureAfterAnAnswerIsLoggedAtOnce) {
  Record(kRefused, absl::ZeroDuration());
  failure_.Clear();
  EXPECT_EQ(failure_.text(), "");
  EXPECT_THAT(Record(kLost, absl::Seconds(1)), HasSubstr("Socket closed"));
}

}  // namespace
}  // namespace trunkline
