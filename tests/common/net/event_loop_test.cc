#include "common/net/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/unique_fd.h"
#include "common/net/timer_wheel.h"

namespace trunkline {
namespace {

std::pair<UniqueFd, UniqueFd> SocketPair() {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

class TestHandler : public EventHandler {
 public:
  explicit TestHandler(std::function<void(uint32_t)> action = [](uint32_t) {})
      : action_(std::move(action)) {}
  ~TestHandler() override { on_delete(); }
  void OnEvents(uint32_t events) override {
    ++calls;
    action_(events);
  }
  int calls = 0;
  std::function<void()> on_delete = [] {};

 private:
  std::function<void(uint32_t)> action_;
};

class TestFlushable : public Flushable {
 public:
  int flushes = 0;
  std::function<void()> action = [] {};

 private:
  void OnFlush() override {
    ++flushes;
    action();
  }
};

class LoopTimer final : public Timer {
 public:
  std::function<void()> action = [] {};

 private:
  void OnTimer() override { action(); }
};

TEST(EventLoopTest, WorkPostedByOneThreadRunsInOrder) {
  EventLoop loop;
  constexpr int kThreads = 4;
  constexpr int kPosts = 500;
  std::vector<int> seen(kThreads, 0);
  int done = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        loop.Post([&, t, i] {
          EXPECT_EQ(seen[t], i);
          ++seen[t];
          if (++done == kThreads * kPosts) loop.Stop();
        });
      }
    });
  }
  loop.Run();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, kThreads * kPosts);
}

TEST(EventLoopTest, WorkThatPostsWorkDoesNotStarveTheLoop) {
  EventLoop loop;
  int runs = 0;
  std::function<void()> again = [&] {
    if (++runs == 100) {
      loop.Stop();
    } else {
      loop.Post(again);
    }
  };
  loop.Post(again);
  loop.RunOnce(absl::Seconds(10));
  EXPECT_EQ(runs, 1) << "the next one waits for the next pass";
  loop.Run();
  EXPECT_EQ(runs, 100);
}

TEST(EventLoopTest, RetiredHandlerIsDeletedAtTheEndOfThePass) {
  EventLoop loop;
  bool deleted = false;
  bool deleted_within_pass = true;
  loop.Post([&] {
    auto handler = std::make_unique<TestHandler>();
    handler->on_delete = [&] { deleted = true; };
    loop.Retire(std::move(handler));
  });
  loop.Post([&] { deleted_within_pass = deleted; });
  loop.RunOnce(absl::Seconds(10));
  EXPECT_FALSE(deleted_within_pass);
  EXPECT_TRUE(deleted);
}

TEST(EventLoopTest, HandlerRetiredByADestructorIsDeletedToo) {
  EventLoop loop;
  bool inner_deleted = false;
  auto outer = std::make_unique<TestHandler>();
  outer->on_delete = [&] {
    auto inner = std::make_unique<TestHandler>();
    inner->on_delete = [&] { inner_deleted = true; };
    loop.Retire(std::move(inner));
  };
  loop.Retire(std::move(outer));
  loop.RunOnce(absl::ZeroDuration());
  EXPECT_TRUE(inner_deleted);
}

// Both sockets are readable in one pass. The first handler closes the other's socket and reuses its
// number.
TEST(EventLoopTest, StaleEventOfTheSameBatchReachesTheRetiredHandlerOnly) {
  EventLoop loop;
  struct Side {
    UniqueFd fd;
    UniqueFd peer;
    std::unique_ptr<TestHandler> handler;
    TestHandler* borrowed = nullptr;
  };
  std::vector<Side> sides(2);
  TestHandler newcomer;
  UniqueFd newcomer_peer;
  UniqueFd newcomer_fd;
  int closes = 0;
  for (size_t i = 0; i < 2; ++i) {
    std::tie(sides[i].fd, sides[i].peer) = SocketPair();
    sides[i].handler = std::make_unique<TestHandler>([&, i](uint32_t) {
      if (closes++ > 0) return;
      Side& other = sides[1 - i];
      const int number = other.fd.get();
      loop.Retire(std::move(other.handler));
      auto [fd, peer] = SocketPair();
      other.fd.Reset();
      newcomer_fd = UniqueFd(fcntl(fd.get(), F_DUPFD_CLOEXEC, number));
      ASSERT_EQ(newcomer_fd.get(), number) << "the number is used again";
      newcomer_peer = std::move(peer);
      ASSERT_TRUE(loop.Add(newcomer_fd.get(), EPOLLIN, &newcomer).ok());
    });
    sides[i].borrowed = sides[i].handler.get();
    ASSERT_TRUE(loop.Add(sides[i].fd.get(), EPOLLIN, sides[i].handler.get()).ok());
    ASSERT_EQ(write(sides[i].peer.get(), "x", 1), 1);
  }
  loop.RunOnce(absl::Seconds(10));
  EXPECT_EQ(closes, 2) << "both were in the batch, so the second call was stale";
  EXPECT_EQ(newcomer.calls, 0);
}

TEST(EventLoopTest, RepeatedFlushRequestsRunOncePerPass) {
  EventLoop loop;
  TestFlushable flushable;
  loop.Post([&] {
    for (int i = 0; i < 10; ++i) loop.RequestFlush(&flushable);
  });
  loop.RunOnce(absl::Seconds(10));
  EXPECT_EQ(flushable.flushes, 1);
  loop.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(flushable.flushes, 1);
}

