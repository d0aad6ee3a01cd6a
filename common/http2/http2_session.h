// HTTP/2 framing for trunks, over libnghttp2: CONNECT streams, manual flow control, our own
// scheduling.
//
// It adds to nghttp2:
// - Streams are objects with virtual calls. DATA is pulled straight from its source into the output
//   buffer, without a copy in between.
// - Ready streams get one quantum each in turn, so a bulk stream waits behind small ones and never
//   the other way round.
// - A received byte leaves the connection's window at once, but its stream's window only when its
//   owner has passed it on. A reader that stalls therefore holds one stream's window and no more.
//
// Http2Session has the parts that both roles share; Http2ClientSession opens streams and
// Http2ServerSession answers them. A session does no I/O: bytes enter through Receive() and leave
// through OutputBuffer.
//
// Confined to its event loop. Streams are borrowed from Connect, Get or OnConnect until OnClosed,
// which is the last call that they get; CloseAll gives it to all of them and must precede the
// session's destruction. Streams' callbacks must not call Receive or Produce.
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
class Http2ServerSession;

// One stream as its session sees it.
class Http2Stream {
 public:
  virtual ~Http2Stream() = default;

  int32_t stream_id() const { return stream_id_; }
  bool attached() const { return session_ != nullptr; }

 protected:
  enum class Pull {
    kNothing,  // call Ready() when there is something
    kMore,     // `*size` bytes; there may be more if they fill `capacity`
    kLast,     // `*size` bytes, perhaps none, then END_STREAM
    kAbort,    // the source broke: RST_STREAM(CONNECT_ERROR)
  };
  // Writes up to `capacity` bytes to `to`.
  virtual Pull PullData(uint8_t* to, size_t capacity, size_t* size) = 0;
  // For a stream that a client session opened: the final response, 200 or the reason for a refusal.
  virtual void OnResponse(int /*status*/) {}
  // For a stream that a server session accepted: it can be answered from now on. `session` is valid
  // while attached().
  virtual void OnRequest(Http2ServerSession& /*session*/) {}
  virtual void OnData(const uint8_t* data, size_t size) = 0;
  // END_STREAM from the peer. `closing`: this side ended before, and OnClosed follows at once.
  virtual void OnEnd(bool closing) = 0;
  // The stream is over, with an HTTP/2 error code; 0 if both sides ended cleanly. The object may
  // delete itself.
  virtual void OnClosed(uint32_t error_code) = 0;

  Http2Session* session() const { return session_; }

 private:
  friend class Http2Session;
  friend class Http2ClientSession;
  friend class Http2ServerSession;
  Http2Session* session_ = nullptr;
  int32_t stream_id_ = -1;
  uint32_t index_ = 0;        // in the session's list
  bool ready_ = false;        // in the session's ready list
  bool pulled_once_ = false;  // the first pull comes unasked, right after HEADERS
  bool end_sent_ = false;
  bool connected_ = false;  // further HEADERS are an error
  StreamWindow window_;
};

class Http2Session {
 public:
  struct Options {
    // Streams that the peer of a server session may have open.
    uint32_t max_streams = 1000;
    // A setting that HTTP/2 does not define: sent in our SETTINGS unless its value is 0, and read
    // from the peer's. Id 0: none.
    struct Setting {
      int32_t id = 0;
      uint32_t value = 0;
    };
    Setting extension;
    // A client session whose stream ids pass this should be replaced, long before the protocol runs
    // out of ids (2^31).
    int32_t last_stream_id = 1 << 30;
    // The budget for window growth; outlives the session. Windows do not grow if it is null.
    WindowBudget* window_budget = nullptr;
    // Where nghttp2 allocates; outlives the session. Null selects malloc.
    nghttp2_mem* memory = nullptr;
  };

  // Outlives the session.
  class Listener {
   public:
    virtual ~Listener() = default;
    // The peer takes no stream above `last_stream_id`: stop opening streams here.
    virtual void OnGoAway(int32_t last_stream_id) = 0;
    // SETTINGS of the peer, which takes this many concurrent streams. The first call shows that the
    // peer speaks HTTP/2.
    virtual void OnSettings(uint32_t max_streams) = 0;
    // The peer refused a stream without processing it; its OnClosed follows.
    virtual void OnStreamRefused() {}
    // There may be output, or status() changed: call Produce at the end of the pass.
    virtual void OnOutputWanted() = 0;
  };

  virtual ~Http2Session();
  Http2Session(const Http2Session&) = delete;
  Http2Session& operator=(const Http2Session&) = delete;

  // RESOURCE_EXHAUSTED after nghttp2 ran out of memory, INTERNAL after another error that it cannot
  // recover from. The session then does nothing more: CloseAll and close the connection.
  const absl::Status& status() const { return status_; }

