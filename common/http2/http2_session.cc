#include "common/http2/http2_session.h"

#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/http2/header_list.h"
#include "common/http2/http2_callbacks.h"
#include "common/http2/http2_faults.h"
#include "common/http2/stream_window.h"
#include "common/net/output_buffer.h"

namespace trunkline {
namespace {

constexpr size_t kFrameHeadBytes = 9;
constexpr size_t kQuantumBytes = 16 * 1024;  // a turn of the round robin: one full frame
// Large enough never to limit all streams together: bytes leave it as they arrive.
constexpr int32_t kConnectionWindowBytes = 16 * 1024 * 1024;
// Requests accepted per call of Receive. A request of some 20 bytes costs a connect, which takes a
// thousand times as long as parsing it: one read from a hostile peer could keep the loop from its
// other trunks for a quarter of a second.
constexpr size_t kRequestsPerReceive = 4;
// Frames queued for a peer that does not read. An honest peer has a few for each of its streams; a
// hostile one provokes responses and resets without end.
constexpr size_t kMaxQueuedFrames = 10'000;

static_assert(StreamWindow::kMaxBytes < kConnectionWindowBytes,
              "one unread stream must not close the connection's window");
static_assert(kQuantumBytes <= StreamWindow::kInitialBytes);

}  // namespace

Http2Session::Http2Session(const Options& options, Listener* listener, OutputBuffer* output)
    : options_(options),
      listener_(listener),
      output_(output),
      empty_frames_(kEmptyFrameAllowance),
      peer_resets_(kResetAllowance) {}

void Http2Session::Start(Create create, nghttp2_settings_entry role_setting) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* option = nullptr;
  const bool allocated =
      nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0;
  TRUNKLINE_CHECK(allocated, "a failed allocation ends the process, as for operator new");
  Callbacks::Install(callbacks);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  // Replaced by kResetAllowance, whose error code is the one of RFC 9113, 10.5.
  nghttp2_option_set_stream_reset_rate_limit(option, UINT64_MAX, 1);
  const int created = create(&session_, callbacks, this, option, options_.memory);
  TRUNKLINE_CHECK(created == 0, "a failed allocation ends the process, as for operator new");
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);

  std::vector<nghttp2_settings_entry> settings = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, StreamWindow::kInitialBytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, kMaxHeaderListBytes},
      role_setting};
  if (options_.extension.value != 0) {
    settings.push_back({options_.extension.id, options_.extension.value});
  }
  Require(nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size()));
  Require(nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                                kConnectionWindowBytes));
}

Http2Session::~Http2Session() { nghttp2_session_del(session_); }

void Http2Session::Fail(int code) {
  if (!status_.ok()) return;
  const std::string text = absl::StrCat("HTTP/2 session failed: ", nghttp2_strerror(code));
  status_ =
      code == NGHTTP2_ERR_NOMEM ? absl::ResourceExhaustedError(text) : absl::InternalError(text);
  listener_->OnOutputWanted();
}

void Http2Session::FailIfFatal(int code) {
  if (nghttp2_is_fatal(code)) Fail(code);
}

void Http2Session::Require(int code) {
  FailIfFatal(code);
  TRUNKLINE_CHECK(code == 0 || nghttp2_is_fatal(code), "nghttp2 accepts what a session submits");
}

Http2Stream* Http2Session::Find(int32_t id) const {
  return static_cast<Http2Stream*>(nghttp2_session_get_stream_user_data(session_, id));
}

void Http2Session::Attach(Http2Stream* stream, int32_t id) {
  TRUNKLINE_CHECK(!stream->attached(), "a stream belongs to one session at a time");
  stream->session_ = this;
  stream->stream_id_ = id;
  stream->ready_ = stream->pulled_once_ = stream->end_sent_ = stream->connected_ = false;
  stream->index_ = streams_.size();
  streams_.push_back(stream);
}

void Http2Session::Detach(Http2Stream* stream) {
  TRUNKLINE_CHECK(stream->session_ == this && streams_[stream->index_] == stream,
                  "a session detaches its own streams");
  if (stream->ready_) {
    std::replace(ready_.begin(), ready_.end(), stream, static_cast<Http2Stream*>(nullptr));
    std::replace(serving_.begin(), serving_.end(), stream, static_cast<Http2Stream*>(nullptr));
  }
  if (turn_ == stream) turn_ = nullptr;
  streams_[stream->index_] = streams_.back();
  streams_[stream->index_]->index_ = stream->index_;
  streams_.pop_back();
  stream->session_ = nullptr;
  stream->window_.Release(options_.window_budget);
}

