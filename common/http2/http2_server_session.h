// The end of an HTTP/2 connection that accepts streams: an agent's end of a trunk.
//
// Confined to its event loop. See http2_session.h.
#pragma once

#include <string_view>

#include "common/http2/header_list.h"
#include "common/http2/http2_session.h"

namespace trunkline {

class Http2ServerSession final : public Http2Session {
 public:
  // Decides about requests. Outlives the session.
  class Listener : public Http2Session::Listener {
   public:
    // Returns the stream for a CONNECT to `authority`, which gets OnRequest next; or sets `*status`
    // and returns null: the request is answered with it and ended.
    virtual Http2Stream* OnConnect(std::string_view authority, int* status) = 0;
    // The same for a GET of `path`.
    virtual Http2Stream* OnGet(std::string_view /*path*/, int* /*status*/) { return nullptr; }
  };

  Http2ServerSession(const Options& options, Listener* listener, OutputBuffer* output);

  // The fields of the CONNECT that OnConnect is being asked about.
  const ConnectFields& connect_fields() const { return header_list().connect; }
  // Answers a stream. A status of 200 opens it for data; any other ends it without OnClosed.
  void Respond(Http2Stream* stream, int status);
  // Asks the peer to open no more streams. Streams that it opens meanwhile are still served.
  void AnnounceShutdown();

 private:
  void OnHeaders(int32_t id, nghttp2_headers_category category) override;
  void OnHeadersSent(int32_t id, bool end_stream) override;
  void OnRequest(int32_t id);
  void Submit(int32_t id, int status, const nghttp2_data_provider* source);

  Listener* const requests_;
};

}  // namespace trunkline
