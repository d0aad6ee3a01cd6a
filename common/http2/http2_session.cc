#include "common/http2/http2_session.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/http2/http2_callbacks.h"

namespace trunkline {
namespace {

constexpr size_t kFrameHeadBytes = 9;
constexpr size_t kQuantumBytes = 16 * 1024;  // a turn of the round robin: one full frame
// Never the bottleneck of all streams together: bytes are taken off it as they arrive.
constexpr int32_t kConnectionWindowBytes = 16 * 1024 * 1024;
// Streams taken from the peer at a time. A stream of some 20 bytes costs a connect, which takes a
// thousand times as long as parsing it: one read of a hostile peer could keep the loop from its
// other trunks for a quarter of a second.
constexpr size_t kRequestsPerReceive = 4;
// Frames that wait to be written to a peer that does not read: an honest one has a few for each of
// its streams, a hostile one earns answers and resets without end.
constexpr size_t kMaxQueuedFrames = 10'000;

nghttp2_nv Header(std::string_view name, std::string_view value, uint8_t flags = 0) {
  return {const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(name.data())),
          const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(value.data())), name.size(),
          value.size(), static_cast<uint8_t>(NGHTTP2_NV_FLAG_NO_COPY_NAME | flags)};
}

}  // namespace

Http2Session::Http2Session(Options options, Listener* listener, OutputBuffer* output)
    : options_(options),
      listener_(listener),
      output_(output),
      empty_frames_(kEmptyFrameAllowance),
      peer_resets_(kResetAllowance) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  Callbacks::Install(callbacks);
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  // Ours is in its place, with the code that RFC 9113, 10.5 has for it.
  nghttp2_option_set_stream_reset_rate_limit(option, UINT64_MAX, 1);
  Start(callbacks, option);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
}

void Http2Session::Start(nghttp2_session_callbacks* callbacks, nghttp2_option* option) {
  std::vector<nghttp2_settings_entry> settings = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, StreamWindow::kInitialBytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, kMaxHeaderListBytes}};
  if (options_.role == Role::kClient) {
    nghttp2_session_client_new2(&session_, callbacks, this, option);
    settings.push_back({NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
  } else {
    nghttp2_session_server_new2(&session_, callbacks, this, option);
    settings.push_back({NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options_.max_streams});
  }
  if (options_.extension.value != 0) {
    settings.push_back({options_.extension.id, options_.extension.value});
  }
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindowBytes);
}

Http2Session::~Http2Session() { nghttp2_session_del(session_); }

Http2Stream* Http2Session::Find(int32_t id) const {
  return static_cast<Http2Stream*>(nghttp2_session_get_stream_user_data(session_, id));
}

void Http2Session::Attach(Http2Stream* stream, int32_t id) {
  stream->session_ = this;
  stream->stream_id_ = id;
  stream->ready_ = stream->pulled_once_ = stream->end_sent_ = stream->connected_ = false;
  stream->index_ = streams_.size();
  streams_.push_back(stream);
}

void Http2Session::Detach(Http2Stream* stream) {
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

absl::Status Http2Session::Connect(std::string_view authority, Http2Stream* stream,
                                   const ConnectFields& fields) {
  nghttp2_nv headers[4] = {Header(":method", "CONNECT"), Header(":authority", authority)};
  size_t count = 2;
  if (!fields.proxy_protocol.empty()) {
    headers[count++] = Header(kProxyProtocolField, fields.proxy_protocol);
  }
  if (!fields.client.empty()) {
    // Each client's address in HPACK's table would push out what streams share. The first one
    // brings the name in, so that the others name it in a byte.
    const bool named = std::exchange(client_named_, true);
    headers[count++] = Header(kClientField, fields.client,
                              named ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE);
  }
  const nghttp2_data_provider source{.source = {}, .read_callback = Callbacks::Read};
  const int32_t id = nghttp2_submit_request(session_, nullptr, headers, count, &source, stream);
  if (id < 0) return absl::ResourceExhaustedError(nghttp2_strerror(id));
  OnOpened(stream, id);
  return absl::OkStatus();
}

absl::Status Http2Session::Get(std::string_view path, Http2Stream* stream) {
  const nghttp2_nv headers[] = {Header(":method", "GET"), Header(":scheme", "http"),
                                Header(":authority", "trunkline"), Header(":path", path)};
  const int32_t id =
      nghttp2_submit_request(session_, nullptr, headers, std::size(headers), nullptr, stream);
  if (id < 0) return absl::ResourceExhaustedError(nghttp2_strerror(id));
  OnOpened(stream, id);
  return absl::OkStatus();
}

void Http2Session::OnOpened(Http2Stream* stream, int32_t id) {
  ++open_streams_;
  Attach(stream, id);
  listener_->OnOutputWanted();
}

bool Http2Session::IdsNearlySpent() const {
  return nghttp2_session_get_next_stream_id(session_) >
         static_cast<uint32_t>(options_.last_stream_id);
}

void Http2Session::OnRequest(int32_t id) {
  int status = 405;
  Http2Stream* stream = nullptr;
  const HeaderList& list = header_list_;
  if (list.method == "CONNECT") stream = listener_->OnConnect(list.authority, &status);
  if (list.method == "GET") stream = listener_->OnGet(list.path, &status);
  if (stream != nullptr) {
    nghttp2_session_set_stream_user_data(session_, id, stream);
    Attach(stream, id);
    stream->connected_ = true;
    stream->OnHeaders(0);
    return;
  }
  const std::string text = absl::StrCat(status);
  const nghttp2_nv header = Header(":status", text);
  nghttp2_submit_response(session_, id, &header, 1, nullptr);
}

// Interim answers (1xx) come before the answer and are none. After a request, or the answer to it,
// a CONNECT stream carries DATA only: RFC 9113, 8.5, makes even trailers an error of the stream.
void Http2Session::OnLaterHeaders(int32_t id) {
  constexpr int kFirstFinalStatus = 200;
  Http2Stream* stream = Find(id);
  if (stream == nullptr) return;
  if (stream->connected_) {
    ResetForFault(stream, NGHTTP2_PROTOCOL_ERROR);
    return;
  }
  if (header_list_.status < kFirstFinalStatus) {
    Charge(empty_frames_, 1);
    return;
  }
  stream->connected_ = true;
  stream->OnHeaders(header_list_.status);
}

// Few bytes can stand for many by HPACK's table.
void Http2Session::OnLongHeaderList(int32_t id) {
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_ENHANCE_YOUR_CALM);
  Charge(empty_frames_, kLongHeaderListCost);
}

