// One trunk: a long-lived TCP connection that carries HTTP/2 CONNECT streams, from either end.
//
// Joins a socket and an Http2Session: reads into it, writes what it produces once a pass, watches
// for life (any byte is life; a PING after silence; dead when nothing follows) and tells its owner
// when it may be used, no longer, and is lost. It knows nothing of endpoints, retries or services.
//
// Confined to its event loop. The owner holds it and gives it to EventLoop::Retire when it is lost.
// When a trunk is lost every stream on it gets OnClosed(kLostCode) before the owner hears of it.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/http2/http2_session.h"
#include "common/net/event_loop.h"
#include "common/net/output_buffer.h"
#include "common/trunk/trunk_congestion.h"
#include "common/trunk/trunk_counters.h"
#include "common/trunk/trunk_socket.h"

namespace trunkline {

class TrunkConnection final : public EventHandler,
                              public Flushable,
                              private Http2Session::Listener {
 public:
  // Streams of a lost trunk may have reached the server: this code never allows a retry.
  static constexpr uint32_t kLostCode = NGHTTP2_INTERNAL_ERROR;

  class Owner {
   public:
    virtual ~Owner() = default;
    // Server role, as in Http2Session::Listener.
    virtual Http2Stream* OnConnect(TrunkConnection& trunk, std::string_view authority,
                                   int* status) = 0;
    // Server role: the stream for a peer that asks for in-band load reports; see load_offer.h.
    virtual Http2Stream* OnAskedForLoad(TrunkConnection& /*trunk*/, int* /*status*/) {
      return nullptr;
    }
    // usable() or draining() changed: the peer has spoken HTTP/2, fell silent, is back, is at its
    // limit of streams or below it again, or asked for no new ones.
    virtual void OnTrunkChanged(TrunkConnection& trunk) = 0;
    // Nothing is left of it but the object. `why` is OK after an orderly end.
    virtual void OnTrunkLost(TrunkConnection& trunk, const absl::Status& why) = 0;
  };

  struct Options {
    // Its extension is the trunk's.
    Http2Session::Options session;
    // Server role: says in SETTINGS that OnAskedForLoad gives a stream.
    bool offers_load = false;
    absl::Duration ping_after = absl::Seconds(5);
    absl::Duration ping_timeout = absl::Seconds(5);
    // From the dial (or accept) to the peer's first SETTINGS.
    absl::Duration up_timeout = absl::Seconds(3);
    // Null: plain. Outlives the trunk.
    const TrunkTls* tls = nullptr;
  };

  // `fd` may still be connecting. `owner` and `counters` outlive the trunk.
  TrunkConnection(EventLoop& loop, UniqueFd fd, const Options& options, Owner* owner,
                  TrunkCounters* counters);
  ~TrunkConnection() override;

  Http2Session& session() { return session_; }
  // Streams may be opened: up, not draining, alive as far as is known, below the peer's limit.
  bool usable() const {
    return state_ == State::kUp && !suspect_ && session_.open_streams() < max_streams_;
  }
  // At once, as both sides allow; known when it is up.
  size_t max_streams() const { return max_streams_; }
  bool draining() const { return state_ == State::kDraining; }
  // The peer asked for it.
  bool peer_drains() const { return peer_drains_; }
  bool up() const { return state_ == State::kUp; }
  size_t unsent_bytes() const { return output_.size(); }
  // How much better off new streams are elsewhere.
  TrunkCongestion::Level congestion() const;

  // No new streams either way; the trunk ends by itself when its streams have.
  void Drain();
  // Ends it now; streams get OnClosed.
  void Close(const absl::Status& why);

 private:
  enum class State { kStarting, kUp, kDraining, kLost };

  void OnEvents(uint32_t events) override;
  void OnFlush() override;
  Http2Stream* OnConnect(std::string_view authority, int* status) override;
  Http2Stream* OnGet(std::string_view path, int* status) override;
  void OnGoAway(int32_t last_stream_id) override;
  void OnSettings(uint32_t max_streams) override;
  void OnOutputWanted() override;
  void OnLifeTimer();
  void OnGoAwayDue();

  bool Handshake();
  void ReadAvailable();
  void LookAtPath();
  bool Parse(size_t size);
  void WriteAvailable();
  bool SendOutput();
  void NotifyUsability();
  void EndIfFinished();

  EventLoop& loop_;
  const Options options_;
  Owner* const owner_;
  TrunkCounters* const counters_;

  TrunkSocket socket_;
  OutputBuffer output_;
  Http2Session session_;
  State state_ = State::kStarting;
  size_t max_streams_ = 1;
  bool writable_ = false;
  bool read_pending_ = false;  // a budget ran out with bytes left
  bool end_seen_ = false;      // epoll saw the peer's FIN or an error
  bool peer_drains_ = false;
  bool heard_ = false;        // the peer's first SETTINGS
  bool suspect_ = false;      // a PING is out and nothing came yet
  bool told_usable_ = false;  // what the owner was told last
  bool lingering_ = false;    // all is said; waiting for the peer to close, too
  MonotonicTime last_read_;
  TrunkCongestion congestion_;
  TrunkCongestion::Totals passed_;  // resent: as the kernel said last
  MemberTimer<TrunkConnection, &TrunkConnection::OnLifeTimer> life_timer_{this};
  MemberTimer<TrunkConnection, &TrunkConnection::OnGoAwayDue> goaway_timer_{this};
};

}  // namespace trunkline
