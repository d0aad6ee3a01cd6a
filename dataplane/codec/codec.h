// The message boundaries of a protocol; `message` mode needs no further knowledge of it.
//
// A parser gets the bytes of one direction of one connection, in pieces as they arrive, and finds
// message boundaries in them. It reads each byte once, buffers no payload and trusts no length: a
// message that announces more bytes than the limit is refused at its announcement, not after it has
// consumed memory. A codec does not change a message (except by Request::blank_*,
// Request::substitute and ReplyEdit), match replies to requests or route a request. A new protocol
// is therefore one file pair here and one line in dataplane/control/codecs.cc.
//
// Codec: immutable, thread-safe. Parsers: confined to their connection; cheap to create, because
// each client has one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace trunkline {

enum class ParseState {
  kMore,    // all bytes were used and the message goes on
  kStream,  // the message goes on and must not be buffered: send its bytes as they arrive
  kEnd,     // the last used byte ends the message; the next Parse begins another one
  kBroken,  // no message of this protocol, or one above the limit; no later byte can be trusted
};

struct ParseStep {
  // Bytes from the front that belong to this message. If it is broken, the next byte is the first
  // that cannot belong to it, or the message is wrong as a whole.
  size_t used = 0;
  ParseState state = ParseState::kMore;
};

// Versions of a protocol among which clients choose; each upstream connection speaks one of them.
inline constexpr size_t kMostVariants = 2;

// The replies that a request may get.
enum class Replies : uint8_t {
  kOne,
  // None: the request is complete when the server's socket has taken its last byte.
  kNone,
  // One or none, and the codec cannot tell. The request holds up no other; if its reply comes
  // within the reply timeout, its client gets it. With an id_field only.
  kMaybe,
};

// Why the proxy refuses a client that has to authenticate.
enum class Denial : uint8_t {
  kNone,
  kNoCredential,  // a request came before the client gave a credential
  kWrongCredential,
};

// Properties of a request; known once Parse has returned kStream or kEnd.
struct Request {
  // The request changes the state of its connection, blocks, or is too large to be buffered. The
  // client gets a dedicated upstream connection from this request on.
  bool dedicated = false;
  // The client asked for its connection to be closed after the reply.
  bool last = false;
  // A server that executes the request twice is left in the same state, so a service that declares
  // its requests idempotent may send it again. False for a request of which the codec does not know
  // that; a codec that knows no content leaves it to the service.
  bool repeatable = true;
  Replies replies = Replies::kOne;
  // Passed to ReplyParser::Begin, because the boundaries of a reply may depend on its request. Only
  // the codec knows its meaning.
  uint32_t reply_hint = 0;
  // Bytes of the message that are overwritten with spaces before it is sent, so that an option for
  // the client's connection does not affect the shared one. None if `blank_size` is 0.
  size_t blank_offset = 0;
  size_t blank_size = 0;
  // No server gets the request: the proxy answers it with `answer` in the order of requests. Known
  // with kEnd, and only if the request is not `dedicated`.
  bool local = false;
  std::string_view answer = {};   // lives as long as the codec; empty if the request has no reply
  Denial denial = Denial::kNone;  // the answer is a refusal
  // The version of the protocol in which the client expects the reply: the request needs an
  // upstream connection that began with Codec::Opening of the same one. Below kMostVariants.
  uint8_t variant = 0;
  // The server gets these bytes instead of the client's, unless they are empty. They live as long
  // as the codec. Known with kEnd; not for a `dedicated` request, nor with an id_field.
  std::string_view substitute = {};
};

class RequestParser {
 public:
  virtual ~RequestParser() = default;
  // `bytes` begin behind those that earlier calls used. Never uses bytes behind the end of a
  // message. Returns kStream at most once per message. After kBroken, the parser must not be used.
  virtual ParseStep Parse(std::span<const uint8_t> bytes) = 0;
  // Describes the current message, or the one that has just ended.
  virtual Request request() const { return {}; }
  // Says for the log why Parse has returned kBroken. Static text.
  virtual std::string_view fault() const = 0;
};

// Properties of a reply; known once Parse has returned kEnd, `unasked` and `delivery` before.
struct Reply {
  enum class Delivery : uint8_t {
    kWanted,
    // The client's request asked for no reply, or not for this one, and the codec has blanked that
    // option.
    kDiscarded,
    // Not known yet, after at most ReplyEdit::kMostGrowth bytes.
    kUndecided,
  };
  // The server closes its connection after it.
  bool last = false;
  // It answers no request (a notification), so it belongs to no client of a shared connection.
  bool unasked = false;
  Delivery delivery = Delivery::kWanted;
};

