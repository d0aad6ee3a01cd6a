// HTTP/2 framing for trunks, over libnghttp2: CONNECT streams, flow control by hand, our own
// scheduling.
//
// What it adds to nghttp2: streams are objects with virtual calls; DATA is *pulled* straight from
// its source into the output buffer (no copy in between), one quantum of each ready stream in turn,
// so a bulk stream waits behind small ones and never the other way round; a received byte is taken
// off the connection's window at once and off its stream's window only when its owner says that it
// left, so that one reader that stalls holds one stream's window and no more. It does no I/O: bytes
// in by Receive(), bytes out through OutputBuffer.
//
// Confined to its event loop. Streams are borrowed from Connect or OnConnect to OnClosed, which is
// the last call that they get; CloseAll gives it to all of them before a session is destroyed.
// Streams' callbacks never call Receive or Produce.
//
// RFC 9113, section 8.5 for CONNECT. Deficit round robin: Shreedhar and Varghese, SIGCOMM 1995.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "common/http2/header_list.h"
#include "common/http2/http2_faults.h"
#include "common/http2/stream_window.h"
#include "common/net/output_buffer.h"

namespace trunkline {

class Http2Session;

// One CONNECT stream as its session sees it.
class Http2Stream {
 public:
  virtual ~Http2Stream() = default;

  int32_t stream_id() const { return stream_id_; }
  bool attached() const { return session_ != nullptr; }

 protected:
  enum class Pull {
    kNothing,  // Ready() comes when there is something
    kMore,     // `*size` bytes; more may be there if that filled `capacity`
    kLast,     // `*size` bytes (perhaps none), nothing after: END_STREAM
    kAbort,    // the source broke: RST_STREAM(CONNECT_ERROR)
  };
  // Writes up to `capacity` bytes to `to`.
  virtual Pull PullData(uint8_t* to, size_t capacity, size_t* size) = 0;
  // The peer's answer to CONNECT (client role): 200 or why not. `status` is 0 for a request (server
  // role).
  virtual void OnHeaders(int status) = 0;
  virtual void OnData(const uint8_t* data, size_t size) = 0;
  // END_STREAM from the peer. `closing`: our side ended before, OnClosed follows at once.
  virtual void OnEnd(bool closing) = 0;
  // The stream is over, with an HTTP/2 error code (0: both sides ended well). The object may delete
  // itself.
  virtual void OnClosed(uint32_t error_code) = 0;

  Http2Session* session() const { return session_; }

 private:
  friend class Http2Session;
  Http2Session* session_ = nullptr;
  int32_t stream_id_ = -1;
  uint32_t index_ = 0;        // in the session's list
  bool ready_ = false;        // in the session's ready list
  bool pulled_once_ = false;  // the first pull comes unasked, right after HEADERS
  bool end_sent_ = false;
  bool connected_ = false;  // no more HEADERS may come
  StreamWindow window_;
};

class Http2Session {
 public:
  enum class Role { kClient, kServer };

  struct Options {
    Role role = Role::kClient;
    // Streams that the peer may open (server role).
    uint32_t max_streams = 1000;
    // A setting that HTTP/2 does not know: sent in our SETTINGS unless its value is 0, and looked
    // for in the peer's. Id 0: none.
    struct Setting {
      int32_t id = 0;
      uint32_t value = 0;
    };
    Setting extension;
    // Client role: stream ids above this say that the connection should be replaced, long before
    // the protocol's end of them (2^31).
    int32_t last_stream_id = 1 << 30;
    // What windows may grow by; outlives the session. Null: they do not.
    WindowBudget* window_budget = nullptr;
  };

  // Decides about incoming CONNECT requests and hears of the session's end. Outlives the session.
  class Listener {
   public:
    virtual ~Listener() = default;
    // Server role: the stream for a CONNECT to `authority`, or null after `*status` was set: it is
    // answered and ended.
    virtual Http2Stream* OnConnect(std::string_view authority, int* status) = 0;
    // Server role: the same for a GET of `path`.
    virtual Http2Stream* OnGet(std::string_view /*path*/, int* /*status*/) { return nullptr; }
    // The peer will take no stream above `last_stream_id`: stop opening new ones here.
    virtual void OnGoAway(int32_t last_stream_id) = 0;
    // The peer's first SETTINGS: it speaks HTTP/2 and takes this many streams at once (client
    // role).
    virtual void OnSettings(uint32_t max_streams) = 0;
    // Something may be there to write: call Produce at the end of the pass.
    virtual void OnOutputWanted() = 0;
  };

  Http2Session(Options options, Listener* listener, OutputBuffer* output);
  ~Http2Session();
  Http2Session(const Http2Session&) = delete;
  Http2Session& operator=(const Http2Session&) = delete;