  // The value of Options::extension in the peer's SETTINGS; 0 if it was not received or not set.
  uint32_t peer_extension() const { return peer_extension_; }
  // The stream's source has data: Produce will call its PullData.
  void Ready(Http2Stream* stream);
  // Bytes given by OnData have left, so the peer may send as many again, or more, or not yet; see
  // StreamWindow. `waited`: they did not leave when they arrived.
  void Consume(Http2Stream* stream, size_t bytes, MonotonicTime now, bool waited = false);
  // The connection's round trip, as its owner measures it.
  void set_round_trip(absl::Duration round_trip) { round_trip_ = round_trip; }
  // Ends the stream with RST_STREAM; it gets no further callbacks.
  void Abandon(Http2Stream* stream, uint32_t error_code);
  // The connection is lost: calls OnClosed(error_code) of every stream.
  void CloseAll(uint32_t error_code);

  void Ping();
  // Sends GOAWAY with the last stream that was accepted.
  void GoAway(uint32_t error_code);

  // Takes bytes from the peer. After an error the session is over: write what Produce still gives
  // (GOAWAY with the reason), then close. Bytes that open many streams are buffered in part: while
  // has_unread(), call again with none, after the loop's other connections had their turn.
  absl::Status Receive(const uint8_t* data, size_t size, MonotonicTime now);
  bool has_unread() const { return !unread_.empty(); }
  // Appends frames to the output buffer until nothing is ready or it holds `high_water` unsent
  // bytes. Returns true if more is ready: call again when the buffer has drained.
  bool Produce(size_t high_water);

  // The peer's window has no room for more bytes of this stream.
  bool WindowClosed(const Http2Stream* stream) const;
  // All streams are gone, and either side sent GOAWAY.
  bool Finished() const;
  // The HTTP/2 code of the GOAWAY that reported the peer's error to it; 0 if there was none.
  uint32_t peer_error() const { return peer_error_; }
  size_t open_streams() const { return open_streams_; }

 protected:
  struct Callbacks;  // nghttp2's C functions: http2_callbacks.h

  Http2Session(const Options& options, Listener* listener, OutputBuffer* output);

  // The constructor of a role creates its nghttp2 session with this, exactly once.
  using Create = int (*)(nghttp2_session**, const nghttp2_session_callbacks*, void*,
                         const nghttp2_option*, nghttp2_mem*);
  void Start(Create create, nghttp2_settings_entry role_setting);

  // A complete header block arrived; header_list() has it.
  virtual void OnHeaders(int32_t id, nghttp2_headers_category category) = 0;
  // HEADERS of ours were written.
  virtual void OnHeadersSent(int32_t /*id*/, bool /*end_stream*/) {}

  // Every result of nghttp2 goes through one of these. The session fails if `code` is a fatal error
  // (out of memory); Require is for calls whose other errors would be bugs here.
  void FailIfFatal(int code);
  void Require(int code);
  void Attach(Http2Stream* stream, int32_t id);
  // The stream gets no more callbacks.
  void Release(Http2Stream* stream);
  Http2Stream* Find(int32_t id) const;
  // An opened stream counts until its RST_STREAM is written, even if it was abandoned.
  void CountOpened() { ++open_streams_; }
  // Resets a stream after everything that is queued for it was written.
  void ResetLater(int32_t id, uint32_t error_code) { resets_.emplace_back(id, error_code); }
  void ResetForFault(Http2Stream* stream, uint32_t error_code);
  // Counts a frame that costs work and carries nothing.
  void ChargeEmptyFrame() { Charge(empty_frames_, 1); }

  const Options& options() const { return options_; }
  Listener* listener() const { return listener_; }
  nghttp2_session* raw() const { return session_; }
  const HeaderList& header_list() const { return header_list_; }

 private:
  void Fail(int code);
  void Detach(Http2Stream* stream);
  void OnLongHeaderList(int32_t id);
  void OnSettings(const nghttp2_settings& settings);
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
  absl::Status status_;
  std::vector<Http2Stream*> streams_;
  size_t open_streams_ = 0;
  // Scheduling: streams that became ready, those left in this round, the one whose turn it is and
  // the bytes that it has had.
  std::vector<Http2Stream*> ready_;
  std::vector<Http2Stream*> serving_;
  size_t served_ = 0;
  Http2Stream* turn_ = nullptr;
  size_t turn_bytes_ = 0;
  size_t high_water_ = 0;
  std::vector<std::pair<int32_t, uint32_t>> resets_;
  HeaderList header_list_;  // the one that is being read
  uint32_t peer_extension_ = 0;
  absl::Duration round_trip_;
  size_t requests_taken_ = 0;  // by this Receive
  std::string unread_;
  uint32_t peer_error_ = 0;
  FrameAllowance empty_frames_;
  FrameAllowance peer_resets_;
  MonotonicTime forgiven_at_;
};

}  // namespace trunkline
