#include "common/grpc/connector.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline {
namespace {

using testing::HasSubstr;

class ConnectorTest : public testing::Test {
 protected:
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
  const grpc::Status status = connector.Try();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("Connection refused"));
  EXPECT_GT(connector.wait(), absl::ZeroDuration());
}

TEST_F(ConnectorTest, ServerThatIsThereIsConnected) {
  const auto server = Serve();
  Connector connector(absl::StrCat("127.0.0.1:", port_));
  EXPECT_TRUE(connector.Try().ok());
  EXPECT_TRUE(connector.Try().ok()) << "and stays it";
}

TEST_F(ConnectorTest, AttemptAfterAFailureDoesNotWaitForGrpcsBackoff) {
  const int port = FreePort();
  Connector connector(absl::StrCat("127.0.0.1:", port));
  // gRPC itself would now wait for seconds.
  for (int i = 0; i < 6; ++i) ASSERT_FALSE(connector.Try().ok());
  const auto server = Serve(port);
  ASSERT_EQ(port_, port);
  EXPECT_TRUE(connector.Try().ok());
}

TEST_F(ConnectorTest, CancelEndsAnAttemptThatGetsNoAnswer) {
  // The kernel accepts the connection, and nothing answers.
  const auto listener = ListenOn(*ParseAddress("127.0.0.1:0"));
  Connector connector(absl::StrCat("127.0.0.1:", BoundPort(listener->get())));
  std::thread canceller([&] {
    EXPECT_TRUE(test::WaitFor(listener->get(), POLLIN));
    connector.Cancel();
  });
  EXPECT_EQ(connector.Try().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(connector.wait(), absl::ZeroDuration());
  canceller.join();
}

TEST_F(ConnectorTest, CancelBeforeAnAttemptEndsThatOneOnly) {
  const auto server = Serve();
  Connector connector(absl::StrCat("127.0.0.1:", port_));
  connector.Cancel();
  EXPECT_EQ(connector.Try().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(connector.Try().ok());
}

}  // namespace
}  // namespace trunkline
