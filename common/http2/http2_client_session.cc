#include "common/http2/http2_client_session.h"

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "common/http2/header_list.h"
#include "common/http2/http2_callbacks.h"
#include "common/http2/http2_session.h"
#include "common/net/output_buffer.h"

namespace trunkline {

Http2ClientSession::Http2ClientSession(const Options& options, Listener* listener,
                                       OutputBuffer* output)
    : Http2Session(options, listener, output) {
  Start(nghttp2_session_client_new3, {NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
}

absl::Status Http2ClientSession::Connect(std::string_view authority, Http2Stream* stream,
                                         const ConnectFields& fields) {
  nghttp2_nv headers[4] = {Http2Header(":method", "CONNECT"), Http2Header(":authority", authority)};
  size_t count = 2;
  if (!fields.proxy_protocol.empty()) {
    headers[count++] = Http2Header(kProxyProtocolField, fields.proxy_protocol);
  }
  if (!fields.client.empty()) {
    // Each client's address in HPACK's table would evict fields that streams share. The first one
    // inserts the name, so that the others refer to it in a byte.
    const bool named = std::exchange(client_named_, true);
    headers[count++] = Http2Header(kClientField, fields.client,
                                   named ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE);
  }
  const nghttp2_data_provider source{.source = {}, .read_callback = Callbacks::Read};
  return Open(stream, nghttp2_submit_request(raw(), nullptr, headers, count, &source, stream));
}

absl::Status Http2ClientSession::Get(std::string_view path, Http2Stream* stream) {
  const nghttp2_nv headers[] = {Http2Header(":method", "GET"), Http2Header(":scheme", "http"),
                                Http2Header(":authority", "trunkline"), Http2Header(":path", path)};
  return Open(stream,
              nghttp2_submit_request(raw(), nullptr, headers, std::size(headers), nullptr, stream));
}

// `id`: nghttp2's result, an error if it is negative.
absl::Status Http2ClientSession::Open(Http2Stream* stream, int32_t id) {
  if (id < 0) {
    FailIfFatal(id);
    return absl::ResourceExhaustedError(nghttp2_strerror(id));
  }
  CountOpened();
  Attach(stream, id);
  listener()->OnOutputWanted();
  return absl::OkStatus();
}

bool Http2ClientSession::IdsNearlySpent() const {
  return nghttp2_session_get_next_stream_id(raw()) >
         static_cast<uint32_t>(options().last_stream_id);
}

// 1xx responses are informational; skip them. After the final response a CONNECT stream carries
// DATA only: RFC 9113, 8.5, makes even trailers an error of the stream. nghttp2 accepts a status
// below 100, and DATA after it.
void Http2ClientSession::OnHeaders(int32_t id, nghttp2_headers_category) {
  constexpr int kFirstStatus = 100;
  constexpr int kFirstFinalStatus = 200;
  Http2Stream* stream = Find(id);
  if (stream == nullptr) return;
  if (stream->connected_ || header_list().status < kFirstStatus) {
    return ResetForFault(stream, NGHTTP2_PROTOCOL_ERROR);
  }
  if (header_list().status < kFirstFinalStatus) return ChargeEmptyFrame();
  stream->connected_ = true;
  stream->OnResponse(header_list().status);
}

}  // namespace trunkline
