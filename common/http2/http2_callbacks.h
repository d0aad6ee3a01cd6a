// The C functions that nghttp2 calls for an Http2Session: they translate frames and stream events
// into calls of the session. Stateless; confined to the session's loop.
#pragma once

#include <nghttp2/nghttp2.h>

#include <string_view>

#include "common/http2/http2_session.h"

namespace trunkline {

// A header field whose name is a literal. nghttp2 copies the value.
inline nghttp2_nv Http2Header(std::string_view name, std::string_view value, uint8_t flags = 0) {
  return {const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(name.data())),
          const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(value.data())), name.size(),
          value.size(), static_cast<uint8_t>(NGHTTP2_NV_FLAG_NO_COPY_NAME | flags)};
}

struct Http2Session::Callbacks {
  // Installs all of them except Read, which each source of DATA names.
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
