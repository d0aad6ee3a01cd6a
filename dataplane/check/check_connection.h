// One connection of a health check, to one address: connects, sends, and reads until the answer is
// known. It has no timer; its owner ends it by deleting it.
//
// Never blocks, and reads at most CheckExchange::kMaxReplyBytes. Confined to its loop. Events of
// the pass may still refer to it, so its owner retires it (EventLoop::Retire).
#pragma once

#include <cstddef>
#include <string>

#include "absl/time/time.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "dataplane/check/check_exchange.h"

namespace trunkline {

class CheckConnection final : private EventHandler {
 public:
  // Outlives the connection.
  class Owner {
   public:
    virtual ~Owner() = default;
    // The check has ended. Called once, and not if Start returned another state than kRunning.
    virtual void OnConnectionEnded(bool passed) = 0;
  };
  enum class State {
    kRunning,
    kPassed,
    kFailed,
    kNoSocket,  // this machine lacks a descriptor, memory or a port: says nothing about the server
  };

  CheckConnection(EventLoop& loop, Owner& owner, const SocketAddress& address,
                  CheckExchange exchange);

  // The first call.
  State Start();

  // Say why the check failed: the address, what was sent and what came back.
  std::string DescribeFailure() const;
  std::string DescribeTimeout(absl::Duration timeout) const;
  // Names the resource that this machine lacks, after kNoSocket.
  const std::string& shortage() const { return shortage_; }
  // Ends the connection. No call to the owner follows.
  void Close() { fd_.Reset(); }

 private:
  enum class Fault { kNone, kConnect, kClosed, kWrongAnswer };

  void OnEvents(uint32_t events) override;
  State Advance(uint32_t events);
  State OnConnected();
  State Send();
  State Receive();
  State Fail(Fault fault, int error = 0);
  State Take(CheckExchange::State state);

  EventLoop& loop_;
  Owner& owner_;
  const SocketAddress address_;
  CheckExchange exchange_;
  UniqueFd fd_;
  bool connected_ = false;
  size_t sent_bytes_ = 0;
  Fault fault_ = Fault::kNone;
  int error_ = 0;
  std::string shortage_;
};

}  // namespace trunkline
