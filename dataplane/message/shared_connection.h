// One long-lived upstream connection that carries the requests of many clients: `message` mode.
//
// Requests are appended during a pass and leave in one system call at its end. Each reply goes to
// the client whose request it answers, matched by order or by the id that it carries. A client that
// leaves keeps its position in that order, and its reply is discarded. Bytes that answer no
// request, a reply that does not parse and a reply that times out close the connection and fail the
// requests in flight, so a reply never reaches another client. If the server sends a greeting
// first, it is discarded, and no request is written before its end. The same holds for the reply to
// the opening that the codec may want (Codec::Opening).
//
// The class knows nothing of endpoints or retries. When it closes, it returns to each client every
// request without a reply and marks those that may be sent again: requests of which no byte was
// handed to the kernel, and those that the codec calls repeatable if the service declares its
// requests idempotent.
//
// LIFECYCLE.md has the states. Confined to its worker's loop. Its owner keeps it until
// OnConnectionEnded.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/metrics.h"
#include "common/net/event_loop.h"
#include "common/net/output_buffer.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/opening.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/message/lifecycle.h"
#include "dataplane/message/pending_replies.h"
#include "dataplane/stats/shared_counters.h"
#include "dataplane/table/message_service.h"

namespace trunkline {

class SharedConnection final : public EventHandler, public Flushable {
 public:
  // A request that got no complete reply.
  struct Unanswered {
    // Its bytes if it may be sent again (with the traits below), else empty. Valid during the
    // call.
    std::span<const uint8_t> request = {};
    uint32_t reply_hint = 0;
    bool repeatable = true;
    Replies replies = Replies::kOne;
    bool written = false;  // the server may have seen a part of it
    bool begun = false;    // the client was given a part of its reply
    MonotonicTime arrived_at;
    uint32_t number = 0;     // see Send
    bool timed_out = false;  // it is the request whose reply timed out
    // The same, and the connection goes on. `client_id` is the client's own id.
    bool late = false;
    uint64_t client_id = 0;
  };

  // The fate of a numbered request that is not returned as unanswered.
  enum class Step : uint8_t {
    kReplyBegins,
    kReplyEnds,
    kEndsSilently,  // it has no reply, or need not have one and none came
    kLost,          // the same, but the connection closed before the whole request was written
  };

  // A sender of requests. Outlives its requests or calls Abandon.
  class Client {
   public:
    virtual ~Client() = default;
    // `bytes` are the next bytes of its replies, in order; `completed` requests end with them. If
    // `last`, the server closes the connection after them, and the client should close its own. A
    // request that has no reply ends with no bytes. Neither bytes nor requests: Awaits has changed.
    virtual void OnReply(std::span<const uint8_t> bytes, uint32_t completed, bool last) = 0;
    // The first byte of a reply is here, and OnReply follows. `arrived_at` is its request's.
    virtual void OnReplyBegins(MonotonicTime arrived_at) = 0;
    // A request that Send was given a number for has reached this step, and OnReply follows.
    // `offset` bytes of that call come before the reply's first byte, or up to its end.
    virtual void OnStep(uint32_t /*number*/, Step /*step*/, size_t /*offset*/) {}
    // Called once for each request without a reply when the connection closes, oldest first, and
    // for a single request whose reply timed out.
    virtual void OnUnanswered(const Unanswered& what) = 0;
    // The output buffer has room again after SendMore returned false.
    virtual void OnRoom() = 0;
    // The client holds up the connection, and another client waits from now on for a reply behind
    // it or for a connection. Must not end a request during the call.
    virtual void OnOthersWait() = 0;
  };

  class Owner {
   public:
    virtual ~Owner() = default;
    // The connect succeeded.
    virtual void OnConnectionUp(SharedConnection& connection) = 0;
    // The connection has room for a request, possibly again; or it is retiring and idle, and may be
    // closed.
    virtual void OnConnectionRoom(SharedConnection& connection) = 0;
    // Returns true if flows wait for room.
    virtual bool HasWaiters() const = 0;
    // A client with so many buffered replies has stalled and is about to be reset.
    virtual void OnClientStalled(size_t buffered_bytes, absl::Duration age) = 0;
    // The server sent bytes that no request asked for; the connection closes after this call.
    virtual void OnUnaskedBytes() = 0;
    // The connection is closed; its clients are notified after this call. If `never_up`, the server
    // could not be reached. `why` is OK for an orderly close.
    virtual void OnConnectionEnded(SharedConnection& connection, bool never_up,
                                   const absl::Status& why) = 0;
  };

