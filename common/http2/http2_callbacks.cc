#include "common/http2/http2_callbacks.h"

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/http2/http2_session.h"

namespace trunkline {
namespace {

std::string_view View(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

Http2Session* Session(void* user_data) { return static_cast<Http2Session*>(user_data); }

}  // namespace

void Http2Session::Callbacks::Install(nghttp2_session_callbacks* callbacks) {
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, OnBeginHeaders);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, OnFrame);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, OnFrameSent);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnDataChunk);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnStreamClose);
  nghttp2_session_callbacks_set_send_data_callback(callbacks, SendData);
}

int Http2Session::Callbacks::OnBeginHeaders(nghttp2_session*, const nghttp2_frame* frame,
                                            void* user_data) {
  Http2Session* self = Session(user_data);
  if (frame->hd.type == NGHTTP2_PUSH_PROMISE) {
    // Our SETTINGS forbid it, but nghttp2 enforces them only once the peer has acknowledged them.
    self->EndWith(NGHTTP2_PROTOCOL_ERROR);
    return 0;
  }
  if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
    ++self->open_streams_;
    ++self->requests_taken_;
  }
  self->header_list_.Clear();
  return 0;
}

int Http2Session::Callbacks::OnHeader(nghttp2_session*, const nghttp2_frame* frame,
                                      const uint8_t* name, size_t name_size, const uint8_t* value,
                                      size_t value_size, uint8_t, void* user_data) {
  Http2Session* self = Session(user_data);
  if (!self->header_list_.Add(View(name, name_size), View(value, value_size))) {
    self->OnLongHeaderList(frame->hd.stream_id);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  return self->TookEnough() ? NGHTTP2_ERR_PAUSE : 0;
}

int Http2Session::Callbacks::OnFrame(nghttp2_session*, const nghttp2_frame* frame,
                                     void* user_data) {
  Http2Session* self = Session(user_data);
  const int32_t id = frame->hd.stream_id;
  switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
      self->OnHeaders(id, frame->headers.cat);
      break;
    case NGHTTP2_GOAWAY:
      self->listener_->OnGoAway(frame->goaway.last_stream_id);
      break;
    case NGHTTP2_SETTINGS:
      self->Charge(self->empty_frames_, 1);
      if (!(frame->hd.flags & NGHTTP2_FLAG_ACK)) self->OnSettings(frame->settings);
      break;
    case NGHTTP2_PING:
    case NGHTTP2_PRIORITY:
      self->Charge(self->empty_frames_, 1);
      break;
    case NGHTTP2_RST_STREAM:
      self->Charge(self->peer_resets_, 1);
      break;
    case NGHTTP2_DATA:
      // An empty frame that ends its stream carries information, once.
      if (frame->hd.length == 0 && !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        self->Charge(self->empty_frames_, 1);
      }
      break;
    default:
      break;
  }
  const bool carries_end = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
  if (carries_end && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) self->OnEndStream(id);
  return 0;
}

int Http2Session::Callbacks::OnFrameSent(nghttp2_session*, const nghttp2_frame* frame,
                                         void* user_data) {
  Http2Session* self = Session(user_data);
  const int32_t id = frame->hd.stream_id;
  if (frame->hd.type == NGHTTP2_GOAWAY) self->peer_error_ = frame->goaway.error_code;
  if (frame->hd.type == NGHTTP2_RST_STREAM) self->OnResetSent(id, frame->rst_stream.error_code);
  if (frame->hd.type == NGHTTP2_HEADERS) {
    self->OnHeadersSent(id, (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0);
  }
  return 0;
}

int Http2Session::Callbacks::OnDataChunk(nghttp2_session* session, uint8_t, int32_t id,
                                         const uint8_t* data, size_t size, void* user_data) {
  Http2Session* self = Session(user_data);
  self->Require(nghttp2_session_consume_connection(session, size));
  if (!self->status_.ok()) return NGHTTP2_ERR_CALLBACK_FAILURE;
  if (Http2Stream* stream = self->Find(id)) stream->OnData(data, size);
  return 0;
}

int Http2Session::Callbacks::OnStreamClose(nghttp2_session*, int32_t id, uint32_t error_code,
                                           void* user_data) {
  Http2Session* self = Session(user_data);
  --self->open_streams_;
  if (error_code == NGHTTP2_REFUSED_STREAM) self->listener_->OnStreamRefused();
  if (Http2Stream* stream = self->Find(id)) {
    self->Detach(stream);
    stream->OnClosed(error_code);
  }
  return 0;
}

ssize_t Http2Session::Callbacks::Read(nghttp2_session*, int32_t id, uint8_t*, size_t length,
                                      uint32_t* flags, nghttp2_data_source*, void* user_data) {
  return Session(user_data)->PullInto(id, length, flags);
}

int Http2Session::Callbacks::SendData(nghttp2_session*, nghttp2_frame*, const uint8_t* head,
                                      size_t length, nghttp2_data_source*, void* user_data) {
  Session(user_data)->PutHead(head, length);
  return 0;
}

}  // namespace trunkline
