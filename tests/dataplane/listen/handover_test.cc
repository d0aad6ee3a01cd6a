#include "dataplane/listen/handover.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "common/net/socket.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline {
namespace {

class HandoverTest : public ::testing::Test {
 protected:
  void Listen() {
    auto server = HandoverServer::Start(
        path_,
        [this] {
          ListeningSockets sockets;
          for (int i = 0; i < 2; ++i) {
            sockets["db 127.0.0.1:0"].push_back(ListenOn({.host = "127.0.0.1", .port = 0}).value());
            ports_.push_back(BoundPort(sockets["db 127.0.0.1:0"].back().get()));
          }
          return sockets;
        },
        [this] {
          const std::lock_guard lock(mutex_);
          told_ = true;
          changed_.notify_all();
        });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void AwaitTold() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [&] { return told_; }));
  }
  // Opens a connection to the predecessor without being a successor.
  UniqueFd Knock() {
    UniqueFd peer(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un name{.sun_family = AF_UNIX};
    path_.copy(name.sun_path, sizeof name.sun_path - 1);
    EXPECT_EQ(connect(peer.get(), reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
    return peer;
  }

  test::ScratchFolder folder_;
  const std::string path_ = folder_.File("handover");
  std::vector<int> ports_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool told_ = false;
  std::unique_ptr<HandoverServer> server_;
};

TEST_F(HandoverTest, WithoutAPredecessorNothingIsInherited) {
  EXPECT_TRUE(Inheritance::Take(path_)->empty());
  EXPECT_TRUE(Inheritance::Take("")->empty());
}

TEST_F(HandoverTest, SocketsArePassedUnderTheirKeys) {
  Listen();
  auto inheritance = Inheritance::Take(path_);
  ASSERT_TRUE(inheritance.ok()) << inheritance.status();
  EXPECT_FALSE(inheritance->empty());
  const ListeningSockets sockets = inheritance->TakeSockets();
  ASSERT_EQ(sockets.size(), 1u);
  const auto& [name, passed] = *sockets.begin();
  EXPECT_EQ(name, "db 127.0.0.1:0");
  ASSERT_EQ(passed.size(), 2u);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(BoundPort(passed[i].get()), ports_[i]);
}

TEST_F(HandoverTest, ConfirmWaitsUntilThePredecessorReleased) {
  Listen();
  auto inheritance = Inheritance::Take(path_);
  ASSERT_TRUE(inheritance.ok());
  EXPECT_FALSE(server_->taken());
  std::atomic<bool> confirmed = false;
  std::thread successor([&] {
    inheritance->Confirm();
    confirmed = true;
  });
  AwaitTold();
  EXPECT_TRUE(server_->taken());
  EXPECT_FALSE(confirmed);
  server_->Release();
  successor.join();
  EXPECT_TRUE(confirmed);
}

TEST_F(HandoverTest, PredecessorThatExitsReleasesItsPort) {
  Listen();
  auto inheritance = Inheritance::Take(path_);
  ASSERT_TRUE(inheritance.ok());
  std::thread successor([&] { inheritance->Confirm(); });
  AwaitTold();
  server_.reset();
  successor.join();
}

TEST_F(HandoverTest, PredecessorSurvivesASuccessorThatDiesBeforeServing) {
  Listen();
  { auto inheritance = Inheritance::Take(path_); }
  Knock();
  auto second = Inheritance::Take(path_);
  ASSERT_TRUE(second.ok()) << "the predecessor keeps serving and hands over to the next one";
  EXPECT_FALSE(second->empty());
  EXPECT_FALSE(server_->taken());
}

TEST_F(HandoverTest, TooLongPathIsRefused) {
  const auto server = HandoverServer::Start(std::string(200, 'x'), nullptr, nullptr);
  EXPECT_TRUE(absl::IsInvalidArgument(server.status()));
}

TEST_F(HandoverTest, ServerWithoutAPathAcceptsNoSuccessor) {
  const auto server = HandoverServer::Start("", nullptr, nullptr);
  ASSERT_TRUE(server.ok());
  EXPECT_FALSE((*server)->taken());
}

}  // namespace
}  // namespace trunkline