TEST(EventLoopTest, FlushRequestedWhileFlushingRunsInTheNextPassWithoutAWait) {
  EventLoop loop;
  TestFlushable flushable;
  flushable.action = [&] {
    if (flushable.flushes == 1) loop.RequestFlush(&flushable);
  };
  loop.RequestFlush(&flushable);
  loop.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(flushable.flushes, 1);
  loop.RunOnce(absl::InfiniteDuration());
  EXPECT_EQ(flushable.flushes, 2);
}

TEST(EventLoopTest, CancelledFlushDoesNotRunEvenWhileFlushing) {
  EventLoop loop;
  TestFlushable first;
  auto second = std::make_unique<TestFlushable>();
  first.action = [&] {
    loop.CancelFlush(second.get());
    second.reset();
  };
  loop.RequestFlush(&first);
  loop.RequestFlush(second.get());
  loop.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(first.flushes, 1);

  TestFlushable third;
  loop.RequestFlush(&third);
  loop.CancelFlush(&third);
  loop.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(third.flushes, 0);
}

TEST(EventLoopTest, CancelledFlushCanBeRequestedAgainInTheSamePass) {
  EventLoop loop;
  TestFlushable first;
  TestFlushable second;
  first.action = [&] {
    loop.CancelFlush(&second);
    loop.RequestFlush(&second);
  };
  loop.RequestFlush(&first);
  loop.RequestFlush(&second);
  loop.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(second.flushes, 0);
  loop.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(second.flushes, 1);
}

TEST(EventLoopTest, DueTimerEndsAnUnboundedWait) {
  EventLoop loop;
  LoopTimer timer;
  MonotonicTime fired;
  timer.action = [&] {
    fired = loop.now();
    loop.Stop();
  };
  const MonotonicTime start = loop.now();
  loop.Arm(timer, absl::Milliseconds(20));
  loop.Run();
  EXPECT_GE(fired - start, absl::Milliseconds(20));
}

TEST(EventLoopTest, EventsRunBeforeTimersSoThatAReadableByteCountsAsActivity) {
  EventLoop loop;
  auto [fd, peer] = SocketPair();
  std::vector<std::string> order;
  TestHandler handler([&](uint32_t) { order.push_back("event"); });
  LoopTimer timer;
  timer.action = [&] { order.push_back("timer"); };
  loop.Arm(timer, -absl::Seconds(1));
  // Due timers wait for the slot to pass.
  const MonotonicTime due = MonotonicNow() + absl::Nanoseconds(2 * TimerWheel::kSlotNanos);
  while (MonotonicNow() < due) std::this_thread::yield();
  ASSERT_TRUE(loop.Add(fd.get(), EPOLLIN | EPOLLET, &handler).ok());
  ASSERT_EQ(write(peer.get(), "x", 1), 1);
  loop.RunOnce(absl::Seconds(10));
  EXPECT_EQ(order, (std::vector<std::string>{"event", "timer"}));
}

TEST(EventLoopTest, DescriptorThatCannotBeWatchedIsAnErrorAndGetsNoEvents) {
  EventLoop loop;
  TestHandler handler;
  int closed = -1;
  {
    const auto [fd, peer] = SocketPair();
    closed = fd.get();
  }
  EXPECT_TRUE(absl::IsInternal(loop.Add(closed, EPOLLIN, &handler)));
  EXPECT_TRUE(absl::IsInternal(loop.AddOrModify(closed, EPOLLIN, &handler)));
  EXPECT_TRUE(absl::IsInternal(loop.Modify(closed, EPOLLIN, &handler)));
  // epoll watches no regular files.
  const UniqueFd file(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const absl::Status refused = loop.Add(file.get(), EPOLLIN, &handler);
  EXPECT_TRUE(absl::IsInternal(refused));
  EXPECT_NE(refused.message().find("Operation not permitted"), absl::string_view::npos) << refused;
  loop.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(handler.calls, 0);
}

TEST(EventLoopTest, SecondWatchOfADescriptorIsAnErrorUnlessItMayModify) {
  EventLoop loop;
  const auto [fd, peer] = SocketPair();
  TestHandler first;
  TestHandler second;
  EXPECT_TRUE(absl::IsNotFound(loop.Modify(fd.get(), EPOLLOUT, &first)));
  ASSERT_TRUE(loop.AddOrModify(fd.get(), EPOLLOUT, &first).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(loop.Add(fd.get(), EPOLLOUT, &second)));
  ASSERT_TRUE(loop.AddOrModify(fd.get(), EPOLLOUT, &second).ok());
  loop.RunOnce(absl::Seconds(10));
  EXPECT_EQ(first.calls, 0);
  EXPECT_EQ(second.calls, 1);
}

TEST(EventLoopTest, RemovedDescriptorGetsNoEventsAndMayBeRemovedAgain) {
  EventLoop loop;
  const auto [fd, peer] = SocketPair();
  TestHandler handler;
  ASSERT_TRUE(loop.Add(fd.get(), EPOLLOUT, &handler).ok());
  loop.Remove(fd.get());
  loop.Remove(fd.get());
  loop.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(handler.calls, 0);
}

TEST(EventLoopTest, StopFromAnotherThreadEndsAnIdleLoop) {
  EventLoop loop;
  std::thread stopper([&] { loop.Stop(); });
  loop.Run();
  stopper.join();
}

}  // namespace
}  // namespace trunkline