// HPACK's table lets few bytes expand into many.
void Http2Session::OnLongHeaderList(int32_t id) {
  Require(nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_ENHANCE_YOUR_CALM));
  Charge(empty_frames_, kLongHeaderListCost);
}

// A peer that overflows one window has lost count, so the connection ends. RFC 9113, 6.9.2 demands
// that where SETTINGS make a window overflow, but nghttp2 resets only the stream.
void Http2Session::OnResetSent(int32_t id, uint32_t error_code) {
  const bool was_push = id % 2 == 0;
  if (was_push || IsFault(error_code)) Charge(empty_frames_, 1);
  if (error_code == NGHTTP2_FLOW_CONTROL_ERROR) EndWith(error_code);
}

void Http2Session::ResetForFault(Http2Stream* stream, uint32_t error_code) {
  Abandon(stream, error_code);
  stream->OnClosed(error_code);
}

void Http2Session::OnSettings(const nghttp2_settings& settings) {
  for (size_t i = 0; i < settings.niv; ++i) {
    if (settings.iv[i].settings_id == options_.extension.id) {
      peer_extension_ = settings.iv[i].value;
    }
  }
  listener_->OnSettings(
      nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS));
}

void Http2Session::OnEndStream(int32_t id) {
  if (Http2Stream* stream = Find(id)) stream->OnEnd(stream->end_sent_);
}

void Http2Session::Ready(Http2Stream* stream) {
  if (stream->ready_) return;
  stream->ready_ = true;
  ready_.push_back(stream);
  listener_->OnOutputWanted();
}

void Http2Session::Consume(Http2Stream* stream, size_t bytes, MonotonicTime now, bool waited) {
  const int32_t more =
      stream->window_.OnRead(bytes, waited, now, round_trip_, options_.window_budget);
  if (more == 0) return;
  Require(nghttp2_submit_window_update(session_, NGHTTP2_FLAG_NONE, stream->stream_id_, more));
  listener_->OnOutputWanted();
}

void Http2Session::Release(Http2Stream* stream) {
  // An error means that nghttp2 has forgotten the stream already.
  FailIfFatal(nghttp2_session_set_stream_user_data(session_, stream->stream_id_, nullptr));
  Detach(stream);
}

void Http2Session::Abandon(Http2Stream* stream, uint32_t error_code) {
  resets_.emplace_back(stream->stream_id_, error_code);
  Release(stream);
  listener_->OnOutputWanted();
}

void Http2Session::CloseAll(uint32_t error_code) {
  while (!streams_.empty()) {
    Http2Stream* stream = streams_.back();
    Release(stream);
    stream->OnClosed(error_code);
  }
}

void Http2Session::Ping() {
  Require(nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr));
  listener_->OnOutputWanted();
}

void Http2Session::GoAway(uint32_t error_code) {
  Require(nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(session_), error_code,
                                nullptr, 0));
  listener_->OnOutputWanted();
}

void Http2Session::EndWith(uint32_t error_code) {
  if (!status_.ok()) return;
  Require(nghttp2_session_terminate_session(session_, error_code));
}

void Http2Session::Charge(FrameAllowance& allowance, double cost) {
  if (!allowance.Spend(cost)) EndWith(NGHTTP2_ENHANCE_YOUR_CALM);
}

