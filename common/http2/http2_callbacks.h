// nghttp2's C functions of an Http2Session: what it hears of frames and streams becomes calls of
// the session, here and nowhere else. No state, no threads of its own: confined to the session's
// loop.
#pragma once

#include <nghttp2/nghttp2.h>

#include "common/http2/http2_session.h"

namespace trunkline {

struct Http2Session::Callbacks {
  // All of them but Read, which goes with each source of DATA.
  static void Install(nghttp2_session_callbacks* callbacks);

  // As nghttp2 documents them; `user_data` is the session.
  static int OnBeginHeaders(nghttp2_session*, const nghttp2_frame* frame, void* user_data);
  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                      void* user_data);
  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user_data);
  static int OnFrameSent(nghttp2_session* session, const nghttp2_frame* frame, void* user_data);
  static int OnDataChunk(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* data,
                         size_t size, void* user_data);
  static int OnStreamClose(nghttp2_session*, int32_t id, uint32_t error_code, void* user_data);
  static ssize_t Read(nghttp2_session*, int32_t id, uint8_t*, size_t length, uint32_t* flags,
                      nghttp2_data_source*, void* user_data);
  static int SendData(nghttp2_session*, nghttp2_frame*, const uint8_t* head, size_t length,
                      nghttp2_data_source*, void* user_data);
};

}  // namespace trunkline
