// The two ends of a trunk over a real connection, in one loop.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "common/trunk/trunk_connection.h"
#include "tests/common/http2/http2_pair.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline::test {

// Owns a trunk, records its callbacks, and answers 200 to each stream.
class TrunkSide final : public TrunkConnection::Owner {
 public:
  explicit TrunkSide(EventLoop& loop) : loop_(loop) {}
  ~TrunkSide() override {
    if (trunk != nullptr) trunk->Close(absl::OkStatus());
    loop_.RunOnce(absl::ZeroDuration());
  }

  void Start(UniqueFd fd, TrunkConnection::Options options) {
    TrunkConnection::Owner* const owner = this;
    options.tls = tls.get();
    trunk = std::make_unique<TrunkConnection>(loop_, std::move(fd), options, owner, &counters);
  }
  bool up() const { return trunk != nullptr && trunk->up(); }

  Http2Stream* OnConnect(TrunkConnection&, std::string_view, int*) override {
    accepted.push_back(std::make_unique<TestStream>());
    accepted.back()->on_headers = [](TestStream& s) { s.Respond(200); };
    return accepted.back().get();
  }
  void OnTrunkChanged(TrunkConnection& t) override {
    const char* const taking = log.empty() ? "up" : "usable";
    log.push_back(t.draining() ? "draining" : t.usable() ? taking : "unusable");
  }
  void OnTrunkLost(TrunkConnection&, const absl::Status& why) override {
    log.push_back("lost");
    lost = true;
    lost_why = why;
    loop_.Retire(std::move(trunk));
  }

  // Used from the next Start on. Null selects plain TCP.
  std::shared_ptr<const TrunkTls> tls;
  TrunkCounters counters;
  std::unique_ptr<TrunkConnection> trunk;
  std::vector<std::unique_ptr<TestStream>> accepted;
  std::vector<std::string> log;
  bool lost = false;
  absl::Status lost_why;

 private:
  EventLoop& loop_;
};

class TrunkSidesTest : public ::testing::Test {
 protected:
  using Role = TrunkConnection::Role;

  // Runs one pass of the loop, which waits at most 50 ms.
  virtual void RunOnce() { loop_.RunOnce(absl::Milliseconds(50)); }

  // Runs the loop until `condition` holds.
  template <typename Condition>
  [[nodiscard]] bool RunUntil(Condition condition) {
    const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(kPatienceMillis);
    while (!condition()) {
      if (MonotonicNow() > deadline) return false;
      RunOnce();
    }
    return true;
  }

  void Join(TrunkConnection::Options client = {}, TrunkConnection::Options server = {}) {
    auto [near, peer] = TcpPair();
    UniqueFd far(fcntl(peer.fd(), F_DUPFD_CLOEXEC, 0));
    fcntl(far.get(), F_SETFL, O_NONBLOCK);
    peer.Close();
    client.role = Role::kClient;
    server.role = Role::kServer;
    client_.Start(std::move(near), client);
    server_.Start(std::move(far), server);
  }
  TestStream& Open() {
    near_.push_back(std::make_unique<TestStream>());
    EXPECT_TRUE(client_.trunk->client_session().Connect("db:1", near_.back().get()).ok());
    return *near_.back();
  }

  EventLoop loop_;
  // Streams outlive trunks.
  std::vector<std::unique_ptr<TestStream>> near_;
  TrunkSide client_{loop_};
  TrunkSide server_{loop_};
};

}  // namespace trunkline::test