absl::Status Http2Session::Receive(const uint8_t* data, size_t size, MonotonicTime now) {
  if (!status_.ok()) return status_;
  const double seconds = absl::ToDoubleSeconds(now - std::exchange(forgiven_at_, now));
  empty_frames_.Forgive(seconds);
  peer_resets_.Forgive(seconds);
  std::string kept;
  if (has_unread()) {
    kept.swap(unread_);
    kept.append(reinterpret_cast<const char*>(data), size);
    data = reinterpret_cast<const uint8_t*>(kept.data());
    size = kept.size();
  }
  // The request that ended the previous batch counts toward this one.
  requests_taken_ = TookEnough() ? 1 : 0;
  const ssize_t rc = nghttp2_session_mem_recv(session_, data, size);
  // A callback fails only after it has set status_.
  if (rc == NGHTTP2_ERR_NOMEM || rc == NGHTTP2_ERR_CALLBACK_FAILURE) Fail(static_cast<int>(rc));
  if (!status_.ok()) return status_;
  if (rc < 0) {
    EndWith(ErrorCodeOf(rc));
    return absl::InvalidArgumentError(nghttp2_strerror(static_cast<int>(rc)));
  }
  if (static_cast<size_t>(rc) < size) {
    unread_.assign(reinterpret_cast<const char*>(data) + rc, size - static_cast<size_t>(rc));
  }
  if (nghttp2_session_get_outbound_queue_size(session_) > kMaxQueuedFrames) {
    EndWith(NGHTTP2_ENHANCE_YOUR_CALM);
    return absl::ResourceExhaustedError("the peer provokes responses and does not read them");
  }
  return absl::OkStatus();
}

bool Http2Session::TookEnough() const { return requests_taken_ > kRequestsPerReceive; }

ssize_t Http2Session::PullInto(int32_t id, size_t length, uint32_t* flags) {
  Http2Stream* stream = Find(id);
  if (stream == nullptr) return NGHTTP2_ERR_DEFERRED;
  const bool first = !std::exchange(stream->pulled_once_, true);
  const bool may_pull = (first || stream == turn_) && output_->size() < high_water_;
  if (!may_pull || (stream == turn_ && turn_bytes_ >= kQuantumBytes)) {
    Ready(stream);
    return NGHTTP2_ERR_DEFERRED;
  }
  uint8_t* place = output_->Reserve(kFrameHeadBytes + length) + kFrameHeadBytes;
  size_t size = 0;
  const Http2Stream::Pull result = stream->PullData(place, length, &size);
  if (!stream->attached()) return NGHTTP2_ERR_DEFERRED;  // abandoned: its reset is queued
  switch (result) {
    case Http2Stream::Pull::kNothing:
      return NGHTTP2_ERR_DEFERRED;
    case Http2Stream::Pull::kAbort:
      resets_.emplace_back(id, NGHTTP2_CONNECT_ERROR);
      return NGHTTP2_ERR_DEFERRED;
    case Http2Stream::Pull::kLast:
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      stream->end_sent_ = true;
      break;
    case Http2Stream::Pull::kMore:
      if (stream != turn_ && size == length) Ready(stream);
      break;
  }
  turn_bytes_ += size;
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  return static_cast<ssize_t>(size);
}

// The payload is in the output buffer already, behind the room for its frame header.
void Http2Session::PutHead(const uint8_t* head, size_t payload_size) {
  const size_t size = kFrameHeadBytes + payload_size;
  std::memcpy(output_->Reserve(size), head, kFrameHeadBytes);
  output_->Commit(size);
}

bool Http2Session::SendFrames() {
  const uint8_t* frame = nullptr;
  while (true) {
    const ssize_t size = nghttp2_session_mem_send(session_, &frame);
    if (size < 0) Fail(static_cast<int>(size));
    if (size <= 0 || !status_.ok()) return status_.ok();
    output_->Append(frame, static_cast<size_t>(size));
  }
}

void Http2Session::SendResets() {
  for (const auto& [id, code] : resets_) {
    Require(nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, code));
  }
  resets_.clear();
}

bool Http2Session::Produce(size_t high_water) {
  high_water_ = high_water;
  while (status_.ok()) {
    SendResets();
    if (!SendFrames()) return false;
    if (!resets_.empty()) continue;
    if (served_ == serving_.size()) {
      serving_.clear();
      serving_.swap(ready_);
      served_ = 0;
      if (serving_.empty()) return false;
    }
    if (output_->size() >= high_water) return true;
    turn_ = serving_[served_++];
    turn_bytes_ = 0;
    if (turn_ == nullptr) continue;
    turn_->ready_ = false;
    // A stream that was not answered yet has no data to resume; that error is expected.
    FailIfFatal(nghttp2_session_resume_data(session_, turn_->stream_id_));
  }
  return false;
}

bool Http2Session::WindowClosed(const Http2Stream* stream) const {
  return nghttp2_session_get_stream_remote_window_size(session_, stream->stream_id_) <= 0 ||
         nghttp2_session_get_remote_window_size(session_) <= 0;
}

bool Http2Session::Finished() const {
  return nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
}

}  // namespace trunkline
