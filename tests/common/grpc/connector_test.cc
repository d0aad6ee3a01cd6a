#include "common/grpc/connector.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/net/socket.h"

namespace trunkline {
namespace {

using testing::HasSubstr;

class ConnectorTest : public testing::Test {
 protected:
  // Calls Try until no attempt runs.
  static grpc::Status Result(Connector& connector) {
    grpc::Status status = connector.Try();
    while (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) status = connector.Try();
    return status;
  }

  // A port on which nothing listens.
  static int FreePort() {
    const auto listener = ListenOn(*ParseAddress("127.0.0.1:0"));
    return BoundPort(listener->get());
  }

  // A server on `port`, or on a free one. It answers every call with UNIMPLEMENTED.
  std::unique_ptr<grpc::Server> Serve(int port = 0) {
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(&service_);
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(),
                             &port_);
    return builder.BuildAndStart();
  }

  int port_ = 0;
  grpc::CallbackGenericService service_;
};

TEST_F(ConnectorTest, RefusedConnectIsNamed) {
  Connector connector(absl::StrCat("127.0.0.1:", FreePort()));
  const grpc::Status status = Result(connector);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("Connection refused"));
  EXPECT_GT(connector.wait(), absl::ZeroDuration());
}

TEST_F(ConnectorTest, ServerThatIsThereIsConnected) {
  const auto server = Serve();
  Connector connector(absl::StrCat("127.0.0.1:", port_));
  EXPECT_TRUE(Result(connector).ok());
  EXPECT_TRUE(connector.Try().ok()) << "and stays it";
}

TEST_F(ConnectorTest, AttemptAfterAFailureDoesNotWaitForGrpcsBackoff) {
  const int port = FreePort();
  Connector connector(absl::StrCat("127.0.0.1:", port));
  // gRPC itself would now wait for seconds.
  for (int i = 0; i < 6; ++i) ASSERT_FALSE(Result(connector).ok());
  const auto server = Serve(port);
  ASSERT_EQ(port_, port);
  EXPECT_TRUE(Result(connector).ok());
}

TEST_F(ConnectorTest, DestructionEndsAnAttemptThatGetsNoAnswer) {
  // The kernel accepts the connection, and nothing reads it.
  const auto listener = ListenOn(*ParseAddress("127.0.0.1:0"));
  Connector connector(absl::StrCat("127.0.0.1:", BoundPort(listener->get())));
  EXPECT_EQ(connector.Try().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

}  // namespace
}  // namespace trunkline
