#include "common/http2/http2_server_session.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/http2/header_list.h"
#include "common/http2/http2_callbacks.h"
#include "common/http2/http2_session.h"
#include "common/net/output_buffer.h"

namespace trunkline {
namespace {

constexpr int kStatusOpen = 200;
constexpr int kStatusMethodNotAllowed = 405;

}  // namespace

Http2ServerSession::Http2ServerSession(const Options& options, Listener* listener,
                                       OutputBuffer* output)
    : Http2Session(options, listener, output), requests_(listener) {
  Start(nghttp2_session_server_new3,
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options.max_streams});
}

// After its request a CONNECT stream carries DATA only: RFC 9113, 8.5, makes even trailers an error
// of the stream.
void Http2ServerSession::OnHeaders(int32_t id, nghttp2_headers_category category) {
  if (category == NGHTTP2_HCAT_REQUEST) return OnRequest(id);
  if (Http2Stream* stream = Find(id)) ResetForFault(stream, NGHTTP2_PROTOCOL_ERROR);
}

void Http2ServerSession::OnRequest(int32_t id) {
  int status = kStatusMethodNotAllowed;
  Http2Stream* stream = nullptr;
  const HeaderList& list = header_list();
  if (list.method == "CONNECT") stream = requests_->OnConnect(list.authority, &status);
  if (list.method == "GET") stream = requests_->OnGet(list.path, &status);
  if (stream == nullptr) return Submit(id, status, nullptr);
  Require(nghttp2_session_set_stream_user_data(raw(), id, stream));
  Attach(stream, id);
  stream->connected_ = true;
  stream->OnRequest(*this);
}

void Http2ServerSession::Submit(int32_t id, int status, const nghttp2_data_provider* source) {
  const std::string text = absl::StrCat(status);
  const nghttp2_nv header = Http2Header(":status", text);
  Require(nghttp2_submit_response(raw(), id, &header, 1, source));
}

void Http2ServerSession::Respond(Http2Stream* stream, int status) {
  TRUNKLINE_CHECK(stream->session_ == this, "a session answers its own streams");
  const nghttp2_data_provider source{.source = {}, .read_callback = Callbacks::Read};
  const bool open = status == kStatusOpen;
  Submit(stream->stream_id_, status, open ? &source : nullptr);
  listener()->OnOutputWanted();
  if (!open) Release(stream);
}

// A refusal is the whole response: RFC 9113, 8.1, lets the server end a request that is still open.
// A reset that was submitted earlier would overtake the response.
void Http2ServerSession::OnHeadersSent(int32_t id, bool end_stream) {
  const bool request_open = nghttp2_session_get_stream_remote_close(raw(), id) == 0;
  if (end_stream && request_open) ResetLater(id, NGHTTP2_NO_ERROR);
}

void Http2ServerSession::AnnounceShutdown() {
  Require(nghttp2_submit_shutdown_notice(raw()));
  listener()->OnOutputWanted();
}

}  // namespace trunkline
