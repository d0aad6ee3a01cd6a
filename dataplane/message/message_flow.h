// A client connection whose requests are routed one by one: `message` mode.
//
// Each complete request goes to the endpoint that is picked for it, on a connection that other
// clients share. Replies come back in the client's order, because a client with requests in flight
// stays on the connection that carries them. A client that asks for something that cannot be shared
// continues as a DirectFlow from that request on.
//
// Requests of a `one_way` codec have no replies, so each goes to the endpoint that is picked for it
// alone, once the server's socket has taken the one before.
//
// A client may change to another variant of the protocol between two requests. If the servers of
// all endpoints that could take it refuse that variant, it continues as a DirectFlow, too, and gets
// a server's own answer.
//
// The flow buffers an incomplete request, requests that find no room, and the part of a reply that
// the client does not take. While it buffers requests or replies, it does not read the client.
// slow_reader_rule.h decides what happens to the server while the client does not take its replies.
//
// LIFECYCLE.md has the states. Confined to its worker's loop.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/base/unique_fd.h"
#include "common/net/backlog_age.h"
#include "common/net/event_loop.h"
#include "common/net/output_buffer.h"
#include "dataplane/flow/flow.h"
#include "dataplane/message/lifecycle.h"
#include "dataplane/message/reply_backlog.h"
#include "dataplane/message/resend_queue.h"
#include "dataplane/message/shared_connection.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {

