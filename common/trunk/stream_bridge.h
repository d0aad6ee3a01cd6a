// Joins a socket and an HTTP/2 stream so that the two ends see one TCP connection.
//
//   FIN from the socket  -> END_STREAM            END_STREAM  -> shutdown(WR)
//   RST from the socket  -> RST_STREAM(CONNECT)   RST_STREAM, lost trunk -> RST
//
// Backpressure is end to end. A socket whose stream has no window is not read. Bytes that the
// socket does not take are buffered here, at most one stream window, and their window is returned
// to the peer only as they leave. An idle bridge holds no buffer.
//
// The proxy uses it with the client's socket, the agent with the local server's; a subclass adds
// how the socket or the stream comes about. Confined to its event loop. Nothing touches the object
// after OnDone; its owner retires it.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "common/base/metrics.h"
#include "common/base/unique_fd.h"
#include "common/http2/http2_session.h"
#include "common/net/backlog_age.h"
#include "common/net/event_loop.h"
#include "common/net/flow_activity.h"
#include "common/net/output_buffer.h"

namespace trunkline {

class StreamBridge : public EventHandler, public Http2Stream {
 public:
  enum class End {
    kClean,        // both directions ended with FIN
    kSocketReset,  // the socket's peer reset it
    kStreamReset,  // the other end of the stream reset it
    kStreamLost,   // the trunk was lost
    kTimeout,
    kUnwatchable,  // epoll could not watch the socket
    kShutdown,     // this process ended it
  };

  // Resets both sides. OnDone follows at once.
  void Abort(End end);

  // Adds all further bytes to these counters as well, as they pass. They outlive the bridge.
  void CountBytes(Counter* from_socket, Counter* to_socket);
  // Adds the bytes that the socket has not taken to this gauge, which outlives the bridge.
  void CountUnsent(Gauge* unsent_bytes) { unsent_share_.BelongTo(unsent_bytes); }

 protected:
  enum class SocketOf { kClient, kServer };
  StreamBridge(EventLoop& loop, SocketOf socket_of, absl::Duration idle_timeout);

  // Takes over a connected socket. `try_read_now`: bytes are probably there already, so read before
  // asking epoll. Without that the bridge may be done when this returns.
  void AdoptSocket(UniqueFd fd, bool try_read_now);
  // The peer has reset the socket. Bytes that it sent before are still passed on, then the stream
  // is reset.
  void SetBroken();
  // Call after adopting a socket that ConnectToSend made: Nagle's delay ends with the second send.
  void set_fresh() { nagle_ = Nagle::kUntilSecondSend; }
  bool sent_nothing() const { return nagle_ == Nagle::kUntilSecondSend; }
  // Sends `bytes` to an adopted socket before any of the stream's bytes; they use none of the
  // stream's window. A socket that was just connected takes them whole; one that does not is
  // broken.
  void SendFirst(std::string_view bytes);
  int socket_fd() const { return fd_.get(); }
  // Passes on bytes and an END_STREAM that arrived before the socket was adopted.
  void FlushToSocket();

  // Http2Stream. A subclass that overrides one of these calls it.
  Pull PullData(uint8_t* to, size_t capacity, size_t* size) override;
  void OnData(const uint8_t* data, size_t size) override;
  void OnEnd(bool closing) override;
  void OnClosed(uint32_t error_code) override;
  void OnEvents(uint32_t events) override;

  // Called once, when the stream is gone and before the socket is closed: count the end and retire
  // the object. unsent_bytes() are those that the socket never took.
  virtual void OnDone(End end) = 0;
  // The bridge counts as load again, or no longer; see FlowActivity. A new one counts.
  virtual void OnLoadChanged(bool is_load) = 0;
  bool is_load() const { return activity_.counts(); }
  // No byte has passed for the idle timeout.
  virtual void OnIdle() { Abort(End::kTimeout); }

  // Bytes that the socket has not taken, and the time since which the oldest of them wait.
  size_t unsent_bytes() const { return unsent_ != nullptr ? unsent_->size() : 0; }
  MonotonicTime unsent_since() const { return unsent_age_.since(); }
  // Some byte has passed, in either direction.
  bool carried_bytes() const { return carried_bytes_; }
  bool done() const { return life_ == Life::kDone; }
  bool readable() const { return readable_; }
  EventLoop& loop() const { return loop_; }

 private:
  enum class Life : uint8_t {
    kUnwatched,  // epoll does not report the socket yet
    kWatched,
    kDone,  // OnDone was called
  };
  // From the socket to the stream. An end that epoll reports may lie behind unread bytes.
  enum class FromSocket : uint8_t {
    kOpen,
    kEndSeen,    // epoll saw the FIN
    kClosed,     // END_STREAM was produced: nothing is read any more
    kResetSeen,  // epoll saw an error
    kReset,      // a read met the error
  };
  // From the stream to the socket. A reset ends the bridge at once.
  enum class ToSocket : uint8_t {
    kOpen,
    kHalfClosed,  // END_STREAM arrived; unsent bytes may precede the FIN
    kClosed,      // the stream is over; only unsent bytes keep the socket
  };
  enum class Nagle : uint8_t { kOff, kUntilSecondSend, kUntilNextSend };

  ssize_t Send(const uint8_t* data, size_t size);
  bool broken() const {
    return from_socket_ == FromSocket::kResetSeen || from_socket_ == FromSocket::kReset;
  }
  bool Watch(uint32_t events);
  bool WatchReads();
  void OnSocketError();
  void KeepForLater(const uint8_t* data, size_t size);
  void Finish(End end, bool with_reset);
  void OnIdleTimer();
  void CarriedFromSocket(size_t bytes);
  void CarriedToSocket(size_t bytes);
  void Carried(Counter* count, size_t bytes, bool to_server);

  EventLoop& loop_;
  const bool socket_is_client_;
  UniqueFd fd_;
  Life life_ = Life::kUnwatched;
  FromSocket from_socket_ = FromSocket::kOpen;
  ToSocket to_socket_ = ToSocket::kOpen;
  Nagle nagle_ = Nagle::kOff;
  bool readable_ = false;  // a read may find something
  bool carried_bytes_ = false;
  std::unique_ptr<OutputBuffer> unsent_;  // bytes that the socket did not take
  GaugeShare unsent_share_;
  BacklogAge unsent_age_;
  Counter* from_socket_count_ = nullptr;
  Counter* to_socket_count_ = nullptr;
  const absl::Duration idle_timeout_;
  FlowActivity activity_;
  MemberTimer<StreamBridge, &StreamBridge::OnIdleTimer> idle_timer_{this};
};

}  // namespace trunkline
