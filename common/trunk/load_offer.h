// In-band load reports in terms of HTTP/2: an agent offers them by a setting, a proxy subscribes to
// them by a GET. docs/trunk-format.md has the exchange, common/inband/inband_report.h the format.
#pragma once

#include "absl/status/status.h"
#include "common/http2/http2_client_session.h"
#include "common/inband/inband_report.h"

namespace trunkline {

// For Http2Session::Options::extension. An end that offers nothing still reads its peer's offer.
inline Http2Session::Options::Setting LoadOffer(bool offers) {
  return {.id = kOffersLoadSetting, .value = offers ? kLoadVersion : 0};
}

// The peer's SETTINGS announce that it answers AskForLoad.
inline bool PeerOffersLoad(const Http2Session& session) {
  return session.peer_extension() >= kLoadVersion;
}

// `stream` gets the reports. Errors as Http2ClientSession::Get.
inline absl::Status AskForLoad(Http2ClientSession& session, Http2Stream* stream) {
  return session.Get(kLoadPath, stream);
}

}  // namespace trunkline
