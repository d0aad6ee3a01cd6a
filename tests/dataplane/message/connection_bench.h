// One shared connection on the test's own loop: the test plays its owner, its clients and, at the
// far end of a socket pair, its server.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/codec/delimiter.h"
#include "dataplane/codec/http1.h"
#include "dataplane/codec/length_field.h"
#include "dataplane/message/shared_connection.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/route/flow_bench.h"

namespace trunkline::test {

// Messages that end with a line feed; replies in order.
inline std::shared_ptr<const Codec> LineCodec() {
  return std::shared_ptr<const Codec>(
      NewDelimiterCodec({.delimiter = "\n", .max_message_bytes = 1 << 20}).value());
}
// Two bytes of id, two of length, then as many bytes; replies in any order.
inline std::shared_ptr<const Codec> IdCodec() {
  return std::shared_ptr<const Codec>(
      NewLengthFieldCodec(
          {.length_offset = 2, .length_size = 2, .id = IdField{.offset = 0, .size = 2}})
          .value());
}
// One request at a time.
inline std::shared_ptr<const Codec> HttpCodec() { return NewHttp1Codec({}); }

inline std::string IdMessage(uint16_t id, const std::string& content) {
  const auto two_bytes = [](size_t value) {
    return std::string{static_cast<char>(value >> 8), static_cast<char>(value)};
  };
  return two_bytes(id) + two_bytes(content.size()) + content;
}

inline std::span<const uint8_t> AsBytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class TestClient final : public SharedConnection::Client {
 public:
  void OnReply(std::span<const uint8_t> bytes, uint32_t completed, bool is_last) override {
    replies.append(bytes.begin(), bytes.end());
    this->completed += completed;
    last = last || is_last;
    if (on_reply != nullptr) on_reply();
  }
  void OnReplyBegins(MonotonicTime arrived_at) override { begun.push_back(arrived_at); }
  void OnStep(uint32_t number, SharedConnection::Step step, size_t offset) override {
    steps.push_back({.number = number, .step = step, .at = replies.size() + offset});
  }
  void OnUnanswered(const SharedConnection::Unanswered& what) override {
    unanswered.push_back({.request = {what.request.begin(), what.request.end()},
                          .written = what.written,
                          .begun = what.begun,
                          .number = what.number,
                          .timed_out = what.timed_out});
  }
  void OnRoom() override { ++rooms; }
  void OnOthersWait() override { ++others; }

  struct Lost {
    std::string request;
    bool written;
    bool begun;
    uint32_t number;
    bool timed_out;
  };
  struct Noted {
    uint32_t number;
    SharedConnection::Step step;
    size_t at;  // in `replies`

    friend bool operator==(const Noted&, const Noted&) = default;
  };
  std::vector<MonotonicTime> begun;  // arrivals of the requests whose replies began
  std::string replies;
  uint32_t completed = 0;
  bool last = false;
  std::vector<Lost> unanswered;
  std::vector<Noted> steps;
  int rooms = 0;
  int others = 0;  // times that another client began to wait behind this one
  std::function<void()> on_reply;
};

class ConnectionBench final : private SharedConnection::Owner {
 public:
  explicit ConnectionBench(SharedConnectionOptions options) : options_(std::move(options)) {}
  ~ConnectionBench() override {
    connection_.reset();
    loop_.RunOnce(absl::ZeroDuration());
  }

  // A connection to `server`, whose connect the loop has yet to report.
  void Dial() {
    auto ends = TcpPair();
    server = std::move(ends.second);
    Adopt({.fd = std::move(ends.first), .state = ConnectState::kInProgress});
  }
  // A connect that fails at once.
  void DialRefused() {
    Adopt({.fd = UniqueFd(), .state = ConnectState::kFailed, .error = ECONNREFUSED});
  }
  // A connect that is never answered: epoll does not report a socket with a full send buffer as
  // writable.
  void DialUnanswered() {
    auto ends = TcpPair(/*peers_receive_buffer=*/4096);
    server = std::move(ends.second);
    const std::string bytes(1 << 16, 'x');
    while (send(ends.first.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
    }
    Adopt({.fd = std::move(ends.first), .state = ConnectState::kInProgress});
  }
  void Open() {
    Dial();
    Run([&] { return connection().up(); });
  }

  void Send(TestClient& client, const std::string& request, bool open = false,
            MonotonicTime arrived_at = MonotonicTime(), uint32_t number = 0) {
    ASSERT_TRUE(connection().HasRoom());
    connection().Send(&client, AsBytes(request), Request(), open, arrived_at, number);
  }
  template <typename Condition>
  void Run(Condition condition) {
    EXPECT_TRUE(RunLoopUntil(loop_, condition));
  }
  void RunUntilClosed() {
    Run([&] { return closed(); });
  }
  // One pass, for events that are there already.
  void RunOnce() { loop_.RunOnce(absl::ZeroDuration()); }

  SharedConnection& connection() { return *connection_; }
  bool closed() const { return ended_.has_value(); }
  bool never_up() const { return ended_->never_up; }
  const absl::Status& why() const { return ended_->why; }
  SharedCounters& counters() { return counters_; }
  EventLoop& loop() { return loop_; }

  Peer server;
  bool has_waiters = false;
  int ups = 0;
  int unasked = 0;
  int rooms = 0;

 private:
  struct Ended {
    bool never_up;
    absl::Status why;
  };

  void Adopt(ConnectResult dial) {
    SharedConnection::Owner* const owner = this;
    connection_ = std::make_unique<SharedConnection>(loop_, std::move(dial), options_,
                                                     ConnectionLease(), owner, &counters_);
  }
  void OnConnectionUp(SharedConnection&) override { ++ups; }
  void OnConnectionRoom(SharedConnection&) override { ++rooms; }
  bool HasWaiters() const override { return has_waiters; }
  void OnClientStalled(size_t, absl::Duration) override {}
  void OnUnaskedBytes() override { ++unasked; }
  // Keeps the object, so that the test can look at it.
  void OnConnectionEnded(SharedConnection&, bool never_up, const absl::Status& why) override {
    EXPECT_FALSE(closed()) << "reported twice";
    ended_ = Ended{.never_up = never_up, .why = why};
  }

  EventLoop loop_;
  const SharedConnectionOptions options_;
  SharedCounters counters_;
  std::optional<Ended> ended_;
  std::unique_ptr<SharedConnection> connection_;
};

}  // namespace trunkline::test
