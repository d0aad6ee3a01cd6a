// The end of an HTTP/2 connection that opens streams: a proxy's end of a trunk.
//
// Confined to its event loop. See http2_session.h.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "common/http2/header_list.h"
#include "common/http2/http2_session.h"

namespace trunkline {

class Http2ClientSession final : public Http2Session {
 public:
  Http2ClientSession(const Options& options, Listener* listener, OutputBuffer* output);

  // Opens a CONNECT stream. RESOURCE_EXHAUSTED if the stream ids or the memory are used up;
  // `stream` is attached only on success.
  absl::Status Connect(std::string_view authority, Http2Stream* stream,
                       const ConnectFields& fields = {});
  // Requests `path` by GET; `stream` sends no data. Errors as Connect.
  absl::Status Get(std::string_view path, Http2Stream* stream);

  // Stream ids passed Options::last_stream_id.
  bool IdsNearlySpent() const;

 private:
  void OnHeaders(int32_t id, nghttp2_headers_category category) override;
  absl::Status Open(Http2Stream* stream, int32_t id);

  bool client_named_ = false;  // HPACK's table has the name of the client's field
};

}  // namespace trunkline