  // `owner` and `counters` outlive the connection. A dial that failed at once is reported from the
  // loop, never from the constructor.
  SharedConnection(EventLoop& loop, ConnectResult dial, const SharedConnectionOptions& options,
                   ConnectionLease lease, Owner* owner, SharedCounters* counters);
  ~SharedConnection() override;

  // Returns true if Send may be called.
  bool HasRoom() const;
  // Requests that hold up others until they end.
  size_t in_flight() const { return pending_.size() - maybe_.size(); }
  bool idle() const { return pending_.empty(); }
  // Returns true if a request sent now leaves together with others in one system call.
  bool collecting() const { return writable_ && !output_.empty(); }
  bool up() const {
    return state_ == ConnectionState::kOpen || state_ == ConnectionState::kDraining;
  }
  bool one_at_a_time() const { return one_at_a_time_; }
  uint8_t variant() const { return options_.variant; }
  // How the connection ended, if that was before the server accepted its opening.
  enum class OpeningEnd : uint8_t {
    kNone,     // it was accepted, there is none, or the connect failed
    kRefused,  // an error, a FIN, silence, or bytes that are no reply
    kLacking,  // the server says that it does not speak the variant
  };
  OpeningEnd opening_end() const { return opening_end_; }
  // The connection takes no more requests. OnConnectionRoom follows when its last one has ended.
  void Retire() { retiring_ = true; }
  bool retiring() const { return retiring_; }
  // Returns true if a client takes its replies so slowly that requests should avoid the connection.
  bool held_up() const { return holder_ != nullptr; }
  ConnectionState state() const { return state_; }
  RequestState request_state() const { return request_state_; }
  ReadState read_state() const { return read_state_; }

  // Requires HasRoom(). If `open`, the rest of the request follows through SendMore, which only
  // codecs with one request at a time allow. `arrived_at` is when the last of these bytes was read
  // from the client. The client learns the steps of a request with a `number` of its own; 0: none.
  void Send(Client* client, std::span<const uint8_t> request, const Request& traits, bool open,
            MonotonicTime arrived_at, uint32_t number = 0);
  // Sends buffered requests now instead of at the end of the pass. May end requests and the
  // connection.
  void SendNow() { OnFlush(); }
  // Takes all bytes. Returns false if the client must wait for OnRoom before it sends more.
  bool SendMore(std::span<const uint8_t> bytes, bool open, MonotonicTime arrived_at);
  // Returns true if the client has requests that are not written yet, or whose reply must come.
  bool Awaits(const Client* client);
  // Ends all calls to the client and discards its replies.
  void Abandon(Client* client);

  // The client takes its replies more slowly than they come: it holds up the connection until
  // Release. PauseFor stops reading the server, ReadOnFor reads on.
  void PauseFor(Client* client);
  void ReadOnFor(Client* client);
  // The client has taken its replies. Has no effect if it does not hold up the connection.
  void Release(const Client* client);
  // Returns true if other clients wait for replies on this connection, or for room.
  bool OthersWait(const Client* client);
  // Flows wait for room.
  void OnWaiters();
  // A client that holds up the connection is about to be reset.
  void ReportStalled(size_t buffered_bytes, absl::Duration age) {
    owner_->OnClientStalled(buffered_bytes, age);
  }

  // Requires idle().
  void Close();

 private:
  struct Pending {
    Client* client = nullptr;  // null after Abandon
    uint64_t client_id = 0;    // the id in the client's own request
    uint64_t begin = 0;        // position of its first byte among all appended bytes
    uint32_t size = 0;
    uint32_t reply_hint = 0;
    bool repeatable = true;
    Replies replies = Replies::kOne;
    bool begun = false;  // a part of its reply has arrived
    bool noted = false;  // it is written, and its reply may come or not
    uint32_t number = 0;
    MonotonicTime sent_at;
    MonotonicTime arrived_at;
    std::vector<uint8_t> copy;  // filled if the request may be sent again
  };

