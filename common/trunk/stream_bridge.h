// Joins a socket and an HTTP/2 stream so that the two ends see one TCP connection.
//
//   FIN from the socket  -> END_STREAM            END_STREAM  -> shutdown(WR)
//   RST from the socket  -> RST_STREAM(CONNECT)   RST_STREAM, lost trunk -> RST
// A socket whose stream has no window is not read; bytes that the socket does not take are kept
// here (at most one stream window) and their window is given back only as they leave: back-pressure
// from end to end. An idle bridge holds no buffer.
//
// Used by the proxy (socket = client) and the agent (socket = local server); a subclass adds how
// the socket or the stream comes about. Confined to its event loop. After OnDone nothing touches
// the object; its owner retires it.
#pragma once

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
    kSocketReset,  // the socket's peer broke it
    kStreamReset,  // the other end of the stream broke it
    kStreamLost,   // the trunk was lost
    kTimeout,
    kShutdown,  // we stop
  };

  // Tears both sides down with a reset. OnDone follows at once.
  void Abort(End end);

  // From here on bytes are also added to these, as they pass. They outlive the bridge.
  void CountBytes(Counter* from_socket, Counter* to_socket);
  // What the socket has not taken is a part of this, which outlives the bridge.
  void CountUnsent(Gauge* unsent_bytes) { unsent_share_.BelongTo(unsent_bytes); }

 protected:
  enum class SocketOf { kClient, kServer };
  StreamBridge(EventLoop& loop, SocketOf socket_of, absl::Duration idle_timeout);

  // A connected socket; `try_read_now`: bytes are probably there already, read before asking epoll.
  void AdoptSocket(UniqueFd fd, bool try_read_now);
  // The peer has reset the socket: what it sent before is still passed on, then the stream is
  // reset.
  void SetBroken();
  // An adopted socket that ConnectToSend made: Nagle's delay goes with the second send.
  void set_fresh() { nagle_ = Nagle::kUntilSecondSend; }
  bool sent_nothing() const { return nagle_ == Nagle::kUntilSecondSend; }
  // To an adopted socket, before anything of the stream: no stream's window pays for these bytes. A
  // socket that was just connected takes them whole; one that does not is broken.
  void SendFirst(std::string_view bytes);
  int socket_fd() const { return fd_.get(); }
  // Bytes and END_STREAM that came before the socket did.
  void FlushToSocket();

  // Http2Stream. A subclass that overrides one calls it.
  Pull PullData(uint8_t* to, size_t capacity, size_t* size) override;
  void OnData(const uint8_t* data, size_t size) override;
  void OnEnd(bool closing) override;
  void OnClosed(uint32_t error_code) override;
  void OnEvents(uint32_t events) override;

  // The stream is gone and the socket is closed next: count it, then retire the object. Called
  // once.
  virtual void OnDone(End end) = 0;
  // It is load again, or no longer; see FlowActivity. A new one is.
  virtual void OnLoadChanged(bool is_load) = 0;
  bool is_load() const { return activity_.counts(); }
  // No byte for the idle time-out.
  virtual void OnIdle() { Abort(End::kTimeout); }

  // Bytes that the socket has not taken, and since when the oldest of them wait.
  size_t unsent_bytes() const { return unsent_ != nullptr ? unsent_->size() : 0; }
  MonotonicTime unsent_since() const { return unsent_age_.since(); }
  // Some byte has passed, either way.
  bool carried_bytes() const { return carried_bytes_; }
  bool done() const { return done_; }
  bool readable() const { return readable_; }
  EventLoop& loop() const { return loop_; }

 private:
  enum class Nagle : uint8_t { kOff, kUntilSecondSend, kUntilNextSend };

  ssize_t Send(const uint8_t* data, size_t size);
  void Register();
  void KeepForLater(const uint8_t* data, size_t size);
  void Finish(End end, bool with_reset);
  void OnIdleTimer();
  void CarriedFromSocket(size_t bytes);
  void CarriedToSocket(size_t bytes);
  void Carried(Counter* count, size_t bytes, bool to_server);

  EventLoop& loop_;
  const bool socket_is_client_;
  UniqueFd fd_;
  bool registered_ = false;
  bool readable_ = false;  // a read may find something
  bool fin_seen_ = false;  // epoll saw the peer's FIN
  bool broken_ =
      false;  // epoll saw an error: the peer's RST, perhaps behind bytes that came before it
  bool socket_broke_ = false;  // a read came to it
  bool fin_sent_ = false;      // END_STREAM is out: nothing is read any more
  bool stream_over_ = false;   // OnClosed came; only unsent bytes keep the socket
  bool peer_ended_ = false;    // END_STREAM came
  bool done_ = false;
  bool carried_bytes_ = false;
  Nagle nagle_ = Nagle::kOff;
  std::unique_ptr<OutputBuffer> unsent_;  // what the socket did not take
  GaugeShare unsent_share_;
  BacklogAge unsent_age_;
  Counter* from_socket_count_ = nullptr;
  Counter* to_socket_count_ = nullptr;
  const absl::Duration idle_timeout_;
  FlowActivity activity_;
  MemberTimer<StreamBridge, &StreamBridge::OnIdleTimer> idle_timer_{this};
};

}  // namespace trunkline
