#include "dataplane/listen/handover.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <fstream>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"
#include "dataplane/listen/handover_wire.h"
#include "dataplane/listen/inheritance.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/eventually.h"
#include "tests/common/log_capture.h"
#include "tests/dataplane/whole/no_descriptors.h"

namespace trunkline {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string TextOf(const absl::Status& status) { return std::string(status.message()); }

// Records the calls of servers, in order.
class Events {
 public:
  void Add(const std::string& event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
    changed_.notify_all();
  }
  void Await(const std::string& event) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [&] {
      return std::ranges::find(events_, event) != events_.end();
    })) << event;
  }
  std::vector<std::string> all() {
    const std::lock_guard lock(mutex_);
    return events_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> events_;
};

class HandoverTest : public ::testing::Test {
 protected:
  static UniqueFd NewListener() { return ListenOn({.host = "127.0.0.1", .port = 0}).value(); }

  // Calls that record themselves with the name of the process that `who` stands for.
  HandoverServer::Calls Recorded(const std::string& who) {
    return {.offer =
                [this] {
                  HandoverSockets offer{.admin_listen = "127.0.0.1:0", .admin = NewListener()};
                  ports_.clear();
                  for (size_t left = std::exchange(offered_, 2); left > 0; --left) {
                    offer.services["db 127.0.0.1:0"].push_back(NewListener());
                    ports_.push_back(BoundPort(offer.services["db 127.0.0.1:0"].back().get()));
                  }
                  ports_.push_back(BoundPort(offer.admin.get()));
                  return offer;
                },
            .release = [this, who] { events_.Add(who + " releases"); },
            .take_back = [this, who] { events_.Add(who + " takes back"); },
            .stop =
                [this, who](std::string why) {
                  why_ = std::move(why);
                  events_.Add(who + " stops");
                }};
  }
  void Listen() { Listen(Recorded("old")); }
  void Listen(HandoverServer::Calls calls) {
    absl::StatusOr<UniqueFd> listener = ListenForHandover(path_);
    ASSERT_TRUE(listener.ok()) << listener.status();
    server_.emplace(*std::move(listener), "p", UniqueFd(), std::move(calls), timeouts_);
  }
  absl::StatusOr<Inheritance> Take(const std::string& proxy_id = "p") {
    return Inheritance::Take(path_, proxy_id, timeouts_);
  }
  // Becomes a successor, up to its grace time.
  Inheritance TakeOver() {
    absl::StatusOr<Inheritance> inheritance = Take();
    EXPECT_TRUE(inheritance.ok()) << inheritance.status();
    const absl::Status confirmed = inheritance->Confirm();
    EXPECT_TRUE(confirmed.ok()) << confirmed;
    return *std::move(inheritance);
  }
  void StartNew(Inheritance inheritance) {
    UniqueFd listener = inheritance.TakeHandoverSocket();
    new_.emplace(std::move(listener), "p", inheritance.TakePeer(), Recorded("new"), timeouts_);
  }
  sockaddr_un Name() const {
    sockaddr_un name{.sun_family = AF_UNIX};
    path_.copy(name.sun_path, sizeof name.sun_path - 1);
    return name;
  }
  // Listens at the path as another program would.
  UniqueFd ListenAsOther(int type) const {
    const sockaddr_un name = Name();
    UniqueFd listener(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    EXPECT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
    EXPECT_EQ(listen(listener.get(), 1), 0);
    return listener;
  }
  // Connects to the predecessor without being a successor.
  UniqueFd Knock() const {
    const sockaddr_un name = Name();
    UniqueFd peer(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(peer.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
    return peer;
  }

  test::ScratchFolder folder_;
  const std::string path_ = folder_.File("handover");
  // No test waits for one of these, unless it makes it short.
  HandoverTimeouts timeouts_ = {.answer = absl::Minutes(1),
                                .hello = absl::Minutes(1),
                                .send = absl::Minutes(1),
                                .ready = absl::Minutes(1),
                                .release = absl::Minutes(1),
                                .grace = absl::Minutes(1),
                                .done = absl::Minutes(1)};
  Events events_;
  size_t offered_ = 2;  // sockets in the next offer
  std::vector<int> ports_;
  std::string why_;
  std::optional<HandoverServer> server_;
  std::optional<HandoverServer> new_;
};

TEST_F(HandoverTest, WithoutAPredecessorNothingIsInherited) {
  EXPECT_TRUE(Take()->empty());
  EXPECT_TRUE(Inheritance::Take("", "p")->empty());
  EXPECT_TRUE(Take()->Confirm().ok());
}

TEST_F(HandoverTest, SocketsArePassedUnderTheirKeys) {
  Listen();
  auto inheritance = Take();
  ASSERT_TRUE(inheritance.ok()) << inheritance.status();
  EXPECT_FALSE(inheritance->empty());
  EXPECT_EQ(inheritance->predecessor(), getpid());
  const HandoverSockets& sockets = inheritance->sockets();
  ASSERT_EQ(sockets.services.size(), 1u);
  const auto& [name, passed] = *sockets.services.begin();
  EXPECT_EQ(name, "db 127.0.0.1:0");
  ASSERT_EQ(passed.size(), 2u);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(BoundPort(passed[i].get()), ports_[i]);
  EXPECT_EQ(sockets.admin_listen, "127.0.0.1:0");
  EXPECT_EQ(BoundPort(sockets.admin.get()), ports_[2]);
  EXPECT_TRUE(inheritance->TakeHandoverSocket());
}

TEST_F(HandoverTest, SuccessorServesOnlyAfterThePredecessorReleased) {
  absl::Notification may_release;
  HandoverServer::Calls calls = Recorded("old");
  calls.release = [&] {
    may_release.WaitForNotification();
    events_.Add("old releases");
  };
  Listen(calls);
  auto inheritance = Take();
  ASSERT_TRUE(inheritance.ok());
  std::thread successor([&] {
    EXPECT_TRUE(inheritance->Confirm().ok());
    events_.Add("new serves");
  });
  EXPECT_THAT(events_.all(), IsEmpty());
  may_release.Notify();
  successor.join();
  EXPECT_THAT(events_.all(), ElementsAre("old releases", "new serves"));
}

TEST_F(HandoverTest, PredecessorEndsOnceItsSuccessorHasServedForTheGraceTime) {
  Listen();
  Inheritance inheritance = TakeOver();
  timeouts_.grace = absl::Milliseconds(1);
  StartNew(std::move(inheritance));
  events_.Await("old stops");
  EXPECT_THAT(events_.all(), ElementsAre("old releases", "old stops"));
  EXPECT_THAT(why_, HasSubstr("replaced by the successor with pid " + std::to_string(getpid())));
  // The successor hands over in its turn.
  server_.reset();
  auto next = Take();
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_FALSE(next->empty());
}

TEST_F(HandoverTest, PredecessorServesAgainIfItsSuccessorDiesInTheGraceTime) {
  Listen();
  { Inheritance dies = TakeOver(); }
  events_.Await("old takes back");
  EXPECT_THAT(events_.all(), ElementsAre("old releases", "old takes back"));
  auto second = Take();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_FALSE(second->empty());
}

TEST_F(HandoverTest, SuccessorThatIsStoppedInTheGraceTimeReleasesBeforeThePredecessorServes) {
  Listen();
  StartNew(TakeOver());
  new_.reset();
  events_.Await("old takes back");
  EXPECT_THAT(events_.all(), ElementsAre("old releases", "new releases", "old takes back"));
}

TEST_F(HandoverTest, UnresponsiveSuccessorStopsWhenThePredecessorTookItsSocketsBack) {
  timeouts_.grace = timeouts_.done = absl::Milliseconds(1);
  Listen();
  Inheritance frozen = TakeOver();
  events_.Await("old takes back");
  StartNew(std::move(frozen));
  events_.Await("new stops");
  EXPECT_THAT(events_.all(),
              ElementsAre("old releases", "old takes back", "new releases", "new stops"));
  EXPECT_THAT(why_, HasSubstr("took its sockets back"));
}

TEST_F(HandoverTest, PredecessorThatEndsLeavesItsSocketsToTheSuccessor) {
  absl::Notification may_release;
  Listen();
  auto before_ready = Take();
  ASSERT_TRUE(before_ready.ok());
  server_.reset();
  EXPECT_TRUE(before_ready->Confirm().ok());
  EXPECT_THAT(events_.all(), ElementsAre("old releases"));
}

TEST_F(HandoverTest, PredecessorThatEndsInTheGraceTimeLeavesItsSocketsToTheSuccessor) {
  Listen();
  StartNew(TakeOver());
  server_.reset();
  auto next = Take();
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_FALSE(next->empty());
  EXPECT_THAT(events_.all(), ElementsAre("old releases"));
}

TEST_F(HandoverTest, SuccessorThatDiesBeforeItIsReadyChangesNothing) {
  Listen();
  { auto dies = Take(); }
  Knock();
  auto second = Take();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_FALSE(second->empty());
  EXPECT_THAT(events_.all(), IsEmpty());
}

TEST_F(HandoverTest, SuccessorThatReadsNothingIsGivenUp) {
  offered_ = 400;  // more than its receive buffer takes
  timeouts_.send = absl::Milliseconds(1);
  Listen();
  const UniqueFd frozen = Knock();
  ASSERT_TRUE(SendHandover(frozen.get(), HandoverMessageType::kHello, "2\np"));
  auto next = Take();
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->sockets().services.begin()->second.size(), 2u);
  EXPECT_THAT(events_.all(), IsEmpty());
}

TEST_F(HandoverTest, SuccessorThatDeclinesChangesNothing) {
  Listen();
  auto declines = Take();
  ASSERT_TRUE(declines.ok());
  const absl::Status declined = declines->Decline(absl::UnavailableError("port 9 is in use"));
  EXPECT_THAT(TextOf(declined),
              AllOf(HasSubstr("port 9 is in use"), HasSubstr("not taking over"),
                    HasSubstr("pid " + std::to_string(getpid()) + " keeps serving")));
  EXPECT_FALSE(Take()->empty());
  EXPECT_THAT(events_.all(), IsEmpty());
}

TEST_F(HandoverTest, SuccessorThatIsTooLateMustNotServe) {
  timeouts_.ready = absl::Milliseconds(1);
  Listen();
  auto late = Take();
  ASSERT_TRUE(late.ok()) << late.status();
  // The next one is served after the predecessor has given this one up.
  EXPECT_FALSE(Take()->empty());
  EXPECT_THAT(TextOf(late->Confirm()), HasSubstr("not ready within"));
  EXPECT_THAT(events_.all(), IsEmpty());
}

TEST_F(HandoverTest, SuccessorThatCannotBeAcceptedForNowIsServedLater) {
  TRUNKLINE_SKIP_UNDER_SANITIZERS();
  const test::LogCapture log;
  Listen();
  UniqueFd first(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  test::NoDescriptors none;
  const sockaddr_un name = Name();
  ASSERT_EQ(connect(first.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  EXPECT_TRUE(test::Eventually([&] { return log.Count("Too many open files") > 0; }));
  EXPECT_EQ(log.Count("a successor waits, because this proxy cannot accept its connection: Too "
                      "many open files; trying again"),
            1)
      << log.text();
  first.Reset();
  none.GiveBack();
  auto next = Take();
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_FALSE(next->empty());
  EXPECT_THAT(events_.all(), IsEmpty());
}

TEST_F(HandoverTest, SuccessorIsRefusedWhileTheSocketsCannotBeCopied) {
  HandoverServer::Calls calls = Recorded("old");
  bool refused = false;
  calls.offer = [&, offer = calls.offer]() -> absl::StatusOr<HandoverSockets> {
    if (std::exchange(refused, true)) return offer();
    return absl::ResourceExhaustedError("no descriptor for a copy");
  };
  Listen(calls);
  EXPECT_THAT(TextOf(Take().status()),
              HasSubstr("refuses the hand-over and keeps serving: no descriptor for a copy"));
  EXPECT_FALSE(Take()->empty());
  EXPECT_THAT(events_.all(), IsEmpty());
}

TEST_F(HandoverTest, OtherProxyIsRefused) {
  Listen();
  EXPECT_THAT(TextOf(Take("q").status()),
              AllOf(HasSubstr("refuses the hand-over and keeps serving"),
                    HasSubstr("has proxy_id q, the running proxy p"), HasSubstr(path_)));
  EXPECT_FALSE(Take("p")->empty());
  EXPECT_THAT(events_.all(), IsEmpty());
}

TEST_F(HandoverTest, OtherVersionIsRefused) {
  Listen();
  const UniqueFd peer = Knock();
  ASSERT_TRUE(SendHandover(peer.get(), HandoverMessageType::kHello, "3\np"));
  HandoverMessage answer;
  ReceiveHandover(peer.get(), -1, absl::Minutes(1), &answer);
  EXPECT_EQ(answer.type, HandoverMessageType::kRefusal);
  EXPECT_THAT(answer.text, HasSubstr("version 3 of the hand-over, the running proxy version 2"));
}

TEST_F(HandoverTest, PredecessorOfAnOldVersionIsNotTakenOver) {
  const UniqueFd listener = ListenAsOther(SOCK_SEQPACKET);
  std::thread old([&] {
    const UniqueFd peer(accept(listener.get(), nullptr, nullptr));
    const UniqueFd socket = NewListener();
    EXPECT_TRUE(
        SendHandover(peer.get(), HandoverMessageType::kService, "db 127.0.0.1:0", socket.get()));
    TellHandover(peer.get(), HandoverMessageType::kEnd);
    HandoverMessage hello;
    ReceiveHandover(peer.get(), -1, absl::Minutes(1), &hello);
  });
  EXPECT_THAT(TextOf(Take().status()), HasSubstr("does not speak version 2"));
  old.join();
}

TEST_F(HandoverTest, PredecessorThatDoesNotAnswerIsNotTakenOver) {
  timeouts_.answer = absl::Milliseconds(1);
  const UniqueFd frozen = ListenAsOther(SOCK_SEQPACKET);
  EXPECT_THAT(TextOf(Take().status()),
              AllOf(HasSubstr("did not answer within 1ms"), HasSubstr("not taking over"),
                    HasSubstr("pid " + std::to_string(getpid()))));
}

TEST_F(HandoverTest, ConnectToAFullQueueEnds) {
  timeouts_.answer = absl::Milliseconds(1);
  const UniqueFd frozen = ListenAsOther(SOCK_SEQPACKET);
  const UniqueFd first = Knock();
  const UniqueFd second = Knock();  // the kernel takes one more than the backlog of 1
  EXPECT_THAT(TextOf(Take().status()), HasSubstr("accepts no connection"));
}

TEST_F(HandoverTest, RegularFileIsLeftAlone) {
  folder_.Write("handover", "precious");
  EXPECT_THAT(TextOf(Take().status()), AllOf(HasSubstr("regular file"), HasSubstr(path_)));
  EXPECT_THAT(TextOf(ListenForHandover(path_).status()), HasSubstr("regular file"));
  EXPECT_THAT(TextOf(CheckHandoverPath(path_)), HasSubstr("regular file"));
  std::stringstream content;
  content << std::ifstream(path_).rdbuf();
  EXPECT_EQ(content.str(), "precious");
}

TEST_F(HandoverTest, LiveSocketOfAnotherProgramIsLeftAlone) {
  const UniqueFd other = ListenAsOther(SOCK_STREAM);
  EXPECT_THAT(TextOf(Take().status()), HasSubstr("is the socket of another program"));
  EXPECT_THAT(TextOf(ListenForHandover(path_).status()), HasSubstr("another program"));
  const sockaddr_un name = Name();
  const UniqueFd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect(client.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
}

TEST_F(HandoverTest, LiveSocketOfAProxyIsNotReplaced) {
  Listen();
  EXPECT_THAT(TextOf(ListenForHandover(path_).status()),
              HasSubstr("pid " + std::to_string(getpid())));
  EXPECT_FALSE(Take()->empty());
}

TEST_F(HandoverTest, SocketOfADeadProcessIsReplaced) {
  ListenAsOther(SOCK_STREAM).Reset();
  EXPECT_TRUE(Take()->empty());
  Listen();
  EXPECT_FALSE(Take()->empty());
}

TEST_F(HandoverTest, TooLongPathIsRefused) {
  const std::string path(200, 'x');
  EXPECT_TRUE(absl::IsInvalidArgument(CheckHandoverPath(path)));
  EXPECT_TRUE(absl::IsInvalidArgument(ListenForHandover(path).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Inheritance::Take(path, "p").status()));
}

}  // namespace
}  // namespace trunkline
