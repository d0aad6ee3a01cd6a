// One end of a trunk: a long-lived TCP connection that carries HTTP/2 CONNECT streams.
//
// Joins a socket and an Http2Session. It reads into the session and writes its output once per
// pass; it sends a PING after silence and closes the trunk when nothing follows; and it notifies
// its owner when the trunk becomes usable, stops being usable, and is lost. It knows nothing of
// endpoints, retries or services. LIFECYCLE.md has its states.
//
// Confined to its event loop. The owner holds it and gives it to EventLoop::Retire when it is lost.
// Every stream of a lost trunk gets OnClosed(kLostCode) before the owner is notified.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/trunk_counters.h"
#include "common/http2/http2_client_session.h"
#include "common/http2/http2_server_session.h"
#include "common/net/event_loop.h"
#include "common/net/ip_port.h"
#include "common/net/output_buffer.h"
#include "common/trunk/trunk_congestion.h"
#include "common/trunk/trunk_lifecycle.h"
#include "common/trunk/trunk_socket.h"

namespace trunkline {

class TrunkConnection final : public EventHandler,
                              public Flushable,
                              private Http2ServerSession::Listener {
 public:
  // Streams of a lost trunk may have reached the server: this code never allows a retry.
  static constexpr uint32_t kLostCode = NGHTTP2_INTERNAL_ERROR;

  class Owner {
   public:
    virtual ~Owner() = default;
    // For a trunk that was accepted, as in Http2ServerSession::Listener.
    virtual Http2Stream* OnConnect(TrunkConnection& trunk, std::string_view authority,
                                   int* status) = 0;
    // For a trunk that was accepted: the stream for a peer that subscribes to in-band load reports;
    // see load_offer.h.
    virtual Http2Stream* OnAskedForLoad(TrunkConnection& /*trunk*/, int* /*status*/) {
      return nullptr;
    }
    // usable() or draining() changed: the trunk came up, the peer fell silent or is back, it
    // reached its limit of streams or is below it again, or it wants no new streams.
    virtual void OnTrunkChanged(TrunkConnection& trunk) = 0;
    // The trunk is closed. `why` is OK after an orderly end, and UNAUTHENTICATED if TLS failed or
    // only one end uses it.
    virtual void OnTrunkLost(TrunkConnection& trunk, const absl::Status& why) = 0;
  };

  // The end that dialed opens streams; the end that accepted answers them.
  enum class Role { kClient, kServer };

  struct Options {
    Role role = Role::kClient;
    // The trunk sets its `extension`.
    Http2Session::Options session;
    // For Role::kServer: announces in SETTINGS that OnAskedForLoad returns a stream.
    bool offers_load = false;
    absl::Duration ping_after = absl::Seconds(5);
    absl::Duration ping_timeout = absl::Seconds(5);
    // From the dial or accept to the peer's first SETTINGS.
    absl::Duration up_timeout = absl::Seconds(3);
    // Outlives the trunk. Null selects plain TCP.
    const TrunkTls* tls = nullptr;
  };

  // `fd` may still be connecting. `owner` and `counters` outlive the trunk. If epoll cannot watch
  // `fd`, the owner gets OnTrunkLost in the next pass.
  TrunkConnection(EventLoop& loop, UniqueFd fd, const Options& options, Owner* owner,
                  TrunkCounters* counters);
  ~TrunkConnection() override;

  Http2Session& session() { return *session_; }
  // For a trunk of that role only.
  Http2ClientSession& client_session();
  Http2ServerSession& server_session();

  TrunkState state() const { return state_; }
  Liveness liveness() const { return liveness_; }
  // A stream may be opened now: the trunk is up, its peer responsive and below its limit.
  bool usable() const { return up() && liveness_ != Liveness::kSuspect && HasRoom(); }
  // Neither side's limit of concurrent streams is reached, and the peer refuses no streams.
  bool HasRoom() const { return session_->open_streams() < stream_limit_; }
  // Concurrent streams that both sides allow; known when the trunk is up.
  size_t max_streams() const { return max_streams_; }
  bool up() const { return state_ == TrunkState::kUp; }
  // No new streams: it ends, or has ended but for the close.
  bool draining() const {
    return state_ == TrunkState::kDraining || state_ == TrunkState::kPeerDraining ||
           state_ == TrunkState::kClosing;
  }
  // The peer asked to drain before this end did.
  bool peer_drains() const { return peer_drains_; }
  // The peer's address; of a trunk that was accepted only.
  const IpPort& peer() const { return peer_; }
  size_t unsent_bytes() const { return output_.size(); }
  // The congestion of this trunk, for comparison with others.
  TrunkCongestion::Level congestion() const;

  // Stops new streams in both directions; the trunk ends after its last stream.
  void Drain();
  // Ends the trunk now; its streams get OnClosed.
  void Close(const absl::Status& why);

 private:
  void OnEvents(uint32_t events) override;
  void OnFlush() override;
  Http2Stream* OnConnect(std::string_view authority, int* status) override;
  Http2Stream* OnGet(std::string_view path, int* status) override;
  void OnGoAway(int32_t last_stream_id) override;
  void OnSettings(uint32_t max_streams) override;
  void OnStreamRefused() override;
  void OnOutputWanted() override;
  void OnLifeTimer();
  void OnGoAwayDue();
  void OnRefusalTimer();

  void Apply(TrunkEvent event) { state_ = kTrunkTable.After(state_, event); }
  void Apply(LivenessEvent event) { liveness_ = kLivenessTable.After(liveness_, event); }
  bool Handshake();
  void ReadAvailable();
  void OnBytesRead(size_t size);
  void OnReadFailed(ssize_t result);
  bool RefuseTlsPeer();
  void MeasurePath();
  bool Parse(size_t size);
  void WriteAvailable();
  bool SendOutput();
  void OnNeverUp();
  absl::Status ExplainIfNoAgent(const absl::Status& why) const;
  void PingAfterSilence();
  void ReportUsability();
  void EndIfFinished();
  // Adds what the peer's first bytes suggest to an error that comes before its first SETTINGS.
  absl::Status WithForeignBytes(const absl::Status& why) const;

  EventLoop& loop_;
  const Options options_;
  Owner* const owner_;
  TrunkCounters* const counters_;

  const IpPort peer_;
  TrunkSocket socket_;
  OutputBuffer output_;
  const std::unique_ptr<Http2Session> session_;
  absl::Status watched_;  // of the socket, by epoll
  TrunkState state_ = TrunkState::kStarting;
  Liveness liveness_ = Liveness::kUnheard;
  bool peer_drains_ = false;
  bool reported_usable_ = false;  // as last reported to the owner
  size_t max_streams_ = 1;
  size_t stream_limit_ = 1;  // max_streams_, or less for a while after the peer refused a stream
  // Readiness of the socket.
  bool writable_ = false;
  bool read_pending_ = false;  // the budget of a pass ran out with bytes left
  bool end_seen_ = false;      // epoll saw the peer's FIN or an error
  bool connected_ = false;     // the peer's kernel accepted the connection
  MonotonicTime last_read_;
  TrunkCongestion congestion_;
  TrunkCongestion::Totals passed_;  // `resent` as of the last measurement
  MemberTimer<TrunkConnection, &TrunkConnection::OnLifeTimer> life_timer_{this};
  MemberTimer<TrunkConnection, &TrunkConnection::OnGoAwayDue> goaway_timer_{this};
  MemberTimer<TrunkConnection, &TrunkConnection::OnRefusalTimer> refusal_timer_{this};
};

}  // namespace trunkline