class MessageFlow final : public Flow,
                          public EventHandler,
                          private Flushable,
                          private SharedConnection::Client {
 public:
  MessageFlow(EventLoop& loop, UniqueFd client, ServiceRouter& router, const EndpointSet& set);
  ~MessageFlow() override;

  void Begin() override;
  bool Start(EndpointState& endpoint) override;
  void GiveUp() override;
  // Between two exchanges the client loses nothing, so it gets a FIN.
  void Shutdown() override {
    Finish(FlowEnd::kShutdown, HasUnfinishedExchange() ? Closing::kReset : Closing::kFin);
  }
  void Shed() override { Finish(FlowEnd::kMemory, Closing::kReset); }
  Buffered buffered() const override;

  FlowState state() const { return state_; }
  UpstreamState upstream_state() const { return upstream_state_; }
  RequestState request_state() const { return request_state_; }
  DownstreamState downstream_state() const { return downstream_state_; }

 private:
  // The request at the front of the bytes that were read and not yet sent.
  enum class Front : uint8_t {
    kParsing,    // incomplete
    kPart,       // of a request that is streamed; its end is not there yet
    kEnd,        // the whole request, or the end of one that is streamed
    kDedicated,  // needs an upstream connection of its own
    kLocal,      // the proxy answers it
    kMalformed,
  };
  // kLingeringFin: for a client that may still be sending; see LingeringCloses.
  enum class Closing : uint8_t { kReset, kFin, kLingeringFin };
  struct Backlog : OutputBuffer {
    BacklogAge age;
    MonotonicTime read_at;  // its last byte
  };

  void OnEvents(uint32_t events) override;
  void OnFlush() override;
  void OnReply(std::span<const uint8_t> bytes, uint32_t completed, bool last) override;
  void OnReplyBegins(MonotonicTime arrived_at) override;
  void OnStep(uint32_t number, SharedConnection::Step step, size_t offset) override;
  void OnUnanswered(const SharedConnection::Unanswered& what) override;
  void OnRoom() override;
  void OnOthersWait() override { loop_.RequestFlush(this); }
  void OnQueueTimer();
  void OnIdleTimer();

  // From the client.
  void ReadClient();
  bool MaySendNext() const;
  void OnClientBytes(std::span<const uint8_t> bytes);
  size_t SendRequests(std::span<const uint8_t> view);
  void SendBufferedRequests();
  bool ParseFront(std::span<const uint8_t> view);
  void ContinueAsDirectFlow(std::span<const uint8_t> rest);
  bool NeedsDedicated() const;
  void ContinueWithoutVariant();
  void Watch();

  // To the server.
  bool SendFront(std::span<const uint8_t> front);
  void AnswerFront();
  void OnDenied(const Request& request);
  bool MaySendOnSameConnection() const;
  MonotonicTime FrontArrivedAt() const;
  void SendOn(std::span<const uint8_t> request, const Request& traits, bool open,
              MonotonicTime arrived_at, uint32_t number);
  void OnFrontSent();
  void Enqueue();
  void ResendFirst();
  void ResendAll();
  bool RouteResend();
  void OnAnswered(uint32_t completed);
  void ContinueAfterReply();
  bool AnswerLate(const SharedConnection::Unanswered& what);

  // To the client.
  void WriteClient(std::span<const uint8_t> bytes);
  void OnClientBlocked(bool first);
  void RegulateServer();
  void FlushClient();
  void SendLocalReply(Refusal why, FlowEnd end);

  // For the proxy's log.
  std::string ClientName() const;
  void LogBadRequest();
  void LogLate(uint32_t reply_hint, bool has_reply);
  void LogBroadcast(const Request& traits);
  // For the connection log. Numbers are those of RequestRecords; 0 if requests are not logged.
  void NoteIdle();
  uint32_t FollowFront();
  void NoteSent(uint32_t number);
  void NoteFrontSent();
  void NoteLocalReply(uint32_t number, RequestRecord::End end, size_t bytes);
  void NoteUnanswered(const SharedConnection::Unanswered& what);
  void LogEndedRequests();
  void LogAllRequests(FlowEnd end, uint64_t taken, size_t local_reply_bytes);

  bool HasUnfinishedExchange() const {
    return in_flight_ > 0 || buffered_requests_ != nullptr || !buffered_replies_.empty() ||
           !resend_queue_.empty();
  }
  size_t pending_bytes() const;
  void CountPending(size_t consumed);
  void CloseIfDone();
  void ArmIdleTimer(absl::Duration most);
  // Counts the end before the client can see it.
  void Finish(FlowEnd end, Closing closing, std::string_view local_reply = {});

  absl::Duration IdleLimit() const {
    return had_request_ ? limits_.idle_timeout : limits_.first_byte_timeout;
  }
  bool done() const { return state_ == FlowState::kDone; }
  void Apply(FlowEvent event) { state_ = kFlowTable.After(state_, event); }
  void Apply(UpstreamEvent event) {
    upstream_state_ = kUpstreamTable.After(upstream_state_, event);
  }
  void Apply(RequestEvent event) { request_state_ = kRequestTable.After(request_state_, event); }
  void Apply(DownstreamEvent event) {
    downstream_state_ = kDownstreamTable.After(downstream_state_, event);
  }

  EventLoop& loop_;
  const std::shared_ptr<const MessageService> service_;
  const FlowLimits limits_;
  UniqueFd fd_;
  std::unique_ptr<RequestParser> parser_;

  FlowState state_ = FlowState::kServing;
  UpstreamState upstream_state_ = UpstreamState::kIdle;
  RequestState request_state_ = RequestState::kComplete;
  DownstreamState downstream_state_ = DownstreamState::kReadable;
  Front front_ = Front::kParsing;
  bool watched_ = false;      // by epoll
  bool had_request_ = false;  // the idle timeout applies instead of the first byte's
  // The result of the last search for an endpoint.
  struct Search {
    bool refused = false;  // an endpoint that refuses the client's variant
    bool full = false;     // one that does not, and has no room
    // Waiting will not help.
    bool in_vain() const { return refused && !full; }
  };
  Search search_;
  uint8_t agreed_variant_ = 0;  // of the connection that brought the last reply

  // Set while upstream_state_ is kAttached or kPaused.
  SharedConnection* connection_ = nullptr;
  EndpointCell* cell_ = nullptr;  // of the connection's endpoint
  uint32_t in_flight_ = 0;
  uint32_t resends_ = 0;        // of a request that a server may have seen, since the last reply
  MonotonicTime resend_until_;  // for requests that no server has seen; unset: none was returned

  std::unique_ptr<Backlog> buffered_requests_;  // the front request first; null while empty
  ReplyBacklog buffered_replies_;
  ResendQueue resend_queue_;           // goes before buffered_requests_
  GaugeShare pending_share_;           // buffered_requests_ and resend_queue_
  GaugeShare reserved_share_;          // held while the client may need a connection of its own
  std::span<const uint8_t> starting_;  // the front request while it is routed from the read buffer
  size_t front_size_ = 0;              // parsed bytes of the front request
  uint64_t front_sent_ = 0;            // bytes of it that were sent before, if it is streamed
  MonotonicTime last_activity_;
  MemberTimer<MessageFlow, &MessageFlow::OnQueueTimer> queue_timer_{this};
  MemberTimer<MessageFlow, &MessageFlow::OnIdleTimer> idle_timer_{this};
};

}  // namespace trunkline