  void OnEvents(uint32_t events) override;
  void OnFlush() override;
  void OnConnected();
  void SendOpening();
  void Open(ConnectionEvent event);
  void OnTimer();
  void OnReplyTimeout();
  absl::Duration ReplyTimeLeft();

  void SendOutput();
  void OnRequestBytes(bool open);
  void ReadAvailable();
  void ScheduleRead();
  void Resume();
  // `bytes` must have ReplyEdit::kMostGrowth writable bytes in front of them. Returns false if the
  // connection has closed.
  bool DeliverReplies(std::span<uint8_t> bytes);
  enum class Finding : uint8_t {
    kGood,
    kMalformed,
    kUnasked,  // bytes that no request asked for
  };
  Finding TakeGreeting(std::span<uint8_t>* bytes);
  Finding TakeOpeningReply(std::span<uint8_t>* bytes);
  Finding DeliverInOrder(std::span<uint8_t> bytes);
  bool AnswersRequest(std::span<const uint8_t> bytes);
  uint8_t* KeepUndecided(std::span<const uint8_t> piece, Reply::Delivery delivery, uint8_t* begin);
  Finding DeliverById(std::span<uint8_t> bytes);
  bool DeliverMessage(std::span<uint8_t> message);
  void EndProtocolError(Finding finding);
  std::string Describe(Finding finding) const;
  void SetFault(const ParseStep& step, uint64_t offset);
  void OnServerFin();
  void OnRepliesDelivered();

  static void NoteStep(const Pending& pending, Step step, size_t offset);
  static void EndWithoutReply(const Pending& pending, Step step);
  void EndWrittenOneWay();
  void NoteWrittenMaybe();
  void DropMaybe(size_t most);
  void End(ConnectionEvent event, const absl::Status& why);
  void FailPending(bool reply_timed_out);
  bool Written(const Pending& pending) const;
  // Returns true if a byte of the request was handed to the kernel, so that the server may reply.
  bool IsAsked(const Pending& pending) const { return pending.begin < written_; }
  std::vector<uint8_t> Resendable(const Pending& pending) const;
  void ArmTimer();

  void Apply(ConnectionEvent event) { state_ = kConnectionTable.After(state_, event); }
  void Apply(RequestEvent event) { request_state_ = kRequestTable.After(request_state_, event); }
  void Apply(ReadEvent event) { read_state_ = kReadTable.After(read_state_, event); }

  EventLoop& loop_;
  const SharedConnectionOptions options_;
  const std::optional<IdField> id_field_;
  const bool one_at_a_time_;
  const size_t capacity_;  // requests that hold up others
  ConnectionLease lease_;
  Owner* const owner_;
  SharedCounters* const counters_;

  ConnectionState state_ = ConnectionState::kConnecting;
  RequestState request_state_ = RequestState::kComplete;
  ReadState read_state_ = ReadState::kOnReadiness;
  // The events that epoll reported; independent of each other and of the states above.
  bool writable_ = false;
  bool server_fin_ = false;  // a FIN or an error is behind the bytes that are still to be read

  UniqueFd fd_;
  int dial_error_ = 0;                          // set if there is no fd_
  std::unique_ptr<ConnectionOpening> opening_;  // null once it was accepted, or if there is none
  OpeningEnd opening_end_ = OpeningEnd::kNone;
  bool retiring_ = false;
  std::unique_ptr<ReplyParser> parser_;
  PendingReplies<Pending> pending_;
  std::deque<uint64_t> maybe_;    // ids in pending_ of Replies::kMaybe, oldest first
  std::deque<uint64_t> one_way_;  // of Replies::kNone, in the order of their bytes
  OutputBuffer output_;
  Client* holder_ = nullptr;        // holds up the connection
  uint64_t appended_ = 0;           // bytes of requests, in all
  uint64_t written_ = 0;            // those of them that were handed to the kernel
  uint64_t reply_bytes_ = 0;        // parsed bytes of the reply that arrives, without ids
  std::string fault_;               // why the server's bytes are no reply; set before the end
  std::vector<uint8_t> partial_;    // the beginning of an incomplete message with an id
  std::vector<uint8_t> undecided_;  // the beginning of a reply that its client may not want
  MonotonicTime last_read_;
  MonotonicTime last_write_;
  MonotonicTime idle_since_;
  MemberTimer<SharedConnection, &SharedConnection::OnTimer> timer_{this};
};

}  // namespace trunkline