// A change of a reply. It announces to the client that its connection closes after the reply; the
// server does not know that, because the shared connection stays open. `text` replaces some bytes.
struct ReplyEdit {
  // Bytes by which `text` may be longer than the bytes that it replaces.
  static constexpr size_t kMostGrowth = 32;
  size_t offset = 0;           // in the bytes that the last Parse used
  size_t replaced = 0;         // bytes from `offset` on
  std::string_view text = {};  // static; empty if there is no edit
};

class ReplyParser {
 public:
  virtual ~ReplyParser() = default;
  // The next bytes begin the reply to a request that had this hint.
  virtual void Begin(uint32_t reply_hint) { static_cast<void>(reply_hint); }
  // Like RequestParser::Parse, but never returns kStream: replies are always streamed.
  virtual ParseStep Parse(std::span<const uint8_t> bytes) = 0;
  virtual Reply reply() const { return {}; }
  // The edit in the bytes that the last Parse used. There is at most one per reply, and only in a
  // client's last reply.
  virtual ReplyEdit edit() const { return {}; }
  // Returns true if the server's FIN would complete the current reply.
  virtual bool EndsAtClose() const { return false; }
  // Like RequestParser::fault.
  virtual std::string_view fault() const = 0;
};

// The reason of a local reply.
enum class Refusal {
  kBroken,       // the request is malformed
  kUnavailable,  // no endpoint took the request in time, or the pending queue is full
  kLost,         // the upstream connection failed before the reply
};

// The big-endian number in each message by which a reply names its request.
struct IdField {
  size_t offset = 0;
  size_t size = 0;  // 2, 4 or 8
};

class Codec {
 public:
  virtual ~Codec() = default;
  // The name in the configuration, for example "modbus_tcp".
  virtual std::string_view name() const = 0;
  virtual std::unique_ptr<RequestParser> NewRequestParser() const = 0;
  virtual std::unique_ptr<ReplyParser> NewReplyParser() const = 0;
  // The place of the id if replies carry their request's id and may come in any order; none if they
  // come in the order of requests. Messages with an id are small, so they are buffered whole.
  virtual std::optional<IdField> id_field() const { return std::nullopt; }
  // Returns true if no request is ever `dedicated`, so a client needs one descriptor only.
  virtual bool always_shares() const { return false; }
  // Returns true if no request has a reply. Each request then goes to the endpoint that is picked
  // for it alone, and bytes from a server are discarded.
  virtual bool one_way() const { return false; }
  // The bytes that make a new upstream connection fit for clients of a `variant`; the server
  // answers them with one reply, which no client gets. Empty if it needs none. May contain a
  // secret: never log it. Lives as long as the codec.
  virtual std::string_view Opening(uint8_t variant) const {
    static_cast<void>(variant);
    return {};
  }
  // Says for the log why the reply to an opening, of which `reply` is the beginning, refuses it.
  // Never repeats a part of the opening. Empty if the server accepted it.
  virtual std::string OpeningRefusal(std::string_view reply) const {
    static_cast<void>(reply);
    return {};
  }
  // Returns true if such a reply, which refuses the opening, says that the server does not speak
  // the variant. Otherwise it may accept the same opening later.
  virtual bool LacksVariant(std::string_view reply) const {
    static_cast<void>(reply);
    return false;
  }
  // Differs between codecs with the same options that treat clients or servers differently, because
  // an option names a file whose content has changed. Never leaves the process.
  virtual uint64_t fingerprint() const { return 0; }
  // Returns true if a connection carries one request at a time (no pipelining).
  virtual bool one_at_a_time() const { return false; }
  // Describes a request for the log, by its reply_hint: "function 3 of unit 17". Empty if the codec
  // knows no more than its name.
  virtual std::string Describe(uint32_t reply_hint) const {
    static_cast<void>(reply_hint);
    return {};
  }
  // The local reply to one request that got no reply in time, after which its client's connection
  // goes on. Its id is overwritten. Empty if the protocol has none, and without an id_field: the
  // client's connection closes then.
  virtual std::string LateReply(uint32_t reply_hint) const {
    static_cast<void>(reply_hint);
    return {};
  }
  // The local reply that is sent before the client's connection closes. Empty if the protocol has
  // none.
  virtual std::string_view LocalReply(Refusal why) const {
    static_cast<void>(why);
    return {};
  }
};

}  // namespace trunkline