// A peer whose count of one window is wrong has lost count: the trunk ends, as RFC 9113, 6.9.2
// wants it where SETTINGS make a window overflow, for which nghttp2 resets only the stream.
void Http2Session::OnResetSent(int32_t id, uint32_t error_code) {
  const bool was_push = id % 2 == 0;
  if (was_push || IsFault(error_code)) Charge(empty_frames_, 1);
  if (error_code == NGHTTP2_FLOW_CONTROL_ERROR) EndWith(error_code);
}

void Http2Session::ResetForFault(Http2Stream* stream, uint32_t error_code) {
  Abandon(stream, error_code);
  stream->OnClosed(error_code);
}

void Http2Session::Respond(Http2Stream* stream, int status) {
  const std::string text = absl::StrCat(status);
  const nghttp2_nv header = Header(":status", text);
  const nghttp2_data_provider source{.source = {}, .read_callback = Callbacks::Read};
  const bool good = status == 200;
  nghttp2_submit_response(session_, stream->stream_id_, &header, 1, good ? &source : nullptr);
  listener_->OnOutputWanted();
  if (good) return;
  nghttp2_session_set_stream_user_data(session_, stream->stream_id_, nullptr);
  Detach(stream);
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
  nghttp2_submit_window_update(session_, NGHTTP2_FLAG_NONE, stream->stream_id_, more);
  listener_->OnOutputWanted();
}

void Http2Session::Abandon(Http2Stream* stream, uint32_t error_code) {
  nghttp2_session_set_stream_user_data(session_, stream->stream_id_, nullptr);
  resets_.emplace_back(stream->stream_id_, error_code);
  Detach(stream);
  listener_->OnOutputWanted();
}

void Http2Session::CloseAll(uint32_t error_code) {
  while (!streams_.empty()) {
    Http2Stream* stream = streams_.back();
    nghttp2_session_set_stream_user_data(session_, stream->stream_id_, nullptr);
    Detach(stream);
    stream->OnClosed(error_code);
  }
}

void Http2Session::Ping() {
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  listener_->OnOutputWanted();
}

void Http2Session::AnnounceShutdown() {
  nghttp2_submit_shutdown_notice(session_);
  listener_->OnOutputWanted();
}

void Http2Session::GoAway(uint32_t error_code) {
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_), error_code, nullptr, 0);
  listener_->OnOutputWanted();
}

void Http2Session::EndWith(uint32_t error_code) {
  nghttp2_session_terminate_session(session_, error_code);
}

void Http2Session::Charge(FrameAllowance& allowance, double cost) {
  if (!allowance.Spend(cost)) EndWith(NGHTTP2_ENHANCE_YOUR_CALM);
}

absl::Status Http2Session::Receive(const uint8_t* data, size_t size, MonotonicTime now) {
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
  // The one that it stopped at is of this time.
  requests_taken_ = TookEnough() ? 1 : 0;
  const ssize_t rc = nghttp2_session_mem_recv(session_, data, size);
  if (rc < 0) {
    EndWith(ErrorCodeOf(rc));
    return absl::InvalidArgumentError(nghttp2_strerror(static_cast<int>(rc)));
  }
  if (static_cast<size_t>(rc) < size) {
    unread_.assign(reinterpret_cast<const char*>(data) + rc, size - static_cast<size_t>(rc));
  }
  if (nghttp2_session_get_outbound_queue_size(session_) > kMaxQueuedFrames) {
    EndWith(NGHTTP2_ENHANCE_YOUR_CALM);
    return absl::ResourceExhaustedError("the peer does not read what it makes us say");
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
  if (!stream->attached()) return NGHTTP2_ERR_DEFERRED;  // it left; its reset is under way
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

// The payload already lies behind the place of its frame header.
void Http2Session::PutHead(const uint8_t* head, size_t payload_size) {
  const size_t size = kFrameHeadBytes + payload_size;
  std::memcpy(output_->Reserve(size), head, kFrameHeadBytes);
  output_->Commit(size);
}

bool Http2Session::SendFrames() {
  const uint8_t* frame = nullptr;
  while (true) {
    const ssize_t size = nghttp2_session_mem_send(session_, &frame);
    if (size <= 0) return size == 0;
    output_->Append(frame, static_cast<size_t>(size));
  }
}

void Http2Session::SendResets() {
  for (const auto& [id, code] : resets_) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, code);
  }
  resets_.clear();
}

bool Http2Session::Produce(size_t high_water) {
  high_water_ = high_water;
  while (true) {
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
    nghttp2_session_resume_data(session_, turn_->stream_id_);
  }
}

bool Http2Session::WindowClosed(const Http2Stream* stream) const {
  return nghttp2_session_get_stream_remote_window_size(session_, stream->stream_id_) <= 0 ||
         nghttp2_session_get_remote_window_size(session_) <= 0;
}

bool Http2Session::Finished() const {
  return nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
}

}  // namespace trunkline
