// MessageFlow's lines in the proxy's log, and its notes for the connection log.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "common/net/ip_port.h"
#include "common/observe/log.h"
#include "dataplane/codec/codec.h"
#include "dataplane/flow/client_origin.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/request_record.h"
#include "dataplane/message/lifecycle.h"
#include "dataplane/message/message_flow.h"
#include "dataplane/message/shared_connection.h"
#include "dataplane/route/service_router.h"

namespace trunkline {

std::string MessageFlow::ClientName() const {
  const IpPort client =
      origin() != nullptr ? origin()->addresses.source : AddressesOf(fd_.get()).source;
  return client.known() ? client.ToString() : "of unknown address";
}

void MessageFlow::LogBadRequest() {
  const auto more = router().request_logs().bad_requests.Admit(loop_.now());
  if (!more) return;
  LogWarn(
      "service {}: client {} sent a request that {} cannot read: {}, at byte {} of the request; "
      "the client is closed{}",
      router().set().service, ClientName(), service_->connection.codec->name(), parser_->fault(),
      front_sent_ + front_size_, *more);
}

void MessageFlow::LogLate(uint32_t reply_hint, bool has_reply) {
  const auto more = router().request_logs().late_replies.Admit(loop_.now());
  if (!more) return;
  const std::string which = service_->connection.codec->Describe(reply_hint);
  LogWarn(
      "endpoint {} of service {} did not answer a request of client {} within {}{}{}; the client "
      "{}{}",
      endpoint()->endpoint().id, router().set().service, ClientName(),
      absl::FormatDuration(service_->connection.reply_timeout), which.empty() ? "" : ": ", which,
      has_reply ? "gets an error from the proxy" : "is closed", *more);
}

// The answer of the proxy repeats nothing that the client sent.
void MessageFlow::OnDenied(const Request& request) {
  router().OnDenied();
  const bool wrong = request.denial == Denial::kWrongCredential;
  ServiceRouter::RequestLogs& logs = router().request_logs();
  const auto more = (wrong ? logs.wrong_credentials : logs.missing_credentials).Admit(loop_.now());
  if (!more) return;
  LogWarn(
      "service {}: client {} {}; the proxy answers with an error, and no server sees the request; "
      "check the client's credential against that of the service{}",
      router().set().service, ClientName(),
      wrong ? "gave a wrong user or password" : "sent a request before it gave a credential",
      *more);
}

void MessageFlow::LogBroadcast(const Request& traits) {
  const auto more = router().request_logs().broadcasts.Admit(loop_.now());
  if (!more) return;
  LogInfo("client {} of service {} sent a broadcast, which no device need answer: {}{}",
          ClientName(), router().set().service,
          service_->connection.codec->Describe(traits.reply_hint), *more);
}

void MessageFlow::NoteIdle() {
  if (record() != nullptr && in_flight_ == 0) record()->phase = FlowRecord::Phase::kRequest;
}

// Returns the number under which the connection log follows the front request, or 0.
uint32_t MessageFlow::FollowFront() {
  FlowRecord* const log = record();
  if (log == nullptr || log->open_requests == nullptr) return 0;
  return router().FollowRequest(*log, FrontArrivedAt());
}

void MessageFlow::NoteSent(uint32_t number) {
  if (number == 0) return;
  if (RequestRecord* const request = record()->open_requests->Find(number)) {
    request->OnSent(loop_.now(), endpoint()->endpoint().stats);
  }
}

// `bytes` of the front request, or of the next part of it, were sent.
void MessageFlow::NoteFrontSent() {
  FlowRecord* const log = record();
  if (log == nullptr) return;
  log->to_server_bytes += front_size_;
  if (front_ == Front::kEnd) ++log->requests;
  if (log->open_requests == nullptr) return;
  if (RequestRecord* const request = log->open_requests->newest()) {
    request->to_server_bytes += front_size_;
  }
}

// The proxy answers a request with `bytes` bytes, which the client gets next.
void MessageFlow::NoteLocalReply(uint32_t number, RequestRecord::End end, size_t bytes) {
  if (number == 0) return;
  FlowRecord& log = *record();
  RequestRecord* const request = log.open_requests->Find(number);
  if (request == nullptr) return;
  if (end == RequestRecord::End::kLocal) request->phase = RequestRecord::Phase::kRequest;
  request->reply_begin = log.to_client_bytes;
  request->OnEnded(end, log.to_client_bytes + bytes);
}

void MessageFlow::OnStep(uint32_t number, SharedConnection::Step step, size_t offset) {
  if (done()) return;
  FlowRecord& log = *record();
  RequestRecord* const request = log.open_requests->Find(number);
  if (request == nullptr) return;
  const uint64_t at = log.to_client_bytes + offset;
  switch (step) {
    case SharedConnection::Step::kReplyBegins:
      return request->OnReplyBegins(loop_.now(), at);
    case SharedConnection::Step::kReplyEnds:
    case SharedConnection::Step::kEndsSilently:
      return request->OnEnded(RequestRecord::End::kDone, at);
    case SharedConnection::Step::kLost:
      return request->OnEnded(RequestRecord::End::kLost, at);
  }
}

void MessageFlow::NoteUnanswered(const SharedConnection::Unanswered& what) {
  if (what.number == 0) return;
  RequestRecord* const request = record()->open_requests->Find(what.number);
  if (request == nullptr) return;
  request->timed_out = what.timed_out;
  if (!what.request.empty()) request->phase = RequestRecord::Phase::kQueue;
}

// Logs the requests that have ended and whose replies the client has taken.
void MessageFlow::LogEndedRequests() {
  FlowRecord* const log = record();
  if (log == nullptr || log->open_requests == nullptr) return;
  log->open_requests->TakeEnded(
      log->to_client_bytes - buffered_replies_.bytes(),
      [&](const RequestRecord& request) { router().LogRequest(*log, request, FlowEnd::kClean); });
}

// Logs the requests that end with the client. `taken`: the bytes that it has taken, without the
// local reply.
void MessageFlow::LogAllRequests(FlowEnd end, uint64_t taken, size_t local_reply_bytes) {
  FlowRecord& log = *record();
  if (log.open_requests == nullptr) return;
  // A request that is whole, or streamed, and was not sent. Behind the client's last exchange, it
  // is none.
  const bool front_waits = front_ != Front::kParsing && request_state_ == RequestState::kComplete;
  if (front_waits && end != FlowEnd::kClean) {
    const bool queued = upstream_state_ == UpstreamState::kQueued || front_ == Front::kEnd ||
                        front_ == Front::kPart;
    RequestRecord* const front = log.open_requests->Find(FollowFront());
    if (front != nullptr && !queued) front->phase = RequestRecord::Phase::kRequest;
  }
  log.open_requests->TakeAll(taken, local_reply_bytes, [&](const RequestRecord& request) {
    router().LogRequest(log, request, end);
  });
}

}  // namespace trunkline
