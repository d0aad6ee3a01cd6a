// A client connection whose requests travel one by one: `message` mode.
//
// Each whole request goes to the endpoint that is picked for it, on a connection that other clients
// share; replies come back in the client's order, because a client with requests under way stays on
// the connection that has them. A client that asks for something that cannot be shared goes on as a
// DirectFlow from that request on.
//
// What is held: the part of a request that is not whole yet, the requests that find no room, and
// the part of a reply that the client does not take. While there is any of the last two, the client
// is not read. A client that leaves its replies until they are more than 1 MiB is reset, unless
// nobody waits behind it: then its server waits, as long as the client takes anything within the
// idle time-out.
//
// Confined to its worker's loop.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "common/base/unique_fd.h"
#include "common/net/backlog_age.h"
#include "common/net/event_loop.h"
#include "common/net/output_buffer.h"
#include "dataplane/flow/flow.h"
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
  // Between two messages nobody misses anything.
  void Shutdown() override { Finish(FlowEnd::kShutdown, owes() ? Closing::kReset : Closing::kFin); }
  void Shed() override { Finish(FlowEnd::kMemory, Closing::kReset); }
  Buffered buffered() const override;

 private:
  // What is at the front of the bytes that the client has sent and no server was given.
  enum class Front {
    kParsing,    // not known yet
    kRequest,    // whole
    kHead,       // its beginning, and the rest may not wait
    kRest,       // more of one whose beginning was sent
    kRestEnd,    // and its end
    kDedicated,  // it asks for a connection of its own
    kJunk,       // no request
  };
  // kLingeringFin: the client may still be sending.
  enum class Closing { kReset, kFin, kLingeringFin };
  // Made while there is something in it, so an idle client pays for none.
  struct Backlog : OutputBuffer {
    BacklogAge age;
  };

  void OnEvents(uint32_t events) override;
  void OnFlush() override;
  void OnReply(std::span<const uint8_t> bytes, uint32_t completed, bool last) override;
  void OnUnanswered(const SharedConnection::Unanswered& what) override;
  void OnRoom() override;
  void OnWaitTimer();
  void OnIdleTimer();

  void ReadClient();
  bool MayRead() const;
  void Take(std::span<const uint8_t> bytes);
  size_t Work(std::span<const uint8_t> view);
  void WorkHeld();
  bool ParseFront(std::span<const uint8_t> view);
  bool SendFront(std::span<const uint8_t> front);
  bool MaySendOn() const;
  void SendOn(std::span<const uint8_t> request, const Request& traits, bool open);
  void SendFirstAgain();
  void SendAgain();
  bool RouteAgain();
  void FrontIsSent();
  void CountAnswered(uint32_t completed);
  void LeaveDedicated(std::span<const uint8_t> rest);

  void WriteClient(std::span<const uint8_t> bytes);
  void HoldBack(bool first);
  void FlushClient();
  // Part of a request or of its reply is still to pass.
  bool owes() const {
    return in_flight_ > 0 || held_ != nullptr || !unsent_.empty() || !again_.empty();
  }
  size_t pending_bytes() const;
  void CountPending(size_t taken);
  void Settle();
  void SendLocalReply(Refusal why, FlowEnd end);
  void Watch();
  // Counts the end before the client can see it.
  void Finish(FlowEnd end, Closing closing, std::string_view local_reply = {});

  EventLoop& loop_;
  const std::shared_ptr<const MessageService> service_;
  const FlowLimits limits_;
  UniqueFd fd_;
  std::unique_ptr<RequestParser> parser_;

  SharedConnection* connection_ = nullptr;  // while requests are under way
  EndpointCell* cell_ = nullptr;            // of its endpoint
  uint32_t in_flight_ = 0;

  std::unique_ptr<Backlog> held_;      // from the client, the front request first
  ReplyBacklog unsent_;                // to the client
  GaugeShare pending_share_;           // held_ and again_
  GaugeShare reserved_share_;          // while it may ask for a connection of its own
  ResendQueue again_;                  // before all others
  std::span<const uint8_t> starting_;  // the front request, while it is not in held_
  size_t front_size_ = 0;              // its bytes that were parsed
  Front front_ = Front::kParsing;
  uint32_t resends_ = 0;  // since the last reply
  bool open_ = false;     // a beginning was sent, its end was not
  bool has_room_ = true;  // for more of it
  bool waiting_ = false;  // in the router's line
  bool readable_ = true;
  bool fin_waits_ = false;   // epoll saw the client's FIN
  bool client_fin_ = false;  // it was read
  bool watched_ = false;
  bool asked_ = false;   // the client has sent a whole request
  bool last_ = false;    // close after the replies that are under way
  bool paused_ = false;  // its connection waits for it
  bool done_ = false;
  MonotonicTime last_activity_;
  MemberTimer<MessageFlow, &MessageFlow::OnWaitTimer> wait_timer_{this};
  MemberTimer<MessageFlow, &MessageFlow::OnIdleTimer> idle_timer_{this};
};

}  // namespace trunkline