  // Client role: opens a CONNECT stream. RESOURCE_EXHAUSTED when stream ids ran out.
  absl::Status Connect(std::string_view authority, Http2Stream* stream,
                       const ConnectFields& fields = {});
  // Server role: of the CONNECT that OnConnect is being asked about.
  const ConnectFields& connect_fields() const { return header_list_.connect; }
  // What the peer's SETTINGS give for Options::extension; 0: nothing yet.
  uint32_t peer_extension() const { return peer_extension_; }
  // Client role: GETs `path`; `stream` sends nothing. RESOURCE_EXHAUSTED as Connect.
  absl::Status Get(std::string_view path, Http2Stream* stream);
  // Server role: answers a CONNECT. A status of 200 opens the way for data; any other ends the
  // stream.
  void Respond(Http2Stream* stream, int status);
  // The stream's source has something: its PullData is called from Produce.
  void Ready(Http2Stream* stream);
  // Bytes given by OnData have left: the peer may send as many again, or more, or not yet; see
  // StreamWindow. `waited`: they did not leave when they came.
  void Consume(Http2Stream* stream, size_t bytes, MonotonicTime now, bool waited = false);
  // Of the connection, as its owner measures it.
  void set_round_trip(absl::Duration round_trip) { round_trip_ = round_trip; }
  // Ends the stream with RST_STREAM; no callbacks to it any more.
  void Abandon(Http2Stream* stream, uint32_t error_code);
  // The connection is lost: OnClosed(error_code) to every stream.
  void CloseAll(uint32_t error_code);

  void Ping();
  // Server role: the peer should open nothing more; streams that it opened meanwhile are still
  // served.
  void AnnounceShutdown();
  // GOAWAY with the last stream that was taken.
  void GoAway(uint32_t error_code);

  // Bytes from the peer. An error ends the session: write what Produce still gives (GOAWAY with the
  // reason), then close. Bytes that open many streams are kept in part: while has_unread(), call
  // again with none, after the others of the loop had their turn.
  absl::Status Receive(const uint8_t* data, size_t size, MonotonicTime now);
  bool has_unread() const { return !unread_.empty(); }
  // Appends frames to the output buffer until nothing is ready or `high_water` unsent bytes are
  // there. True: more is ready, come again when the buffer has drained.
  bool Produce(size_t high_water);

  // The peer's window holds nothing more of this stream.
  bool WindowClosed(const Http2Stream* stream) const;
  // Client role: see Options::last_stream_id.
  bool IdsNearlySpent() const;
  // All streams are gone and a GOAWAY went either way.
  bool Finished() const;
  // What the peer did wrong, in HTTP/2's code of the GOAWAY that told it so; 0: nothing.
  uint32_t peer_error() const { return peer_error_; }
  size_t open_streams() const { return open_streams_; }

 private:
  struct Callbacks;  // nghttp2's C functions: http2_callbacks.h
  void Start(nghttp2_session_callbacks* callbacks, nghttp2_option* option);
  void Attach(Http2Stream* stream, int32_t id);
  void Detach(Http2Stream* stream);
  Http2Stream* Find(int32_t id) const;
  void OnRequest(int32_t id);
  void OnLaterHeaders(int32_t id);
  void OnOpened(Http2Stream* stream, int32_t id);
  void OnLongHeaderList(int32_t id);
  void OnSettings(const nghttp2_settings& settings);
  void ResetForFault(Http2Stream* stream, uint32_t error_code);
  void OnResetSent(int32_t id, uint32_t error_code);
  void Charge(FrameAllowance& allowance, double cost);
  void EndWith(uint32_t error_code);
  void OnEndStream(int32_t id);
  ssize_t PullInto(int32_t id, size_t length, uint32_t* flags);
  void PutHead(const uint8_t* head, size_t payload_size);
  bool TookEnough() const;
  bool SendFrames();
  void SendResets();

  const Options options_;
  Listener* const listener_;
  OutputBuffer* const output_;
  nghttp2_session* session_ = nullptr;
  std::vector<Http2Stream*> streams_;
  size_t open_streams_ = 0;  // abandoned ones count until their RST_STREAM is out
  // Scheduling: who is ready, who is left of this round, whose turn it is and how much it has had.
  std::vector<Http2Stream*> ready_;
  std::vector<Http2Stream*> serving_;
  size_t served_ = 0;
  Http2Stream* turn_ = nullptr;
  size_t turn_bytes_ = 0;
  size_t high_water_ = 0;
  std::vector<std::pair<int32_t, uint32_t>> resets_;
  HeaderList header_list_;     // the one that is being read
  bool client_named_ = false;  // HPACK's table has the field's name
  uint32_t peer_extension_ = 0;
  absl::Duration round_trip_;
  size_t requests_taken_ = 0;  // of this Receive
  std::string unread_;
  uint32_t peer_error_ = 0;
  FrameAllowance empty_frames_;
  FrameAllowance peer_resets_;
  MonotonicTime forgiven_at_;
};

}  // namespace trunkline
